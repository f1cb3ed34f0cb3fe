"""Open image files and archives, read parts of them, and distinguish errors of the system from errors of one file."""

import errno
import io
import os
import stat
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from ..errors import CatsDogsError

MAX_BYTES = 1 << 28
"""Maximum size of an image file in bytes (256 MiB); a larger one is not read into memory."""

_BLOCK, _END = 1 << 12, (1 << 16) + 22
"""Bytes of a `RangeFile` that are read at least; at its end, the record of a zip with its longest comment."""

_SYSTEM_ERRORS = (
    *(errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENOTCONN, errno.ECONNRESET),
)
"""Errors of a disk, a connection or the system, which would affect the next files too."""


@dataclass(frozen=True)
class ImageFile(ABC):
    """One file of a source; each kind of source has its own class.

    Parameters
    ----------
    parts : tuple of str
        Its path below the source; a zip within the source counts as a folder that is named by the zip's stem.
    display_path : str
        Its path for messages; for a zip's member, the zip's path followed by the member's name.
    """

    parts: tuple[str, ...]
    display_path: str

    @property
    def is_remote(self) -> bool:
        """Whether reading waits for a network, so that many files should be read at the same time."""
        return False

    @abstractmethod
    def read(self) -> bytes:
        """Return the content of the file.

        Raises
        ------
        OSError
            The file cannot be read; the error's text is the reason, without the path.
        CatsDogsError
            A disk, a connection or the memory fails; other files may be affected too.
        """

    @abstractmethod
    def length(self) -> int:
        """Return the number of bytes of the content; 0 if it is not known."""

    def size(self) -> int:
        """Return how many bytes of memory reading takes at most; 0 if the file will not be read."""
        return size if (size := self.length()) <= MAX_BYTES else 0

    def descriptors(self) -> tuple[int, ...] | None:
        """Return the open files that a process must inherit to read this one, once it is unpickled there.

        None if only this process can read it.
        """
        return None


@dataclass(frozen=True)
class StoredFile(ImageFile):
    """A file that can be read in parts, as it may be an archive."""

    @abstractmethod
    def read_range(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`; raise errors as `read` does. Several threads may call this."""

    @abstractmethod
    def open(self) -> BinaryIO:
        """Open an archive; raise CatsDogsError if that is not possible."""


@dataclass(frozen=True)
class _PlainFile(StoredFile):
    """A file of the file system; only a regular file is read."""

    path: str

    def descriptors(self) -> tuple[int, ...]:
        return ()

    def __reduce__(self) -> tuple[Callable[..., ImageFile], tuple[object, ...]]:
        """Return what is sent to a process; the instance's dictionary, or a Path, takes several times as long."""
        return _PlainFile, (self.parts, self.display_path, self.path)

    def read(self) -> bytes:
        return self.read_range(0, None)

    def read_range(self, start: int, stop: int | None) -> bytes:
        try:
            with _open_regular(self.path) as file:
                check_size((os.fstat(file.fileno()).st_size if stop is None else stop) - start)
                file.seek(start)
                return file.read() if stop is None else file.read(stop - start)
        except (OSError, MemoryError) as error:
            raise_if_system_error(error, self.path)
            raise OSError(getattr(error, "strerror", None) or str(error)) from error

    def open(self) -> BinaryIO:
        try:
            return _open_regular(self.path)
        except OSError as error:
            raise read_error(self.path, error) from error

    def length(self) -> int:
        try:
            return os.stat(self.path).st_size  # noqa: PTH116
        except OSError:
            return 0  # read() raises the error


@dataclass(frozen=True)
class _StreamFile(ImageFile):
    """The bytes that were read from a stream, such as a pipe, which can be read only once."""

    content: bytes = field(repr=False)

    def read(self) -> bytes:
        check_size(len(self.content))
        return self.content

    def length(self) -> int:
        return len(self.content)


class RangeFile(io.RawIOBase):
    """A file of which ranges are read by a function: a file elsewhere, or a section of a file.

    Several threads may read at the same time what they have prefetched. Otherwise only one may use it at a time, as it
    has a position; zipfile has a lock for that.

    Parameters
    ----------
    read_range : callable
        Returns the bytes from a start to a stop. Several threads may call it.
    size : int
    is_remote : bool
    """

    def __init__(self, read_range: Callable[[int, int], bytes], size: int, is_remote: bool = False) -> None:
        self.read_range, self.is_remote = read_range, is_remote
        self.size, self._position = size, 0
        self._recent = deque[tuple[int, bytes]](maxlen=4)
        self._prefetched: dict[int, bytes] = {}

    def section(self, offset: int, size: int) -> "RangeFile":
        """Return a section as a file of its own."""
        return RangeFile(lambda start, stop: self.read_range(offset + start, offset + stop), size, self.is_remote)

    @contextmanager
    def prefetched(self, start: int, stop: int) -> Iterator[None]:
        """Read a range; until the context ends, reading it does not call the function."""
        start, stop = min(start, self.size), min(stop, self.size)
        self._prefetched[start] = self.read_range(start, stop)
        try:
            yield
        finally:
            self._prefetched.pop(start, None)  # another thread may have read, and left, the same range

    def readable(self) -> bool:  # noqa: D102 - as in the base class, as are the next three
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:  # noqa: D102
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError("seek to before the start")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:  # noqa: D102
        parts, missing = [], max(0, self.size - self._position)
        missing = missing if size is None or size < 0 else min(size, missing)
        while missing:
            parts.append(self._next(missing))
            self._position += len(parts[-1])
            missing -= len(parts[-1])
        return b"".join(parts)

    def _next(self, wanted: int) -> bytes:
        """Return at least one of the next `wanted` bytes."""
        at = self._position
        # A list of a dictionary's items is made in one step, so other threads may change it.
        for start, content in (*list(self._prefetched.items()), *self._recent):
            if start <= at < start + len(content):
                return content[at - start : at - start + wanted]
        start, stop = at, max(at + wanted, at + _BLOCK)
        if stop > self.size - _END:
            start, stop = min(at, max(0, self.size - _END)), self.size
        content = self.read_range(start, stop)
        if at - start >= len(content):
            raise OSError("the file is shorter than it was")
        self._recent.append((start, content))
        return content[at - start : at - start + wanted]


def image_file(path: Path, parts: tuple[str, ...]) -> StoredFile:
    """Return the file at `path` as an image file with the path `parts` below the source."""
    return _PlainFile(parts, str(path), str(path))


class Readable(Protocol):
    """An open binary file, buffered or not."""

    def read(self, size: int = ..., /) -> bytes | None:
        """Return at most `size` bytes."""


def image_from_stream(content: Readable, display_path: str) -> ImageFile:
    """Read the rest of an open file, such as a pipe, and return it as one image file.

    Raises
    ------
    CatsDogsError
        It is a text file, closed, or cannot be read.
    """
    chunks, missing = [], MAX_BYTES + 1
    try:
        while missing > 0 and (chunk := content.read(missing)):  # an unbuffered file may return less than it has
            if not isinstance(chunk, bytes):
                raise CatsDogsError(f"{display_path} is open as text", 'Open it with the mode "rb"')
            chunks.append(chunk)
            missing -= len(chunk)
    except (OSError, ValueError) as error:
        raise CatsDogsError(f"{display_path} cannot be read ({error})", 'Open it with the mode "rb"') from error
    return _StreamFile((display_path,), display_path, b"".join(chunks))


def given_image(path: Path) -> ImageFile:
    """Return the image at a path that a user gives; a pipe of the shell, /dev/stdin or <(command), is read here."""
    if path.parts[1:2] in (("dev",), ("proc",)) and path.is_fifo():  # no named pipe, which may have no writer
        with path.open("rb") as pipe:
            return image_from_stream(pipe, str(path))
    return image_file(path, (path.name,))


def unreadable_reason(error: OSError) -> str:
    """Return the reason for an image whose file cannot be read."""
    return f"the file cannot be read: {error.strerror or error}"


def raise_if_system_error(error: BaseException, display_path: str) -> None:
    """Raise an error that ends the run if a disk, a connection or the memory fails: the image may be valid.

    Raises
    ------
    CatsDogsError
        A disk, a connection or the memory fails.
    """
    if isinstance(error, MemoryError):
        message, hint = f"there is not enough memory to read {display_path}", "Free some memory, or remove this image"
    elif isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS:
        message, hint = f"{display_path} cannot be read ({error.strerror})", "Check the disk or the connection"
    else:
        return
    raise CatsDogsError(message, f"{hint}, and rerun: finished work is kept") from error


def check_size(size: int) -> None:
    """Raise OSError if an image file is too large to be read into memory."""
    if size > MAX_BYTES:
        raise OSError(f"it has {size:,} bytes, more than the limit of {MAX_BYTES:,}")


def _open_regular(path: str) -> BinaryIO:
    """Open a regular file for reading; raise OSError for anything else."""
    # Without O_NONBLOCK, opening a pipe waits for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError("it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file")


def read_error(path: Path | str, error: OSError) -> CatsDogsError:
    """Return the error for a file or folder that cannot be read."""
    message = f"{path} cannot be read ({error.strerror or error})"
    return CatsDogsError(message, "Give a folder or a regular file that you may read")
