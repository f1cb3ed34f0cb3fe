"""Write ``.npy`` files, and read files that may be damaged or untrusted.

A header is written, compared or skipped, and never parsed, so a damaged one has no effect.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError
from ..storage import write_file

BLOCK = 256
"""Rows that are read or written at a time: 2 MiB of features."""

_GROWTH = 21
"""Digits that ``np.save`` reserves for the length of an array."""


def header(shape: Sequence[int], dtype: np.dtype[Any]) -> bytes:
    """Return the header of format version 1.0 (NEP 1): magic, version, length, and a padded Python literal."""
    descr, shape = np.lib.format.dtype_to_descr(dtype), tuple(map(int, shape))
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}"
    text += (_GROWTH - len(str(shape[0]))) * " " if shape else ""
    length = -(-(11 + len(text)) // 64) * 64 - 10  # the whole header has a multiple of 64 bytes
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length - 1).encode("latin-1") + b"\n"


@cache
def header_size(dtype: np.dtype[Any]) -> int:
    """Return the size of the header in bytes, for any number of rows of this dtype."""
    return len(header((0, *dtype.shape), dtype.base))


def to_bytes(array: NDArray[Any]) -> bytes:
    """Return the content of an array's ``.npy`` file, the same bytes with any version of NumPy."""
    return b"".join([header(array.shape, array.dtype), np.ascontiguousarray(array).data])


def from_bytes(content: bytes, n: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the first `n` rows of the content of a file, which may be damaged; missing bytes are zeros."""
    data = content[header_size(dtype) :][: n * dtype.itemsize].ljust(n * dtype.itemsize, b"\0")
    return np.frombuffer(data, dtype.base).reshape(n, *dtype.shape)


def write_blocks(path: Path, n: int, dtype: np.dtype[Any], blocks: Iterable[NDArray[Any]]) -> None:
    """Write `n` rows block by block, in place, and sync the file."""
    data = (np.ascontiguousarray(block, dtype.base).data for block in blocks)
    write_file(path, chain([header((n, *dtype.shape), dtype.base)], data))


def is_intact(path: Path, n: int, dtype: np.dtype[Any]) -> bool:
    """Whether a file has the header and the size of an array of `n` rows."""
    start = header((n, *dtype.shape), dtype.base)
    with suppress(OSError), path.open("rb") as file:
        return file.read(len(start)) == start and os.fstat(file.fileno()).st_size == len(start) + n * dtype.itemsize
    return False


def count_rows(path: Path, dtype: np.dtype[Any]) -> int:
    """Return the number of complete rows in a file, computed from its size; 0 if there is no file."""
    with suppress(OSError):
        return max(0, path.stat().st_size - header_size(dtype)) // dtype.itemsize
    return 0


def read_rows(path: Path, first: int, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return `count` rows of a file, which may be damaged or missing, from row `first` on; missing bytes are zeros.

    The file is not mapped into memory: if the disk fails under a memory map, the system kills the process.

    Raises
    ------
    CatsDogsError
        The file exists but cannot be read; it does not count as damaged.
    """
    block = np.zeros(count, dtype)
    try:
        with path.open("rb") as file:
            file.seek(header_size(dtype) + first * dtype.itemsize)
            file.readinto(block.reshape(-1).view(np.uint8).data)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return block
    except OSError as error:
        raise CatsDogsError(f"{path} cannot be read ({error.strerror or error})", "Fix this and rerun") from error
    return block


def blocks(n: int) -> list[slice]:
    """Split `n` rows into slices of at most `BLOCK` rows."""
    return [slice(first, min(first + BLOCK, n)) for first in range(0, n, BLOCK)]
