"""A path comes in; out goes how to open it as a file and nothing else: no folder, no pipe that would wait."""

import os
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ..errors import CatsDogsError
from ..layout import is_split_name, is_zip

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


def image_file(path: Path, parts: tuple[str, ...]) -> ImageFile:
    """Return the file at `path` as one that lies at `parts` below the source."""
    return ImageFile(parts, str(path), partial(read_file, path))


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file; OSError for all else, with a reason that does not hold the path."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise OSError(f"it holds {size:,} bytes, more than {MAX_BYTES:,}")
            return file.read()
    except OSError as error:
        raise OSError(error.strerror or str(error)) from error
    except MemoryError as error:
        raise OSError("it takes more memory than there is") from error


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
        raise cannot_be_read(path, error) from error


def cannot_be_read(path: Path, error: OSError) -> CatsDogsError:
    """Return the error for a file or folder that the system does not let us read."""
    return CatsDogsError(
        f"{path} cannot be read ({error.strerror or error})", "Check its permissions, or move it elsewhere"
    )


def is_packed_split(path: PurePosixPath, folders: Collection[str]) -> bool:
    """Whether it is a zip such as ``train.zip`` with no folder of that name, in lower case, in `folders`."""
    return is_zip(path.name) and is_split_name(path.stem) and str(path.with_suffix("")).lower() not in folders
