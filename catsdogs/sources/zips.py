"""List the files of a zip, and read their bytes without unpacking it.

A zip within a zip is read where it lies when it was stored, and through an unnamed temporary file, gone with the
process, when it was compressed.
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
"""What a zip's members begin with, and so a zip that has any (APPNOTE.TXT, 4.3.7)."""

_MAX_BEFORE = 1 << 20
"""Bytes that are looked at for a zip's beginning before the one that zipfile found."""

_END, _MAX_END, _IN_ZIP64 = b"PK\5\6", 22 + (1 << 16), 0xFFFFFFFF
"""What the record that ends a zip begins with, how long it may be with its comment, and what it holds where the number
is elsewhere (APPNOTE.TXT, 4.3.16)."""

_ENCRYPTED, _NAME_IS_UTF8 = 0x1, 0x800
"""Bits of a zip member's flags (APPNOTE.TXT, 4.4.4)."""

_MAX_EXPANSION = 20
"""How many times its compressed size a zip within a zip may have unpacked: one of photographs hardly grows at all."""

# fmt: off
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
    EOFError, MemoryError, OSError, OverflowError, RuntimeError, ValueError,
)
# fmt: on
"""What zipfile raises on what is damaged, encrypted, or compressed in a way that it does not know."""


@dataclass(frozen=True)
class _ZipMember(ImageFile):
    """A member of a zip that is held open; threads may read several at a time."""

    archive: zipfile.ZipFile
    member: zipfile.ZipInfo

    def read(self) -> bytes:
        if _is_folder(self.member):
            raise OSError("it is a folder")
        if self.member.file_size > MAX_BYTES:
            raise OSError(f"it holds {self.member.file_size:,} bytes, more than {MAX_BYTES:,}")
        if self.member.flag_bits & _ENCRYPTED:
            raise OSError("it is encrypted")
        try:
            return self.archive.read(self.member)
        except _ZIP_ERRORS as error:
            raise_if_system_error(error, self.display_path)
            raise OSError(f"the zip is damaged here: {error}") from error

    def size(self) -> int:
        # zipfile has the compressed bytes, and puts together what it unpacks.
        return self.member.compress_size + 2 * self.member.file_size if self.member.file_size <= MAX_BYTES else 0


def walk_zip(
    file: BinaryIO, display_path: str, parts: tuple[str, ...], open_zips: ExitStack, *, depth: int = 0
) -> Iterator[ImageFile]:
    """Yield every file of a zip, and of the zips within that are named like a split.

    Parameters
    ----------
    file : file
        The zip.
    display_path : str
        The zip's path, for messages.
    parts : tuple of str
        Where it lies below the source.
    open_zips : ExitStack
        The zip and those within are entered into it, to be closed by the caller.
    depth : int
        0 for a zip, 1 for one within a zip; in those no further ones are looked for.

    Raises
    ------
    CatsDogsError
        It is no zip, or cut short, or one within it is.
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
    """Open a zip by its table, the central directory, which stands at its end (APPNOTE.TXT, 4.3.12)."""
    cut_short = False
    try:
        file.seek(0)
        cut_short = file.read(len(_HEADER)) == _HEADER
        archive = zipfile.ZipFile(file)
        before = min(_bytes_before(file, archive), _MAX_BEFORE)
        file.seek(0)
        # In a zip that is cut short behind a zip that was stored in it, zipfile finds the table of that one, and takes
        # all that lies before it for bytes that somebody has put before a zip.
        if _HEADER not in file.read(before):
            return archive
        archive.close()
        cut_short = True
        raise zipfile.BadZipFile("its end is that of a zip within")
    except _ZIP_ERRORS as error:
        raise_if_system_error(error, display_path)
        finding, hint = f"is not a zip ({error})", "Download it again, or give a folder of images"
        if cut_short:
            finding = "is cut short or damaged: there is no valid central directory at its end"
            hint = "Download it again"
        raise CatsDogsError(f"{display_path} {finding}", hint) from error


def _bytes_before(file: BinaryIO, archive: zipfile.ZipFile) -> int:
    """Return how far from the start of the file a zip lies, as its end tells (APPNOTE.TXT, 4.3.16)."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - _MAX_END))
    end = file.read()
    (offset,) = struct.unpack_from("<I", end, end.rfind(_END) + 16)
    if offset == _IN_ZIP64:
        return min((member.header_offset for member in archive.infolist()), default=0)
    return int(archive.start_dir) - int(offset)


def _name_of(member: zipfile.ZipInfo) -> str:
    name = member.orig_filename
    if not member.flag_bits & _NAME_IS_UTF8:
        # zipfile then reads code page 437. What wrote it was rarely DOS; macOS, for one, writes UTF-8 so.
        name = name.encode("cp437").decode("utf-8", "surrogateescape")
    return name.replace("\\", "/")


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return _name_of(member).endswith("/")


def _open_inner(file: BinaryIO, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
    """Return a zip's member as a seekable file: in place if it was stored, through a spool if compressed."""
    if member.file_size > max(MAX_BYTES, _MAX_EXPANSION * member.compress_size):
        raise CatsDogsError(
            f"{member.filename} within the zip says that {member.compress_size:,} bytes unpack to {member.file_size:,}",
            "That is no zip of photographs: fetch it from a place that you trust",
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
            spooled.pop_all()  # the caller closes it
            return spool
    except _ZIP_ERRORS as error:
        # Damage, too, may be an OSError: it has no number, or is a seek to before the start.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise CatsDogsError(
                f"{member.filename} cannot be unpacked into {tempfile.gettempdir()} ({error.strerror})",
                f"Set TMPDIR to a folder on a disk with {member.file_size:,} bytes free",
            ) from error
        raise CatsDogsError(
            f"{member.filename} within the zip is damaged or encrypted ({error})", "Download the zip again"
        ) from error


class _SectionReader(io.RawIOBase):
    """Part of an open file as a file of its own; positions are its own, so threads do not meet."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("a seek before the start")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no length
        wanted = min(len(buffer), max(0, self._size - self._position))
        block = os.pread(self._file.fileno(), wanted, self._start + self._position)
        buffer[: len(block)] = block
        self._position += len(block)
        return len(block)
