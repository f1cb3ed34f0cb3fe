"""Limit the memory that images take while they are decoded, by all threads together."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, JpegImagePlugin, TiffImagePlugin

MEMORY_BUDGET = 960 << 20
"""Bytes that all threads together may take to decode: an image that alone would take more is taken for a bomb."""

_MODES = {"L": 4.0, "P": 7.0, "1": 7.0}
_WEBP, _ONE_SCAN, _OTHERS = 16.5, 8.5, 12.5
"""Bytes a pixel that decoding takes at its peak, by mode, or by what else tells: Pillow keeps 1 or 4, as much again
where the image is turned or becomes RGB; WebP's canvas is kept four times, a JPEG of several scans as coefficients
too. Measured with the highest resident size of a process (tests/images/test_decoding.py)."""

_LARGE = 64 << 20
"""Bytes from which on it is worth some milliseconds to give them back to the system."""

_HEAVY = 32 << 20
"""Bytes from which on files are read and decoded one at a time, and count for `MEMORY_BUDGET` from the start."""

_c = ctypes.CDLL(None)

_waiting = threading.Condition()
_taken: list[int] = []
"""Of `MEMORY_BUDGET`, by the images that are being decoded: memory is the process's, whoever decodes."""

_heavy = threading.Lock()


@contextmanager
def reserve_memory(size: int) -> Iterator[int]:
    """Wait until a file that takes so many bytes may be read; tell how many of them `decode_resized` need not count.

    Only one file waits for more room while it has some, and those that decode wait for none: all come to an end.
    """
    if size < _HEAVY:
        yield 0
        return
    size = min(size, MEMORY_BUDGET)
    with _heavy, acquire_memory(size):
        yield size


@contextmanager
def acquire_memory(needed: int) -> Iterator[None]:
    """Wait until so many bytes of `MEMORY_BUDGET` are free, and take them."""
    with _waiting:
        _waiting.wait_for(lambda: sum(_taken) + needed <= MEMORY_BUDGET)
        _taken.append(needed)
    try:
        yield
    finally:
        if needed > _LARGE and hasattr(_c, "malloc_trim"):
            _c.malloc_trim(0)  # glibc would keep it for the thread that had it, and give the next thread other memory
        with _waiting:
            _taken.remove(needed)
            _waiting.notify_all()


def estimate_memory(image: Image.Image, data: bytes, side: int) -> int:
    """Return how many bytes decoding will take at most, from what the header says."""
    if image.format == "WEBP":
        each = _WEBP
    elif isinstance(image, JpegImagePlugin.JpegImageFile) and image.mode == "RGB" and _has_one_scan(image, data):
        each = _ONE_SCAN
    else:
        each = _MODES.get(image.mode, _OTHERS)
    # Pillow resizes in one direction first, at most all rows of it, and one square after the other. A tile of a TIFF is
    # decoded whole, however little of it is shown.
    tile = (
        image.tag_v2.get(322, 0) * image.tag_v2.get(323, 0) if isinstance(image, TiffImagePlugin.TiffImageFile) else 0
    )
    return len(data) + int(each * max(image.width * image.height, tile)) + 4 * side * image.height


def _has_one_scan(image: JpegImagePlugin.JpegImageFile, data: bytes) -> bool:
    """Whether a JPEG's decoder, having read the header up to its first scan, need not keep it as coefficients.

    As libjpeg decides (jdinput.c, initial_setup): all components are in that scan, and it is not progressive.
    """
    end, length = image.fp.tell() if image.fp else 0, 6 + 2 * image.layers  # of the scan's header (ITU-T T.81, B.2.3)
    if end < length:  # Pillow goes back to the start of a file of several pictures
        return False
    whole = data[end - length : end - length + 3] == bytes([0, length, image.layers])
    return whole and "progressive" not in image.info
