"""Limit the memory that all threads together take to decode images."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, JpegImagePlugin, TiffImagePlugin

MEMORY_BUDGET = 960 << 20
"""Bytes that all threads together may take to decode: an image that alone would take more is taken for a bomb."""

_BYTES_PER_PIXEL = {"L": 4.0, "P": 7.0, "1": 7.0}
_WEBP_BYTES, _ONE_SCAN_BYTES, _OTHER_BYTES = 16.5, 8.5, 12.5
"""Bytes a pixel that decoding takes at its peak, by mode, or by what else tells: Pillow keeps 1 or 4, as much again
where the image is turned or becomes RGB; WebP's canvas is kept four times, a JPEG of several scans as coefficients
too. Measured with the highest resident size of a process (tests/images/test_memory.py)."""

_TRIM_THRESHOLD = 64 << 20
"""Bytes from which on it is worth some milliseconds to give them back to the system."""

_HEAVY_FILE = 32 << 20
"""Bytes from which on files are read and decoded one at a time, and count for `MEMORY_BUDGET` from the start."""

_libc = ctypes.CDLL(None)

_released = threading.Condition()
_acquired: list[int] = []
"""Bytes of `MEMORY_BUDGET`, by the images that are being decoded: memory is the process's, whoever decodes."""

_heavy_file_lock = threading.Lock()


@contextmanager
def reserve_memory(size: int) -> Iterator[int]:
    """Wait until a file that takes so many bytes may be read; yield how many of them are reserved.

    The decoders are given that number as `reserved`, and acquire only what they need beyond it. Only one file waits
    for more memory while it has some, and those that decode wait for none: all come to an end.
    """
    if size < _HEAVY_FILE:
        yield 0
        return
    size = min(size, MEMORY_BUDGET)
    with _heavy_file_lock, acquire_memory(size):
        yield size


@contextmanager
def acquire_memory(needed: int) -> Iterator[None]:
    """Wait until so many bytes of `MEMORY_BUDGET` are free, and take them."""
    with _released:
        _released.wait_for(lambda: sum(_acquired) + needed <= MEMORY_BUDGET)
        _acquired.append(needed)
    try:
        yield
    finally:
        if needed > _TRIM_THRESHOLD and hasattr(_libc, "malloc_trim"):
            # glibc would keep it for the thread that had it, and give the next thread other memory.
            _libc.malloc_trim(0)
        with _released:
            _acquired.remove(needed)
            _released.notify_all()


def estimate_memory(image: Image.Image, data: bytes, side: int) -> int:
    """Return how many bytes decoding will take at most, from what the header says."""
    if image.format == "WEBP":
        per_pixel = _WEBP_BYTES
    elif isinstance(image, JpegImagePlugin.JpegImageFile) and image.mode == "RGB" and _has_one_scan(image, data):
        per_pixel = _ONE_SCAN_BYTES
    else:
        per_pixel = _BYTES_PER_PIXEL.get(image.mode, _OTHER_BYTES)
    pixels = image.width * image.height
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # a tile is decoded whole, however little of it is shown
        pixels = max(pixels, image.tag_v2.get(322, 0) * image.tag_v2.get(323, 0))
    # Pillow resizes in one direction first, at most all rows of it, and to one size after the other.
    return len(data) + int(per_pixel * pixels) + 4 * side * image.height


def _has_one_scan(image: JpegImagePlugin.JpegImageFile, data: bytes) -> bool:
    """Whether a JPEG's decoder, having read the header up to its first scan, need not keep it as coefficients.

    As libjpeg decides (jdinput.c, initial_setup): all components are in that scan, and it is not progressive.
    """
    end, length = image.fp.tell() if image.fp else 0, 6 + 2 * image.layers  # of the scan's header (ITU-T T.81, B.2.3)
    if end < length:  # Pillow goes back to the start of a file of several pictures
        return False
    whole = data[end - length : end - length + 3] == bytes([0, length, image.layers])
    return whole and "progressive" not in image.info
