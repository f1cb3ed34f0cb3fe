"""Open a zip, list its members under their true names and positions, and name what is not a zip that can be read."""

import lzma
import os
import re
import struct
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import BinaryIO

from ..errors import CatsDogsError
from .files import raise_if_system_error
from .names import is_archive

_HEADER = b"PK\3\4"
"""The first bytes of each member of a zip, and so of a zip that is not empty (APPNOTE.TXT, 4.3.7)."""

_MAX_BEFORE = 1 << 20
"""Bytes before the zip that zipfile found, in which another member's header is searched for."""

_END, _MAX_END, _IN_ZIP64 = b"PK\5\6", 22 + (1 << 16), 0xFFFFFFFF
"""The first bytes of the record at the end of a zip, its maximum length with the comment, and the value of a field that
is stored in another record instead (APPNOTE.TXT, 4.3.16)."""

_4_GIB = 1 << 32
"""What the fields of a zip without ZIP64 can hold; macOS writes larger zips with all values modulo it."""

_NAME_IS_UTF8, _UNICODE_PATH = 0x800, 0x7075
"""A bit of a member's flags, and the extra field that holds its name as UTF-8 (APPNOTE.TXT, 4.4.4 and 4.6.9)."""

_DOS_SYSTEMS = (0, 6, 10, 14)
"""Systems that write backslashes between folders: DOS, OS/2, Windows and VFAT (APPNOTE.TXT, 4.4.2)."""

_METHODS = {
    1: "Shrink", 6: "Implode", 9: "Deflate64", 10: "PKWARE DCL", 93: "Zstandard", 95: "XZ", 96: "JPEG", 98: "PPMd",
    99: "AES encryption",
}  # fmt: skip
"""Names of methods of compression that zipfile does not support (APPNOTE.TXT, 4.4.5)."""

_SUPPORTED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)

_UNPACK = "Unpack it, such as with {}, and give the folder"
_JOIN = (
    "Join the parts, such as with zip -s 0 NAME.zip --out whole.zip or cat NAME.zip.* > whole.zip, and give whole.zip"
)

_OTHER_FORMS = (
    (0, b"\x1f\x8b", "a gzip file such as .tar.gz", _UNPACK.format("tar -xf")),
    (0, b"BZh", "a bzip2 file such as .tar.bz2", _UNPACK.format("tar -xf")),
    (0, b"\xfd7zXZ\0", "an xz file such as .tar.xz", _UNPACK.format("tar -xf")),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file such as .tar.zst", _UNPACK.format("tar -xf")),
    (257, b"ustar", "a tar file", "Name it *.tar"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z file", _UNPACK.format("7z x")),
    (0, b"Rar!\x1a\x07", "a RAR file", _UNPACK.format("unrar x")),
    (0, b"PK\7\x08", "one part of a split zip", _JOIN),
    (0, b"<!doctype", "a web page", "Download it again; the site may ask you to log in first"),
    (0, b"<html", "a web page", "Download it again; the site may ask you to log in first"),
)
"""Position and value of the first bytes of other forms in lower case, what they are, and what to do."""

_PART = re.compile(r"\.z\d\d|\.\d{3}", re.IGNORECASE)
"""Suffixes of the parts of a split zip."""

# fmt: off
ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
    EOFError, MemoryError, OSError, OverflowError, RuntimeError, ValueError,
)
# fmt: on
"""What zipfile raises for a zip that is damaged, encrypted, or compressed by a method that it does not support."""


def open_archive(file: BinaryIO, display_path: str) -> zipfile.ZipFile:
    """Open a zip by its central directory, which is at its end (APPNOTE.TXT, 4.3.12).

    Raises
    ------
    CatsDogsError
        It is truncated, one part of a split zip, another form of archive, or no archive.
    """
    truncated = False
    try:
        file.seek(0)
        start = file.read(512)
        refuse_other_forms(start, display_path, "zip")
        truncated = start.startswith(_HEADER)
        archive = zipfile.ZipFile(file)
        disk, directory = _end_record(file)
        if disk not in (0, 0xFFFF):
            raise CatsDogsError(f"{display_path} is one part of a split zip", _JOIN)
        before = _bytes_before(archive, directory)
        file.seek(0)
        # If a zip is truncated after a zip that is stored in it, zipfile opens the inner zip, and ignores all bytes
        # before that as bytes that do not belong to a zip.
        if before % _4_GIB == 0 or _HEADER not in file.read(max(0, min(before, _MAX_BEFORE))):
            return archive
        truncated = True
        raise zipfile.BadZipFile("it ends with the end of a zip within it")
    except ZIP_ERRORS as error:
        raise_if_system_error(error, display_path)
        finding, hint = f"is not a zip ({error})", "Download it again, or give a folder of images"
        if _PART.fullmatch(PurePosixPath(display_path).suffix):
            finding, hint = "is one part of a split zip", _JOIN
        elif not truncated and not is_archive(display_path):
            finding, hint = "is not a zip or a tar", "Give a folder, a zip or a tar of images"
        elif truncated:
            finding = "is truncated or damaged: there is no valid central directory at its end"
            hint = "Download it again"
        raise CatsDogsError(f"{display_path} {finding}", hint) from error


def list_members(file: BinaryIO, archive: zipfile.ZipFile, display_path: str) -> list[tuple[zipfile.ZipInfo, str]]:
    """Return the members of a zip with their names, in which slashes separate folders; a folder's name ends in one.

    Raises
    ------
    CatsDogsError
        The zip has more than 4 GiB without ZIP64, and its members cannot be found.
    """
    members = archive.infolist()
    _, directory = _end_record(file)
    if (before := _bytes_before(archive, directory)) and before % _4_GIB == 0:
        members = _without_wrapping(file, archive, before, display_path)
    names = [_name_of(member) for member in members]
    if not any("/" in name for name in names):
        dos = [member.create_system in _DOS_SYSTEMS for member in members]
        names = [name.replace("\\", "/") if is_dos else name for name, is_dos in zip(names, dos, strict=True)]
    return list(zip(members, names, strict=True))


def unsupported_method(member: zipfile.ZipInfo) -> str | None:
    """Return the name of a member's method of compression if it is not supported."""
    method = member.compress_type
    return None if method in _SUPPORTED else _METHODS.get(method, f"method {method}")


def refuse_other_forms(start: bytes, display_path: str, wanted: str) -> None:
    """Raise an error if the first 512 bytes of a file are those of another form, such as a web page."""
    start = start.lstrip() if start.lstrip().startswith(b"<") else start
    for position, magic, form, hint in _OTHER_FORMS:
        if form != f"a {wanted} file" and (
            start[position : position + len(magic)] == magic or start[: len(magic)].lower() == magic
        ):
            raise CatsDogsError(f"{display_path} is {form}, not a {wanted}", hint)


def _end_record(file: BinaryIO) -> tuple[int, int]:
    """Return the disk and the position of the directory from the record at the end of a zip (APPNOTE.TXT, 4.3.16)."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - _MAX_END))
    end = file.read()
    at = end.rfind(_END)
    disk, directory = struct.unpack_from("<H10xI", end, at + 4)
    return disk, directory


def _bytes_before(archive: zipfile.ZipFile, directory: int) -> int:
    """Return the number of bytes before the zip in the file, by the position of the directory in its end record."""
    if directory == _IN_ZIP64:
        return min((member.header_offset for member in archive.infolist()), default=0)
    return int(archive.start_dir) - directory


def _without_wrapping(
    file: BinaryIO, archive: zipfile.ZipFile, before: int, display_path: str
) -> list[zipfile.ZipInfo]:
    """Return the members of a zip whose positions were written modulo 4 GiB, with their true positions.

    Members follow each other in the order of the directory, so a position that is less than the one before it has
    wrapped once more. A member, such as a zip, that has more than 4 GiB itself is not found.
    """
    unwrapped, wrapped, last = list[zipfile.ZipInfo](), 0, 0
    for member in archive.infolist():
        found = zipfile.ZipInfo(member.orig_filename, member.date_time)
        for name in ("create_system", "flag_bits", "compress_type", "extra", "CRC", "compress_size", "file_size"):
            setattr(found, name, getattr(member, name))
        position = member.header_offset - before
        if position + wrapped < last:
            wrapped += _4_GIB
        found.header_offset = last = position + wrapped
        file.seek(last)
        is_last = len(unwrapped) + 1 == len(archive.infolist())
        too_long = is_last and archive.start_dir - last - found.compress_size >= _4_GIB
        if too_long or file.read(len(_HEADER)) != _HEADER:
            message = (
                f"{display_path} has more than 4 GiB without ZIP64, as macOS writes it, and its files are not found"
            )
            raise CatsDogsError(message, "Unpack it with ditto -x -k on macOS, or with unzip, and give the folder")
        unwrapped.append(found)
    return unwrapped


def _name_of(member: zipfile.ZipInfo) -> str:
    name = member.orig_filename
    if member.flag_bits & _NAME_IS_UTF8:
        return name
    # zipfile has decoded code page 437, that of DOS, which is right if no field gives the name, and if it is no UTF-8:
    # macOS, for example, writes UTF-8 without the flag.
    raw = name.encode("cp437")
    try:
        return (_unicode_path(member.extra, raw) or raw).decode()
    except UnicodeDecodeError:
        return name


def _unicode_path(extra: bytes, raw: bytes) -> bytes | None:
    """Return the name in the Unicode path field, if it is of the present name (APPNOTE.TXT, 4.6.9)."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == _UNICODE_PATH and size > 5 and extra[4:9] == struct.pack("<BI", 1, zlib.crc32(raw)):
            return extra[9 : 4 + size]
        extra = extra[4 + size :]
    return None
