"""Limit the memory that all threads together use to decode images."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .codecs import Image, JpegImagePlugin, TiffImagePlugin

MEMORY_BUDGET = 960 << 20
"""Bytes that all threads together may use to decode. An image that needs more is unreadable: it may be a decompression
bomb."""

_BYTES_PER_PIXEL = {"L": 4.0, "P": 7.0, "1": 7.0}
_WEBP_BYTES, _ONE_SCAN_BYTES, _OTHER_BYTES = 16.5, 8.5, 12.5
"""Peak memory of decoding in bytes a pixel, by mode, format or number of scans. Pillow keeps 1 or 4, and as much again
if the image is rotated or converted to RGB; it keeps the canvas of a WebP four times, and the coefficients of a JPEG of
several scans. Measured as the peak resident size of a process (tests/images/test_memory.py)."""

_TRIM_THRESHOLD = 64 << 20
"""Memory of at least this many bytes is returned to the system after use, which takes some milliseconds."""

_HEAVY_FILE = 32 << 20
"""Files of at least this many bytes are read and decoded one at a time, and count towards `MEMORY_BUDGET` while they
are read."""

_libc = ctypes.CDLL(None)

_released = threading.Condition()
_acquired: list[int] = []
"""Bytes of `MEMORY_BUDGET` that each image being decoded holds. The limit is one for the whole process."""

_heavy_file_lock = threading.Lock()


@contextmanager
def reserve_memory(size: int) -> Iterator[int]:
    """Wait until a file of `size` bytes may be read; yield the number of reserved bytes, 0 for a small file.

    The decoders get that number as `reserved`, and acquire only what they need beyond it. There is no deadlock: only
    one file at a time waits for more memory while it holds some.
    """
    if size < _HEAVY_FILE:
        yield 0
        return
    size = min(size, MEMORY_BUDGET)
    with _heavy_file_lock, acquire_memory(size):
        yield size


@contextmanager
def acquire_memory(needed: int) -> Iterator[None]:
    """Wait until `needed` bytes of `MEMORY_BUDGET` are free, and hold them."""
    with _released:
        _released.wait_for(lambda: sum(_acquired) + needed <= MEMORY_BUDGET)
        _acquired.append(needed)
    try:
        yield
    finally:
        if needed > _TRIM_THRESHOLD and hasattr(_libc, "malloc_trim"):
            # glibc keeps freed memory for the thread that used it, and allocates more for the next thread.
            _libc.malloc_trim(0)
        with _released:
            _acquired.remove(needed)
            _released.notify_all()


def estimate_memory(image: Image.Image, size: int, side: int, scans: int) -> int:
    """Return how many bytes of memory decoding takes at most, estimated from the image's header.

    `size` is that of the file in bytes, and `scans` the number of scans of a JPEG that has all components in them. If
    it is one, and not progressive, libjpeg does not keep the coefficients of the whole image (jdinput.c).
    """
    if image.format == "WEBP":
        per_pixel = _WEBP_BYTES
    elif scans == 1 and image.mode == "RGB" and "progressive" not in image.info:
        per_pixel = _ONE_SCAN_BYTES
    else:
        per_pixel = _BYTES_PER_PIXEL.get(image.mode, _OTHER_BYTES)
    pixels = image.width * image.height
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # a tile is decoded completely, even if it exceeds the image
        pixels = max(pixels, image.tag_v2.get(322, 0) * image.tag_v2.get(323, 0))
    if isinstance(image, JpegImagePlugin.JpegImageFile):  # its parts are copied, of which one may be nearly all of it
        size *= 2
    # Pillow resizes in one direction first, which keeps up to all rows; it resizes to one size after the other.
    return size + int(per_pixel * pixels) + 4 * side * image.height
