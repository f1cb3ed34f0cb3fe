"""Arrays and paths come in; ``.npy`` files go out that can be written row by row and read without trust."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import DTypeLike, NDArray


class RowFile:
    """A ``.npy`` file whose rows are written in place with ``pwrite``, in any order."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            shape, _, self._dtype = _read_header(file)
            self._offset = file.tell()
        self._row_bytes = self._dtype.itemsize * int(np.prod(shape[1:]))
        self._descriptor = os.open(path, os.O_WRONLY)

    def write(self, row: int, value: object) -> None:
        """Write one row."""
        block = memoryview(np.ascontiguousarray(value, self._dtype).tobytes())
        position = self._offset + row * self._row_bytes
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
    header = {"descr": npy_format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    with path.open("wb") as file:
        npy_format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + dtype.itemsize * int(np.prod(shape)))


def save(path: Path, array: NDArray[np.generic]) -> None:
    """Write a whole array and sync it."""
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """Map a file into memory, its header held against what is expected before any of it is believed.

    Raises
    ------
    ValueError
        Dtype, shape or the file's size are not what they should be; any unicode width is taken for ``str``.
    OSError
        It cannot be opened.
    """
    with path.open("rb") as file:
        found_shape, fortran, found = _read_header(file)
        size = file.tell() + found.itemsize * int(np.prod(found_shape))
        same_kind = found == np.dtype(dtype) or found.kind == np.dtype(dtype).kind == "U"
        if found_shape != tuple(shape) or fortran or not same_kind or path.stat().st_size != size:
            raise ValueError(f"{path} is not an array of shape {tuple(shape)} and dtype {np.dtype(dtype)}")
        return np.memmap(file, found, mode="r", offset=file.tell(), shape=found_shape)


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = npy_format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"a .npy file of version {version}; 1.0 was expected")
    return npy_format.read_array_header_1_0(file)
