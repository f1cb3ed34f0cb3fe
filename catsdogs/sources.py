"""One path comes in; out go the images found there: ids, labels, split, and how to read each one's bytes.

A source is read in place. A zip stays zipped; a zip within a zip is read where it lies when it was stored,
and through an unnamed temporary file, gone with the process, when it was compressed.
"""

import errno
import io
import itertools
import lzma
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from .errors import CatsDogsError
from .layout import Placed, is_hidden, is_image, is_passed_over, is_split_name, is_zip, place

MAX_BYTES = 1 << 28
"""A single image's file may hold this many bytes (256 MiB); more is not read into memory."""

_ENCRYPTED, _NAME_IS_UTF8 = 0x1, 0x800
"""Bits of a zip member's flags (APPNOTE.TXT, 4.4.4)."""

_END_LENGTH = 22
"""Bytes in the record that ends a zip, its comment aside (APPNOTE.TXT, 4.3.16)."""

# fmt: off
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
    EOFError, MemoryError, OSError, OverflowError, RuntimeError, ValueError,
)
# fmt: on
"""What zipfile raises on what is damaged, encrypted, or compressed in a way that it does not know."""


@dataclass(frozen=True)
class ImageFile:
    """One file of a source.

    Parameters
    ----------
    parts : tuple of str
        Its path below the source; a zip within counts as a folder with the zip's stem as its name.
    where : str
        Where it is, as a person would write it.
    read : callable
        Returns its bytes; raises OSError with a reason where that cannot be done.
    """

    parts: tuple[str, ...]
    where: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Split:
    """The images of one split in natural order (cat.2 before cat.10).

    Parameters
    ----------
    ids : tuple of str
    labels : ndarray of shape (n,), int8
        1 dog, 0 cat, -1 unknown.
    files : tuple of ImageFile
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int8]
    files: tuple[ImageFile, ...]


class Source:
    """The images under one path, held open for reading; a context manager.

    Parameters
    ----------
    path : str or Path
        A folder or a zip, in any of the layouts that `catsdogs.layout` knows.

    Attributes
    ----------
    splits : dict of str to Split
        "train" and "test", those that are there.
    passed_over : int
        Files that are no images, or lie outside of both splits.

    Raises
    ------
    CatsDogsError
        Nothing there, no image in it, two images with one id, or labels that are no class.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._open_zips = ExitStack()
        try:
            files = list(self._walk())
            placed, self.passed_over = place([file.parts for file in files], str(path))
            self.splits = {
                split: _split([(p, files[p.position]) for p in members])
                for split, members in itertools.groupby(placed, lambda p: p.split)
            }
        except BaseException:
            self._open_zips.close()
            raise

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *raised: object) -> None:
        self._open_zips.close()

    def _walk(self) -> Iterator[ImageFile]:
        try:
            mode = self.path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise CatsDogsError(f"there is no {self.path}", "Give the path of a folder or a zip of images") from error
        except OSError as error:
            raise _cannot_be_read(self.path, error) from error
        if stat.S_ISDIR(mode):
            yield from self._walk_folder_or_its_zip()
        elif is_image(self.path.name):
            raise CatsDogsError(
                f"{self.path} is one image", "Give a folder or a zip; for single images use catsdogs label"
            )
        else:
            yield from _walk_zip(_open_zip(self.path), str(self.path), (), self._open_zips)

    def _walk_folder_or_its_zip(self) -> Iterator[ImageFile]:
        files = list(walk_folder(self.path, self._open_zips))
        zips = [name for name, *below in (file.parts for file in files) if not below and is_zip(name)]
        if len(zips) == 1 and all(is_passed_over(file.parts) for file in files):
            # A folder into which Kaggle's download went and nothing else.
            path = self.path / zips[0]
            yield from _walk_zip(_open_zip(path), str(path), (), self._open_zips)
        else:
            yield from files


def walk_folder(folder: Path, open_zips: ExitStack) -> Iterator[ImageFile]:
    """Yield every file below `folder`, links followed, and those within zips that are named like a split.

    Zips opened on the way are entered into `open_zips`, to be closed by the caller.
    """
    waiting: list[tuple[Path, tuple[str, ...], frozenset[tuple[int, int]]]] = [(folder, (), frozenset())]
    while waiting:
        folder, parts, above = waiting.pop()
        try:
            status = folder.stat()
            names = os.listdir(folder)  # noqa: PTH208 - names, not paths, are wanted
        except OSError as error:
            if is_hidden(parts):
                continue
            raise _cannot_be_read(folder, error) from error
        here = (status.st_dev, status.st_ino)
        if here in above:
            continue  # a link that leads back to a folder above
        folders = {name.lower() for name in names}
        for name in names:
            path = folder / name
            # A folder that is named like an image is no folder of images, but an image that cannot be read.
            if not is_image(name) and os.path.isdir(path):  # noqa: PTH112 - Path's raises where access is denied
                waiting.append((path, (*parts, name), above | {here}))
            elif _is_packed_split(PurePosixPath(name), folders):
                yield from _walk_zip(_open_zip(path), str(path), (*parts, path.stem), open_zips)
            else:
                yield ImageFile((*parts, name), str(path), partial(read_file, path))


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file; OSError for all else, with a reason that does not hold the path."""
    try:
        with _open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise OSError(f"it holds {size:,} bytes, more than {MAX_BYTES:,}")
            return file.read()
    except OSError as error:
        raise OSError(error.strerror or str(error)) from error
    except MemoryError as error:
        raise OSError("it takes more memory than there is") from error


def _open_regular(path: Path) -> BinaryIO:
    # Opening a pipe would otherwise wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError("it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file")


def _open_zip(path: Path) -> BinaryIO:
    try:
        return _open_regular(path)
    except OSError as error:
        raise _cannot_be_read(path, error) from error


def _cannot_be_read(path: Path, error: OSError) -> CatsDogsError:
    return CatsDogsError(
        f"{path} cannot be read ({error.strerror or error})", "Check its permissions, or move it elsewhere"
    )


def _walk_zip(
    file: BinaryIO, where: str, parts: tuple[str, ...], open_zips: ExitStack, *, depth: int = 0
) -> Iterator[ImageFile]:
    open_zips.enter_context(file)
    try:
        archive = open_zips.enter_context(zipfile.ZipFile(file))
        file.seek(-_END_LENGTH - len(archive.comment), os.SEEK_END)
        if file.read(4) != b"PK\5\6":
            # Of a zip that is cut short behind a stored zip, zipfile finds the end of the inner one.
            raise zipfile.BadZipFile("something follows its end")
    except _UNREADABLE as error:
        raise CatsDogsError(
            f"{where} is not a zip, or is cut short ({error})", "Fetch it again, or give a folder of images"
        ) from error
    members = [(member, PurePosixPath(_name_of(member))) for member in archive.infolist()]
    parents = {path.parent for _, path in members}
    folders = {str(folder).lower() for parent in parents for folder in (parent, *parent.parents)}
    for member, path in members:
        inside = (*parts, *path.parts)
        if not inside or (_is_folder(member) and not is_image(path.name)):
            continue
        if depth == 0 and _is_packed_split(path, folders):
            inner = _open_inner(file, archive, member)
            yield from _walk_zip(inner, f"{where}/{path}", (*inside[:-1], path.stem), open_zips, depth=1)
        else:
            yield ImageFile(inside, f"{where}/{path}", partial(_read_member, archive, member))


def _is_packed_split(path: PurePosixPath, folders: Collection[str]) -> bool:
    """Whether it is a zip such as ``train.zip`` with no folder of that name, in lower case, in `folders`."""
    return is_zip(path.name) and is_split_name(path.stem) and str(path.with_suffix("")).lower() not in folders


def _name_of(member: zipfile.ZipInfo) -> str:
    name = member.orig_filename
    if not member.flag_bits & _NAME_IS_UTF8:
        # zipfile then reads code page 437. What wrote it was rarely DOS; macOS, for one, writes UTF-8 so.
        name = name.encode("cp437").decode("utf-8", "surrogateescape")
    return name.replace("\\", "/")


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return _name_of(member).endswith("/")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if _is_folder(member):
        raise OSError("it is a folder")
    if member.file_size > MAX_BYTES:
        raise OSError(f"it holds {member.file_size:,} bytes, more than {MAX_BYTES:,}")
    if member.flag_bits & _ENCRYPTED:
        raise OSError("it is encrypted")
    try:
        return archive.read(member)
    except _UNREADABLE as error:
        raise OSError(f"the zip is damaged here: {error}") from error


def _open_inner(file: BinaryIO, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
    """Return a zip's member as a seekable file: in place if it was stored, through a spool if compressed."""
    spool = None
    try:
        with archive.open(member) as packed:
            if member.compress_type == zipfile.ZIP_STORED:
                # Opening has checked the member's own header (APPNOTE.TXT 4.3.7), which ends in two lengths.
                file.seek(member.header_offset + 26)
                name, extra = struct.unpack("<HH", file.read(4))
                start = member.header_offset + 30 + name + extra
                return io.BufferedReader(_Window(file, start, member.file_size))
            spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the caller's stack
            shutil.copyfileobj(packed, spool, 1 << 20)
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
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise OSError("a seek before the start")
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no length
        wanted = min(len(buffer), max(0, self._size - self._position))
        block = os.pread(self._file.fileno(), wanted, self._start + self._position)
        buffer[: len(block)] = block
        self._position += len(block)
        return len(block)


def _split(members: list[tuple[Placed, ImageFile]]) -> Split:
    return Split(
        ids=tuple(placed.id for placed, _ in members),
        labels=np.array([placed.label for placed, _ in members], np.int8),
        files=tuple(file for _, file in members),
    )
