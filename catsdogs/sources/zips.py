"""An open zip comes in; out go the files in it, each with how to read its bytes. Nothing is unpacked.

A zip within a zip is read where it lies when it was stored, and through an unnamed temporary file, gone with the
process, when it was compressed.
"""

import errno
import io
import lzma
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO

from ..errors import CatsDogsError
from .cut_zips import HEADER, IN_ZIP64, NAME_IS_UTF8, find_members
from .files import MAX_BYTES, ImageFile, is_split_zip, raise_if_system_error
from .layout import is_image

_ENCRYPTED = 0x1
"""A bit of a zip member's flags (APPNOTE.TXT, 4.4.4)."""

_EXPANSION = 20
"""How many times its size a zip within a zip may have unpacked: one of photographs hardly grows at all."""

_END_LENGTH = 22
"""Bytes in the record that ends a zip, its comment aside (APPNOTE.TXT, 4.3.16)."""

_EMPTY = b"PK\5\6".ljust(_END_LENGTH, b"\0")
"""A zip without members."""

# fmt: off
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
    EOFError, MemoryError, OSError, OverflowError, RuntimeError, ValueError,
)
# fmt: on
"""What zipfile raises on what is damaged, encrypted, or compressed in a way that it does not know."""


class OpenZips(ExitStack):
    """The zips of a source, to be closed together.

    Attributes
    ----------
    cut : list of str
        Those that have lost their table, for messages: images may be missing in them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cut: list[str] = []


def walk_zip(
    file: BinaryIO, where: str, parts: tuple[str, ...], open_zips: OpenZips, *, depth: int = 0
) -> Iterator[ImageFile]:
    """Yield every file of a zip, and of the zips within that are named like a split.

    Parameters
    ----------
    file : file
        The zip; it is entered into `open_zips` as are those within, to be closed by the caller.
    where : str
        What it is, for messages.
    parts : tuple of str
        Where it lies below the source.
    open_zips : OpenZips
        Told, too, where it is cut short: the members before the cut are then found by their own headers.
    depth : int
        0 for a zip, 1 for one within a zip; in those no further ones are looked for.

    Raises
    ------
    CatsDogsError
        It is no zip, or is cut short within its first member's name.
    """
    open_zips.enter_context(file)
    archive, lost = _open_archive(file, where, open_zips)
    members = [(member, PurePosixPath(_name_of(member))) for member in archive.infolist()]
    parents = {path.parent for _, path in members}
    folders = {str(folder).lower() for parent in parents for folder in (parent, *parent.parents)}
    for member, path in members:
        inside = (*parts, *path.parts)
        if not inside or (_is_folder(member) and not is_image(path.name)):
            continue
        if depth == 0 and is_split_zip(path, folders):
            inner = _open_inner(file, archive, member, cut=member is lost)
            try:
                yield from walk_zip(inner, f"{where}/{path}", (*inside[:-1], path.stem), open_zips, depth=1)
            except CatsDogsError:
                if member is not lost:
                    raise
        else:
            read = partial(_read_member, archive, member, f"{where}/{path}", cut=member is lost)
            yield ImageFile(inside, f"{where}/{path}", read, partial(_size, member))


def _open_archive(file: BinaryIO, where: str, open_zips: OpenZips) -> tuple[zipfile.ZipFile, zipfile.ZipInfo | None]:
    """Open a zip; where it has lost its table, with the members that are found without, and the one that is cut."""
    try:
        archive = open_zips.enter_context(zipfile.ZipFile(file))
        _must_be_its_own_table(file, archive)
    except _UNREADABLE as error:
        raise_if_system_error(error, where)
        members, lost = find_members(file)
        if not members:
            raise CatsDogsError(
                f"{where} is not a zip, or is cut short ({error})", "Fetch it again, or give a folder of images"
            ) from error
        open_zips.cut.append(where)
        archive = open_zips.enter_context(zipfile.ZipFile(io.BytesIO(_EMPTY)))
        archive.fp = file
        archive.infolist().extend(members)
        return archive, lost
    return archive, None


def _must_be_its_own_table(file: BinaryIO, archive: zipfile.ZipFile) -> None:
    """Refuse the table of a stored zip within: behind one, or at its end, zipfile takes it for that of a cut zip."""
    file.seek(-_END_LENGTH - len(archive.comment), os.SEEK_END)
    end, table = struct.unpack("<4s12xI2x", file.read(_END_LENGTH))
    if end != _EMPTY[:4]:
        raise zipfile.BadZipFile("something follows its end")
    file.seek(0)
    if table not in (archive.start_dir, IN_ZIP64) and file.read(4) == HEADER:
        raise zipfile.BadZipFile("its end is that of a zip within")


def _name_of(member: zipfile.ZipInfo) -> str:
    name = member.orig_filename
    if not member.flag_bits & NAME_IS_UTF8:
        # zipfile then reads code page 437. What wrote it was rarely DOS; macOS, for one, writes UTF-8 so.
        name = name.encode("cp437").decode("utf-8", "surrogateescape")
    return name.replace("\\", "/")


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return _name_of(member).endswith("/")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str, *, cut: bool) -> bytes:
    if _is_folder(member):
        raise OSError("it is a folder")
    if cut:
        raise OSError("the zip is cut short within it")
    if member.file_size > MAX_BYTES:
        raise OSError(f"it holds {member.file_size:,} bytes, more than {MAX_BYTES:,}")
    if member.flag_bits & _ENCRYPTED:
        raise OSError("it is encrypted")
    try:
        return archive.read(member)
    except _UNREADABLE as error:
        raise_if_system_error(error, where)
        raise OSError(f"the zip is damaged here: {error}") from error


def _size(member: zipfile.ZipInfo) -> int:
    # zipfile has the compressed bytes, and puts together what it unpacks.
    return member.compress_size + 2 * member.file_size if member.file_size <= MAX_BYTES else 0


def _open_inner(file: BinaryIO, archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, cut: bool) -> BinaryIO:
    """Return a zip's member as a seekable file: in place if it was stored, through a spool if compressed.

    Of one that is cut, what is there.
    """
    spool = None
    if cut and member.compress_type != zipfile.ZIP_STORED:
        # Its own end is what zipfile will miss, and not the size or the checksum, which nobody knows.
        member.file_size = max(MAX_BYTES, _EXPANSION * member.compress_size)
        member.compress_size += 1
    if member.file_size > max(MAX_BYTES, _EXPANSION * member.compress_size):
        raise CatsDogsError(
            f"{member.filename} within the zip says that {member.compress_size:,} bytes unpack to {member.file_size:,}",
            "That is no zip of photographs: fetch it from a place that you trust",
        )
    try:
        with archive.open(member) as packed:
            if member.compress_type == zipfile.ZIP_STORED:
                # Opening has checked the member's own header (APPNOTE.TXT 4.3.7), which ends in two lengths.
                file.seek(member.header_offset + 26)
                name, extra = struct.unpack("<HH", file.read(4))
                start = member.header_offset + 30 + name + extra
                return io.BufferedReader(_Window(file, start, member.file_size))
            spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the caller's stack
            with suppress(EOFError) if cut else nullcontext():
                while block := packed.read1(1 << 20):  # type: ignore[attr-defined]  # typeshed has it as any file
                    spool.write(block)
    except _UNREADABLE as error:
        if spool:
            spool.close()
        # Damage, too, may be an OSError: it has no number, or is a seek to before the start.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise CatsDogsError(
                f"{member.filename} cannot be unpacked into {tempfile.gettempdir()} ({error.strerror})",
                f"Set TMPDIR to a folder on a disk with {member.file_size:,} bytes free",
            ) from error
        raise CatsDogsError(
            f"{member.filename} within the zip is damaged or encrypted ({error})", "Fetch the zip again"
        ) from error
    spool.seek(0)
    return spool


class _Window(io.RawIOBase):
    """Part of an open file as a file of its own; positions are its own, so threads do not meet."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        provenance = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if provenance + offset < 0:
            raise OSError("a seek before the start")
        self._position = provenance + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no length
        wanted = min(len(buffer), max(0, self._size - self._position))
        block = os.pread(self._file.fileno(), wanted, self._start + self._position)
        buffer[: len(block)] = block
        self._position += len(block)
        return len(block)
