"""List the files of a zip, and read them without unpacking it.

A zip within a zip is read in place if it was stored without compression. If it was compressed, it is unpacked into an
unnamed temporary file, which the system removes when the process ends.
"""

import errno
import io
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import BinaryIO, cast

from ..errors import CatsDogsError
from .archives import ZIP_ERRORS, list_members, open_archive, unsupported_method
from .files import MAX_BYTES, ImageFile, RangeFile, check_size, raise_if_system_error
from .names import archives_to_read, folders_with_parents, is_zip, path_of, skip_reason, stem_of

_ENCRYPTED = 0x1
"""A bit of a zip member's flags (APPNOTE.TXT, 4.4.4)."""

_HEADER = 30 + 64
"""Bytes of a member's own header without name and extra field (APPNOTE.TXT, 4.3.7), and by how much its extra field may
be longer than in the directory; if it is still longer, the rest is read later."""

_MAX_EXPANSION = 20
"""Maximum ratio of the unpacked to the compressed size of a zip within a zip; for photographs it is near 1."""


@dataclass(frozen=True)
class _ZipMember(ImageFile):
    """A member of an open zip; several threads may read members at the same time."""

    archive: zipfile.ZipFile
    member: zipfile.ZipInfo

    @property
    def is_remote(self) -> bool:
        file: object = self.archive.fp
        return isinstance(file, RangeFile) and file.is_remote

    def descriptors(self) -> tuple[int, ...] | None:
        section = _section_of(self.archive)
        return section and section[:1]

    def __reduce__(self) -> tuple[Callable[..., ImageFile], tuple[object, ...]]:
        return _unpickle, (self.parts, self.display_path, _section_of(self.archive), self.member)

    def read(self) -> bytes:
        check_size(self.member.file_size)
        if self.member.flag_bits & _ENCRYPTED:
            raise OSError("it is encrypted")
        if method := unsupported_method(self.member):
            raise OSError(f"it is compressed with {method}, which is not supported: unpack the zip")
        try:
            with self._prefetched():
                return self.archive.read(self.member)
        except ZIP_ERRORS as error:
            raise_if_system_error(error, self.display_path)
            raise OSError(f"it is damaged in the zip: {error}") from error

    def _prefetched(self) -> AbstractContextManager[None]:
        """Read the member's bytes in one range, as zipfile lets only one thread read at a time."""
        member = self.member
        file: object = self.archive.fp
        if not isinstance(file, RangeFile):
            return nullcontext()
        length = _HEADER + len(member.orig_filename.encode()) + len(member.extra) + member.compress_size
        return file.prefetched(member.header_offset, member.header_offset + length)

    def length(self) -> int:
        return self.member.file_size

    def size(self) -> int:
        # zipfile holds the compressed bytes, also where they were prefetched, the unpacked pieces, and all of these.
        packed = self.member.compress_size * (2 if isinstance(self.archive.fp, RangeFile) else 1)
        return packed + 2 * self.member.file_size if self.member.file_size <= MAX_BYTES else 0


def walk_zip(
    file: BinaryIO, display_path: str, parts: tuple[str, ...], open_zips: ExitStack, *, depth: int = 0
) -> Iterator[ImageFile]:
    """Yield every file of a zip, and of the zips within it that `names.archives_to_read` selects.

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
    archive = open_zips.enter_context(open_archive(file, display_path))
    listed = [(member, path_of(name), name.endswith("/")) for member, name in list_members(file, archive, display_path)]
    files = [(member, path) for member, path, is_folder in listed if path and not is_folder]
    folders = folders_with_parents({path if is_folder else path[:-1] for _, path, is_folder in listed})
    images = [member for member, path in files if not skip_reason(path)]
    if images and (method := unsupported_method(images[0])) and all(map(unsupported_method, images)):
        message = f"{display_path} is compressed with {method}, which is not supported"
        raise CatsDogsError(message, "Unpack it, and give the folder")
    zips = archives_to_read((path for _, path in files), folders) if depth == 0 else set()
    for member, path in files:
        member_path, within = "/".join((display_path, *path)), (*parts, *path)
        if path in zips and is_zip(path[-1]):
            inner = _open_inner(file, archive, member)
            yield from walk_zip(inner, member_path, (*within[:-1], stem_of(path[-1])), open_zips, depth=1)
        else:
            yield _ZipMember(within, member_path, archive, member)


def _open_inner(file: BinaryIO, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
    """Return a zip's member as a seekable file: in place if it was stored, in a temporary file if compressed."""
    if method := unsupported_method(member):
        message = f"{member.filename} within the zip is compressed with {method}, which is not supported"
        raise CatsDogsError(message, "Unpack the zip, and give the folder")
    if member.file_size > max(MAX_BYTES, _MAX_EXPANSION * member.compress_size):
        sizes = f"{member.compress_size:,} bytes that unpack to {member.file_size:,}"
        hint = "It may be a decompression bomb: download the zip from a source that you trust"
        raise CatsDogsError(f"{member.filename} within the zip has {sizes}", hint)
    try:
        with archive.open(member) as packed, ExitStack() as spooled:
            if member.compress_type == zipfile.ZIP_STORED:
                # Opening has checked the member's own header (APPNOTE.TXT 4.3.7), which ends in two lengths.
                file.seek(member.header_offset + 26)
                name, extra = struct.unpack("<HH", file.read(4))
                start = member.header_offset + 30 + name + extra
                if isinstance(file, RangeFile):
                    return cast(BinaryIO, file.section(start, member.file_size))
                return cast(BinaryIO, RangeFile(partial(_read_open, file.fileno(), start), member.file_size))
            spool = spooled.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(packed, spool, 1 << 20)
            spool.seek(0)
            spooled.pop_all()  # the caller closes the file
            return spool
    except ZIP_ERRORS as error:
        # Damage may raise an OSError too: without a number, or EINVAL for a seek to before the start.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            message = f"{member.filename} cannot be unpacked into {tempfile.gettempdir()} ({error.strerror})"
            hint = f"Set TMPDIR to a folder on a disk with {member.file_size:,} bytes free"
            raise CatsDogsError(message, hint) from error
        hint = "Download the zip again"
        raise CatsDogsError(f"{member.filename} within the zip is damaged or encrypted ({error})", hint) from error


def _read_open(descriptor: int, offset: int, start: int, stop: int) -> bytes:
    """Return a range of a section of an open file, whose own position stays."""
    return os.pread(descriptor, stop - start, offset + start)


def _section_of(archive: zipfile.ZipFile) -> tuple[int, int, int] | None:
    """Return the descriptor of the file in which an open zip is, its start and its size; None if it is not in one."""
    file = cast("BinaryIO | RangeFile", archive.fp)
    if not isinstance(file, RangeFile):
        return file.fileno(), 0, os.fstat(file.fileno()).st_size
    read = file.read_range
    return (*read.args, file.size) if isinstance(read, partial) and read.func is _read_open else None


def _unpickle(
    parts: tuple[str, ...], display_path: str, section: tuple[int, int, int], member: zipfile.ZipInfo
) -> ImageFile:
    """Return a member of a zip that another process has opened, whose descriptor this one has inherited."""
    return _ZipMember(parts, display_path, _inherited(*section), member)


@cache
def _inherited(descriptor: int, start: int, size: int) -> zipfile.ZipFile:
    """Return a zip of which only members are read that the other process has listed: it need not list them again."""
    archive = zipfile.ZipFile(io.BytesIO(), "w")
    archive.close()
    archive.mode, archive.fp = "r", cast(BinaryIO, RangeFile(partial(_read_open, descriptor, start), size))
    return archive
