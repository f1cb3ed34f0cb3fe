"""List the files of a zip, and read them without unpacking it.

A zip within a zip is read in place if it was stored without compression. If it was compressed, it is unpacked into an
unnamed temporary file, which the system removes when the process ends.
"""

import errno
import io
import lzma
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from ..errors import CatsDogsError
from .files import MAX_BYTES, ImageFile, raise_if_system_error
from .layout import is_image, is_split_zip

_HEADER = b"PK\3\4"
"""The first bytes of each member of a zip, and so of a zip that is not empty (APPNOTE.TXT, 4.3.7)."""

_MAX_BEFORE = 1 << 20
"""Bytes before the zip that zipfile found, in which another member's header is searched for."""

_END, _MAX_END, _IN_ZIP64 = b"PK\5\6", 22 + (1 << 16), 0xFFFFFFFF
"""The first bytes of the record at the end of a zip, its maximum length with the comment, and the value of a field that
is stored in another record instead (APPNOTE.TXT, 4.3.16)."""

_ENCRYPTED, _NAME_IS_UTF8 = 0x1, 0x800
"""Bits of a zip member's flags (APPNOTE.TXT, 4.4.4)."""

_MAX_EXPANSION = 20
"""Maximum ratio of the unpacked to the compressed size of a zip within a zip; for photographs it is near 1."""

# fmt: off
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
    EOFError, MemoryError, OSError, OverflowError, RuntimeError, ValueError,
)
# fmt: on
"""What zipfile raises for a zip that is damaged, encrypted, or compressed by a method that it does not support."""


@dataclass(frozen=True)
class _ZipMember(ImageFile):
    """A member of an open zip; several threads may read members at the same time."""

    archive: zipfile.ZipFile
    member: zipfile.ZipInfo

    def read(self) -> bytes:
        if _is_folder(self.member):
            raise OSError("it is a folder")
        if self.member.file_size > MAX_BYTES:
            raise OSError(f"it has {self.member.file_size:,} bytes, more than the limit of {MAX_BYTES:,}")
        if self.member.flag_bits & _ENCRYPTED:
            raise OSError("it is encrypted")
        try:
            return self.archive.read(self.member)
        except _ZIP_ERRORS as error:
            raise_if_system_error(error, self.display_path)
            raise OSError(f"it is damaged in the zip: {error}") from error

    def size(self) -> int:
        # zipfile holds the compressed bytes, the unpacked pieces, and their concatenation.
        return self.member.compress_size + 2 * self.member.file_size if self.member.file_size <= MAX_BYTES else 0


def walk_zip(
    file: BinaryIO, display_path: str, parts: tuple[str, ...], open_zips: ExitStack, *, depth: int = 0
) -> Iterator[ImageFile]:
    """Yield every file of a zip, and of each zip within it that is named like a split.

    Parameters
    ----------
    file : file
        The zip.
    display_path : str
        The zip's path, for messages.
    parts : tuple of str
        The zip's path below the source.
    open_zips : ExitStack
        The zip and the zips within it are entered into it, for the caller to close.
    depth : int
        0 for a zip, 1 for a zip within a zip, in which further zips are not read.

    Raises
    ------
    CatsDogsError
        The zip, or a zip within it, is truncated or not a zip.
    """
    open_zips.enter_context(file)
    archive = open_zips.enter_context(_open_archive(file, display_path))
    members = [(member, PurePosixPath(_name_of(member))) for member in archive.infolist()]
    parents = {path.parent for _, path in members}
    folders = {str(folder).lower() for parent in parents for folder in (parent, *parent.parents)}
    for member, path in members:
        member_parts = (*parts, *path.parts)
        if not member_parts or (_is_folder(member) and not is_image(path.name)):
            continue
        if depth == 0 and is_split_zip(path, folders):
            inner = _open_inner(file, archive, member)
            yield from walk_zip(inner, f"{display_path}/{path}", (*member_parts[:-1], path.stem), open_zips, depth=1)
        else:
            yield _ZipMember(member_parts, f"{display_path}/{path}", archive, member)


def _open_archive(file: BinaryIO, display_path: str) -> zipfile.ZipFile:
    """Open a zip by its central directory, which is at its end (APPNOTE.TXT, 4.3.12)."""
    truncated = False
    try:
        file.seek(0)
        truncated = file.read(len(_HEADER)) == _HEADER
        archive = zipfile.ZipFile(file)
        before = min(_bytes_before(file, archive), _MAX_BEFORE)
        file.seek(0)
        # If a zip is truncated after a zip that is stored in it, zipfile opens the inner zip, and ignores all bytes
        # before that as bytes that do not belong to a zip.
        if _HEADER not in file.read(before):
            return archive
        archive.close()
        truncated = True
        raise zipfile.BadZipFile("it ends with the end of a zip within it")
    except _ZIP_ERRORS as error:
        raise_if_system_error(error, display_path)
        finding, hint = f"is not a zip ({error})", "Download it again, or give a folder of images"
        if truncated:
            finding = "is truncated or damaged: there is no valid central directory at its end"
            hint = "Download it again"
        raise CatsDogsError(f"{display_path} {finding}", hint) from error


def _bytes_before(file: BinaryIO, archive: zipfile.ZipFile) -> int:
    """Return the number of bytes before the zip in the file, according to its end record (APPNOTE.TXT, 4.3.16)."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - _MAX_END))
    end = file.read()
    (offset,) = struct.unpack_from("<I", end, end.rfind(_END) + 16)
    if offset == _IN_ZIP64:
        return min((member.header_offset for member in archive.infolist()), default=0)
    return int(archive.start_dir) - int(offset)


def _name_of(member: zipfile.ZipInfo) -> str:
    name = member.orig_filename
    if not member.flag_bits & _NAME_IS_UTF8:
        # zipfile then decodes code page 437, that of DOS. But macOS, for example, writes UTF-8 without the flag.
        name = name.encode("cp437").decode("utf-8", "surrogateescape")
    return name.replace("\\", "/")


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return _name_of(member).endswith("/")


def _open_inner(file: BinaryIO, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
    """Return a zip's member as a seekable file: in place if it was stored, in a temporary file if compressed."""
    if member.file_size > max(MAX_BYTES, _MAX_EXPANSION * member.compress_size):
        raise CatsDogsError(
            f"{member.filename} within the zip has {member.compress_size:,} bytes that unpack to {member.file_size:,}",
            "It may be a decompression bomb: download the zip from a source that you trust",
        )
    try:
        with archive.open(member) as packed, ExitStack() as spooled:
            if member.compress_type == zipfile.ZIP_STORED:
                # Opening has checked the member's own header (APPNOTE.TXT 4.3.7), which ends in two lengths.
                file.seek(member.header_offset + 26)
                name, extra = struct.unpack("<HH", file.read(4))
                start = member.header_offset + 30 + name + extra
                return io.BufferedReader(_SectionReader(file, start, member.file_size))
            spool = spooled.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(packed, spool, 1 << 20)
            spool.seek(0)
            spooled.pop_all()  # the caller closes the file
            return spool
    except _ZIP_ERRORS as error:
        # Damage may raise an OSError too: without a number, or EINVAL for a seek to before the start.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise CatsDogsError(
                f"{member.filename} cannot be unpacked into {tempfile.gettempdir()} ({error.strerror})",
                f"Set TMPDIR to a folder on a disk with {member.file_size:,} bytes free",
            ) from error
        raise CatsDogsError(
            f"{member.filename} within the zip is damaged or encrypted ({error})", "Download the zip again"
        ) from error


class _SectionReader(io.RawIOBase):
    """A section of an open file, as a file with a position of its own, so that threads do not disturb each other."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("seek to before the start")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # in typeshed, Buffer has no length
        wanted = min(len(buffer), max(0, self._size - self._position))
        block = os.pread(self._file.fileno(), wanted, self._start + self._position)
        buffer[: len(block)] = block
        self._position += len(block)
        return len(block)
