"""Open image files and zips, regular files only, and tell a failing machine from a bad file."""

import errno
import os
import stat
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO

from ..errors import CatsDogsError

MAX_BYTES = 1 << 28
"""Most bytes that an image's file may hold (256 MiB); a larger one is not read into memory."""


_SYSTEM_ERRORS = (
    *(errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENOTCONN, errno.ECONNRESET),
)
"""Errors of a disk, a connection or a system rather than of one file: the next file would have them too."""


@dataclass(frozen=True)
class ImageFile(ABC):
    """One file of a source; each kind of source has its own class.

    Parameters
    ----------
    parts : tuple of str
        Its path below the source; a zip within counts as a folder with the zip's stem as its name.
    display_path : str
        Its path as a person would write it, for messages; within a zip, the zip's path and the member's name.
    """

    parts: tuple[str, ...]
    display_path: str

    @abstractmethod
    def read(self) -> bytes:
        """Return its bytes.

        Raises
        ------
        OSError
            That cannot be done; its text is the reason, and does not hold the path.
        CatsDogsError
            The machine fails rather than the file.
        """

    @abstractmethod
    def size(self) -> int:
        """Return how many bytes reading it will take at most; 0 where it will not be read."""


@dataclass(frozen=True)
class _PlainFile(ImageFile):
    """A file of the system's; only a regular one is read."""

    path: Path

    def read(self) -> bytes:
        try:
            with open_regular(self.path) as file:
                size = os.fstat(file.fileno()).st_size
                if size > MAX_BYTES:
                    raise OSError(f"it holds {size:,} bytes, more than {MAX_BYTES:,}")
                return file.read()
        except (OSError, MemoryError) as error:
            raise_if_system_error(error, str(self.path))
            raise OSError(getattr(error, "strerror", None) or str(error)) from error

    def size(self) -> int:
        try:
            size = self.path.stat().st_size
        except OSError:
            return 0  # reading says why
        return size if size <= MAX_BYTES else 0


@dataclass(frozen=True)
class _StreamFile(ImageFile):
    """What an open file held, such as a pipe: it has been read already."""

    content: bytes = field(repr=False)

    def read(self) -> bytes:
        if len(self.content) > MAX_BYTES:
            raise OSError(f"it holds more than {MAX_BYTES:,} bytes")
        return self.content

    def size(self) -> int:
        return len(self.content)


def image_file(path: Path, parts: tuple[str, ...]) -> ImageFile:
    """Return the file at `path` as one that lies at `parts` below the source."""
    return _PlainFile(parts, str(path), path)


def image_from_stream(content: BufferedIOBase, display_path: str) -> ImageFile:
    """Return what an open file still holds as one image; it is read at once, as pipes are."""
    return _StreamFile((display_path,), display_path, content.read(MAX_BYTES + 1))


def unreadable_reason(error: OSError) -> str:
    """Return the reason that an image has which the system does not let us read."""
    return f"it cannot be read: {error.strerror or error}"


def raise_if_system_error(error: BaseException, display_path: str) -> None:
    """Refuse to take for a bad image what a failing machine makes of a good one: it may pass.

    Raises
    ------
    CatsDogsError
        A disk, a connection or the memory is at fault.
    """
    if isinstance(error, MemoryError):
        message, hint = f"there is not enough memory to read {display_path}", "make some free, or take that image away"
    elif isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS:
        message, hint = f"{display_path} cannot be read ({error.strerror})", "see to the disk or the connection"
    else:
        return
    raise CatsDogsError(message, f"What is done is kept: {hint}, and run the same command again") from error


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; OSError for all else."""
    # Opening a pipe would otherwise wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError("it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file")


def open_zip(path: Path) -> BinaryIO:
    """Open a file that should be a zip, or say in one line why that cannot be done."""
    try:
        return open_regular(path)
    except OSError as error:
        raise read_error(path, error) from error


def read_error(path: Path, error: OSError) -> CatsDogsError:
    """Return the error for a file or folder that the system does not let us read."""
    return CatsDogsError(
        f"{path} cannot be read ({error.strerror or error})", "Check its permissions, or move it elsewhere"
    )
