"""Write ``.npy`` files row by row, and read them without trusting them.

The header is written and compared by its bytes, and never parsed: what a damaged one says has no say in anything.
"""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

HEADER = 128
"""Bytes before the data: what ``np.save`` writes for arrays of any shape and dtype that a cache holds."""


_SAID = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': ('[^']+'|\[.*\]), 'fortran_order': False, 'shape': \(([\d, ]*)\)", re.DOTALL
)
"""A header as `_header` writes it, and what it says of dtype and shape."""


class RowFile:
    """A ``.npy`` file whose rows are written in place with ``pwrite``, in any order."""

    def __init__(self, path: Path, row_shape: Sequence[int], dtype: DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._row_bytes = self._dtype.itemsize * prod(row_shape)
        self._descriptor = os.open(path, os.O_WRONLY)

    def write(self, row: int, value: object) -> None:
        """Write one row."""
        block = memoryview(np.ascontiguousarray(value, self._dtype).tobytes())
        if len(block) != self._row_bytes:
            raise ValueError(f"a row must be of {self._row_bytes} bytes. Got {len(block)} instead.")
        position = HEADER + row * self._row_bytes
        while block:
            written = os.pwrite(self._descriptor, block, position)
            block, position = block[written:], position + written

    def sync(self) -> None:
        """Make the rows written so far outlast a power cut."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; it is not synced."""
        os.close(self._descriptor)


def create(path: Path, shape: Sequence[int], dtype: DTypeLike) -> None:
    """Create a file of zeros, the rows not yet taking space on the disk."""
    dtype = np.dtype(dtype)
    with path.open("wb") as file:
        file.write(_header(shape, dtype))
        file.truncate(HEADER + dtype.itemsize * prod(shape))


def to_bytes(array: NDArray[Any]) -> bytes:
    """Return what ``np.save`` would write, the same bytes with any version of NumPy."""
    return _header(array.shape, array.dtype) + array.tobytes()


def read(path: Path, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """Read a file, its header and size held against what is expected before any of it is believed.

    It is not mapped into memory: where the disk fails or is full below a map, the system kills the process.

    Raises
    ------
    ValueError
        Dtype, shape or the file's size are not what they should be; any unicode width is taken for ``str``.
    OSError
        It cannot be read.
    """
    dtype = np.dtype(dtype)
    with path.open("rb") as file:
        header = file.read(HEADER)
        size = os.fstat(file.fileno()).st_size - HEADER
        if dtype.kind == "U":
            dtype = np.dtype(f"<U{max(1, size // (4 * max(1, prod(shape))))}")
        if header != _header(shape, dtype) or size != dtype.itemsize * prod(shape):
            raise ValueError(f"{path} is not an array of shape {tuple(shape)} and dtype {dtype}")
        array = np.empty(shape, dtype)
        if _read_into(file, array) != array.nbytes:
            raise ValueError(f"{path} was cut while it was read")
        return array


def describe(path: Path) -> dict[str, Any] | None:
    """Return shape and dtype as a file's header has them, to show them; None where it is no header of ours."""
    try:
        with path.open("rb") as file:
            said = _SAID.match(file.read(4 * HEADER))  # that of records is longer
        return said and {"shape": [*map(int, said[2].replace(b",", b" ").split())], "dtype": _name(said[1])}
    except (OSError, ValueError, TypeError):
        return None


def _name(descr: bytes) -> str:
    return "record" if descr.startswith(b"[") else str(np.dtype(descr.strip(b"'").decode()))


def read_damaged(path: Path, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """Return what a damaged file still holds where each row should be, and zeros for the rest."""
    array = np.zeros(shape, dtype)
    with suppress(OSError), path.open("rb") as file:
        file.seek(HEADER)
        _read_into(file, array)
    return array


def _read_into(file: BinaryIO, array: NDArray[Any]) -> int:
    return file.readinto(array.reshape(-1).view(np.uint8).data)  # type: ignore[attr-defined, no-any-return]  # typeshed


def _header(shape: Sequence[int], dtype: np.dtype[Any]) -> bytes:
    """Return the header of format version 1.0 (NEP 1): magic, version, length, and a padded Python literal."""
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {tuple(map(int, shape))}, }}"
    length = HEADER - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length - 1).encode("latin-1") + b"\n"
