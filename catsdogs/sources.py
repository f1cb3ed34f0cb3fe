"""One path comes in; out go the images found there: ids, labels, split, and how to read each one's bytes.

A source is read in place. A zip stays zipped; a zip within a zip is read where it lies when it was stored,
and through an unnamed temporary file, gone with the process, when it was compressed.
"""

import io
import os
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from .errors import CatsDogsError
from .layout import Placed, is_image, is_passed_over, is_split_name, place

MAX_BYTES = 1 << 28
"""A single image's file may hold this many bytes (256 MiB); more is not read into memory."""


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
                split: _in_natural_order([(files[p.position], p) for p in placed if p.split == split])
                for split in ("train", "test")
                if any(p.split == split for p in placed)
            }
        except BaseException:
            self._open_zips.close()
            raise

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open_zips.close()

    def _walk(self) -> Iterator[ImageFile]:
        if self.path.is_dir():
            yield from self._walk_folder_or_its_zip()
            return
        if not self.path.exists():
            raise CatsDogsError(f"there is no {self.path}", "Give the path of a folder or a zip of images")
        if is_image(self.path.name):
            raise CatsDogsError(
                f"{self.path} is one image", "Give a folder or a zip; for single images use catsdogs label"
            )
        yield from _walk_zip(self.path.open("rb"), str(self.path), (), self._open_zips)

    def _walk_folder_or_its_zip(self) -> Iterator[ImageFile]:
        files = list(walk_folder(self.path, self._open_zips))
        zips = [file.parts[0] for file in files if len(file.parts) == 1 and file.parts[0].lower().endswith(".zip")]
        if len(zips) == 1 and all(is_passed_over(file.parts) for file in files):
            # A folder into which Kaggle's download went and nothing else.
            path = self.path / zips[0]
            yield from _walk_zip(path.open("rb"), str(path), (), self._open_zips)
        else:
            yield from files


def walk_folder(folder: Path, open_zips: ExitStack) -> Iterator[ImageFile]:
    """Yield every file below `folder`, links followed, and those within zips that are named like a split.

    Zips opened on the way are entered into `open_zips`, to be closed by the caller.
    """
    return _walk_folder(folder, (), frozenset(), open_zips)


def _walk_folder(
    folder: Path, parts: tuple[str, ...], above: frozenset[tuple[int, int]], open_zips: ExitStack
) -> Iterator[ImageFile]:
    try:
        status = folder.stat()
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths, are wanted
    except OSError as error:
        raise CatsDogsError(
            f"{folder} cannot be read ({error.strerror})", "Check its permissions, or move it elsewhere"
        ) from error
    if (status.st_dev, status.st_ino) in above:
        return  # a link that leads back to a folder above
    above |= {(status.st_dev, status.st_ino)}
    for name in names:
        path = folder / name
        if path.is_dir() and not is_image(name):
            yield from _walk_folder(path, (*parts, name), above, open_zips)
        elif is_unpacked_nowhere(name, names):
            yield from _walk_zip(path.open("rb"), str(path), (*parts, path.stem), open_zips)
        else:
            yield ImageFile((*parts, name), str(path), partial(read_file, path))


def is_unpacked_nowhere(name: str, beside: Sequence[str]) -> bool:
    """Whether `name` is a zip such as ``train.zip`` whose content does not lie unpacked beside it."""
    stem, suffix = os.path.splitext(name)
    return suffix.lower() == ".zip" and is_split_name(stem) and stem not in beside


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file; OSError for all else. Opening a pipe would wait for its writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise OSError("it is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a regular file")
        if status.st_size > MAX_BYTES:
            raise OSError(f"it holds {status.st_size:,} bytes, more than {MAX_BYTES:,}")
        return file.read()


def _walk_zip(
    file: BinaryIO, where: str, parts: tuple[str, ...], open_zips: ExitStack, *, depth: int = 0
) -> Iterator[ImageFile]:
    open_zips.enter_context(file)
    try:
        archive = open_zips.enter_context(zipfile.ZipFile(file))
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise CatsDogsError(
            f"{where} is not a zip, or is cut short ({error})", "Fetch it again, or give a folder of images"
        ) from error
    members = [member for member in archive.infolist() if not member.is_dir()]
    names = [member.filename for member in members]
    for member in members:
        path = PurePosixPath(member.filename)
        inside = (*parts, *path.parts)
        if depth == 0 and is_unpacked_nowhere(path.name, names):
            inner = _open_inner(file, archive, member)
            yield from _walk_zip(inner, f"{where}/{path}", inside[:-1] + (path.stem,), open_zips, depth=1)
        else:
            yield ImageFile(inside, f"{where}/{path}", partial(_read_member, archive, member))


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.file_size > MAX_BYTES:
        raise OSError(f"it holds {member.file_size:,} bytes, more than {MAX_BYTES:,}")
    if member.flag_bits & 1:
        raise OSError("it is encrypted")
    try:
        return archive.read(member)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
        raise OSError(f"the zip is damaged here: {error}") from error


def _open_inner(file: BinaryIO, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
    """Return a zip's member as a seekable file: in place if it was stored, through a spool if compressed."""
    if member.compress_type == zipfile.ZIP_STORED and isinstance(file, io.BufferedReader):
        with archive.open(member):  # checks the member's own header
            pass
        file.seek(member.header_offset + 26)
        name_and_extra = int.from_bytes(file.read(2), "little") + int.from_bytes(file.read(2), "little")
        start = member.header_offset + 30 + name_and_extra
        return io.BufferedReader(_Window(os.dup(file.fileno()), start, member.file_size))
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the caller's stack
    try:
        with archive.open(member) as packed:
            while block := packed.read(1 << 20):
                spool.write(block)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, zlib.error) as error:
        spool.close()
        raise CatsDogsError(
            f"{member.filename} within the zip is damaged ({error})", "Fetch the zip again"
        ) from error
    spool.seek(0)
    return spool  # type: ignore[return-value]  # typeshed: a wrapper that behaves as one


class _Window(io.RawIOBase):
    """Part of an open file as a file of its own; positions are its own, so threads do not meet."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor, self._start, self._size, self._position = descriptor, start, size, 0

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

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), max(0, self._size - self._position))
        block = os.pread(self._descriptor, wanted, self._start + self._position)
        buffer[: len(block)] = block
        self._position += len(block)
        return len(block)

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def _in_natural_order(found: list[tuple[ImageFile, Placed]]) -> Split:
    from natsort import natsort_keygen

    key = natsort_keygen()
    # Natural keys of "cat.2" and "cat.02" are equal; the id itself then decides, so that no walk's order does.
    found = sorted(found, key=lambda pair: (key(pair[1].id), pair[1].id))
    for (file, placed), (next_file, next_placed) in zip(found, found[1:], strict=False):
        if placed.id == next_placed.id:
            raise CatsDogsError(
                f"two images have the id {placed.id}: {file.where} and {next_file.where}",
                "Rename or remove one of them",
            )
    return Split(
        ids=tuple(placed.id for _, placed in found),
        labels=np.array([placed.label for _, placed in found], np.int8),
        files=tuple(file for file, _ in found),
    )

