"""Open image files and zips, and distinguish errors of the system from errors of one file."""

import errno
import os
import stat
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from ..errors import CatsDogsError

MAX_BYTES = 1 << 28
"""Maximum size of an image file in bytes (256 MiB); a larger one is not read into memory."""


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

    @abstractmethod
    def size(self) -> int:
        """Return how many bytes of memory reading takes at most; 0 if the file will not be read."""


@dataclass(frozen=True)
class _PlainFile(ImageFile):
    """A file of the file system; only a regular file is read."""

    path: Path

    def read(self) -> bytes:
        try:
            with open_regular(self.path) as file:
                size = os.fstat(file.fileno()).st_size
                if size > MAX_BYTES:
                    raise OSError(f"it has {size:,} bytes, more than the limit of {MAX_BYTES:,}")
                return file.read()
        except (OSError, MemoryError) as error:
            raise_if_system_error(error, str(self.path))
            raise OSError(getattr(error, "strerror", None) or str(error)) from error

    def length(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0  # read() raises the error

    def size(self) -> int:
        return size if (size := self.length()) <= MAX_BYTES else 0


@dataclass(frozen=True)
class _StreamFile(ImageFile):
    """The bytes that were read from a stream, such as a pipe, which can be read only once."""

    content: bytes = field(repr=False)

    def read(self) -> bytes:
        if len(self.content) > MAX_BYTES:
            raise OSError(f"it has more than the limit of {MAX_BYTES:,} bytes")
        return self.content

    def length(self) -> int:
        return len(self.content)

    size = length


def image_file(path: Path, parts: tuple[str, ...]) -> ImageFile:
    """Return the file at `path` as an image file with the path `parts` below the source."""
    return _PlainFile(parts, str(path), path)


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


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; raise OSError for anything else."""
    # Without O_NONBLOCK, opening a pipe waits for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError("it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file")


def open_zip(path: Path) -> BinaryIO:
    """Open a zip for reading; raise CatsDogsError if that is not possible."""
    try:
        return open_regular(path)
    except OSError as error:
        raise read_error(path, error) from error


def read_error(path: Path, error: OSError) -> CatsDogsError:
    """Return the error for a file or folder that cannot be read."""
    return CatsDogsError(
        f"{path} cannot be read ({error.strerror or error})", "Check its permissions, or move it elsewhere"
    )
