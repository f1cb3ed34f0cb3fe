"""Open image files and zips, regular files only, and tell a failing machine from a bad file."""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
class ImageFile:
    """One file of a source.

    Parameters
    ----------
    parts : tuple of str
        Its path below the source; a zip within counts as a folder with the zip's stem as its name.
    origin : str
        Its path as a person would write it, for messages; within a zip, the zip's path and the member's name.
    read : callable
        Returns its bytes; raises OSError with a reason where that cannot be done, and CatsDogsError where the
        machine fails rather than the file.
    size : callable
        Returns how many bytes reading it will take at most; 0 where it will not be read.
    """

    parts: tuple[str, ...]
    origin: str
    read: Callable[[], bytes]
    size: Callable[[], int]


def image_file(path: Path, parts: tuple[str, ...]) -> ImageFile:
    """Return the file at `path` as one that lies at `parts` below the source."""
    return ImageFile(parts, str(path), partial(read_file, path), partial(_size, path))


def image_from_stream(content: BufferedIOBase, origin: str) -> ImageFile:
    """Return what an open file still holds as an image that is called `origin`; it is read at once, as pipes are."""
    data = content.read(MAX_BYTES + 1)

    def read() -> bytes:
        if len(data) > MAX_BYTES:
            raise OSError(f"it holds more than {MAX_BYTES:,} bytes")
        return data

    return ImageFile((origin,), origin, read, lambda: len(data))


def _size(path: Path) -> int:
    try:
        size = path.stat().st_size
    except OSError:
        return 0  # reading says why
    return size if size <= MAX_BYTES else 0


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file; OSError for all else, with a reason that does not hold the path."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise OSError(f"it holds {size:,} bytes, more than {MAX_BYTES:,}")
            return file.read()
    except (OSError, MemoryError) as error:
        raise_if_system_error(error, str(path))
        raise OSError(getattr(error, "strerror", None) or str(error)) from error


def unreadable_reason(error: OSError) -> str:
    """Return the reason that an image has which the system does not let us read."""
    return f"it cannot be read: {error.strerror or error}"


def raise_if_system_error(error: BaseException, origin: str) -> None:
    """Refuse to take for a bad image what a failing machine makes of a good one: it may pass.

    Raises
    ------
    CatsDogsError
        A disk, a connection or the memory is at fault.
    """
    if isinstance(error, MemoryError):
        raise CatsDogsError(
            f"there is not enough memory to read {origin}",
            "What is done is kept: make some free, or take that image away, and run the same command again",
        ) from error
    if isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS:
        raise CatsDogsError(
            f"{origin} cannot be read ({error.strerror})",
            "What is done is kept: see to the disk or the connection, and run the same command again",
        ) from error


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
