"""An image's bytes come in; ``uint8[size, size, 3]`` goes out, or the reason why not.

RGB, EXIF orientation applied, first frame, squashed (not cropped) to a square by Pillow's bicubic filter with
antialiasing. Grey and palette become RGB, alpha goes over white, 16 bit is scaled to 8, CMYK becomes sRGB (by
the embedded profile where there is one); the profiles of RGB and grey images are ignored.
"""

import ctypes
import io
import logging
import re
import threading
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

import numpy as np
import PIL
from numpy.typing import NDArray

# The decoders are named here so that no thread is the first to load one, and so that Pillow loads no other.
from PIL import (  # noqa: F401
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    _imaging,
)

SIZE = 224
"""Side of the square that ResNet50 was trained on, in pixels."""

PIXELS = (
    "RGB uint8, EXIF orientation, first frame, alpha over white, CMYK to sRGB, other profiles ignored, "
    f"squashed by Pillow {PIL.__version__.partition('.')[0]}'s antialiased bicubic"
)
"""What the cache says of its pixels. Who changes a pixel's value changes this, and so makes a new cache.

Pillow's filter is what a major version makes of it: 13 squashes the height of some tall images first, which 12 did
last, and a tenth of Kaggle's photographs came out other than before, by up to 12 levels."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""The only decoders that are let near a file. JPEG covers MPO, in which cameras put a second picture."""

MEMORY_BUDGET = 960 << 20
"""Bytes that all threads together may take to decode: an image that alone would take more is taken for a bomb."""

_MODES = {"L": 4.0, "P": 7.0, "1": 7.0}
_WEBP, _ONE_SCAN, _OTHERS = 16.5, 8.5, 12.5
"""Bytes a pixel that decoding takes at its peak, by mode, or by what else tells: Pillow keeps 1 or 4, as much again
where the image is turned or becomes RGB; WebP's canvas is kept four times, a JPEG of several scans as coefficients
too. Measured with the highest resident size of a process (tests/images/test_decoding.py)."""

_STRIP = 1 << 20
"""Pixels that are converted at once: a copy of a large image in every mode on its way would be too much."""

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation of the EXIF standard (CIPA DC-008, tag 0x0112)."""

_PILLOW_WARNINGS = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
"""An entry of `warnings.filters`, in the form that `warnings.filterwarnings` gives it."""

_LARGE = 64 << 20
"""Bytes from which on it is worth some milliseconds to give them back to the system."""

_HEAVY = 32 << 20
"""Bytes from which on files are read and decoded one at a time, and count for `MEMORY_BUDGET` from the start."""

_Resized = TypeVar("_Resized")

_c = ctypes.CDLL(None)
_filters = threading.Lock()

_waiting = threading.Condition()
_taken: list[int] = []
"""Of `MEMORY_BUDGET`, by the images that are being decoded: memory is the process's, whoever decodes."""

_heavy = threading.Lock()

# Without a handler, Python would print the few errors that Pillow logs.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# Pillow's libtiff prints what it finds wrong to file descriptor 2 by itself, unless it is told otherwise.
_pillow = ctypes.CDLL(_imaging.__file__)
for _setter in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
    if hasattr(_pillow, _setter):
        getattr(_pillow, _setter)(None)


class UnreadableImageError(Exception):
    """Bytes that are no image that can be decoded; its text is the reason, for a person to read."""


@contextmanager
def reserve_memory(size: int) -> Iterator[int]:
    """Wait until a file that takes so many bytes may be read; tell how many of them `decode_resized` need not count.

    Only one file waits for more room while it has some, and those that decode wait for none: all come to an end.
    """
    if size < _HEAVY:
        yield 0
        return
    size = min(size, MEMORY_BUDGET)
    with _heavy, _room(size):
        yield size


def decode(data: bytes, size: int = SIZE, *, counted: int = 0) -> NDArray[np.uint8]:
    """Decode an image and squash it to a square of `size` pixels, as `decode_resized` does to several."""
    return decode_resized(data, (size,), counted=counted)[size]


def decode_resized(data: bytes, sizes: Collection[int], *, counted: int = 0) -> dict[int, NDArray[np.uint8]]:
    """Decode an image once and squash it to squares.

    Parameters
    ----------
    data : bytes
        The content of a JPEG, PNG, WebP, BMP, GIF or TIFF file, whatever its name was.
    sizes : collection of int
        Sides of the squares in pixels.
    counted : int
        Bytes that `reserve_memory` has counted already.

    Returns
    -------
    squares : dict of int to ndarray of shape (size, size, 3), uint8
        RGB, by size.

    Raises
    ------
    UnreadableImageError
        With the reason.
    MemoryError
        There is less than the bytes that an image may take.
    """
    return _decode(data, lambda image: _resize_all(image, sizes), max(sizes), counted=counted)


def shrink(data: bytes, side: int, *, counted: int = 0) -> NDArray[np.uint8]:
    """Decode an image in its own proportions, for people to look at.

    Parameters
    ----------
    data, counted
        As for `decode_resized`.
    side : int
        Its longer side in pixels; an image that is smaller stays as it is.

    Returns
    -------
    pixels : ndarray of shape (height, width, 3), uint8
        RGB.

    Raises
    ------
    UnreadableImageError, MemoryError
        As for `decode_resized`.
    """
    return _decode(data, lambda image: _shrink(image, side), side, counted=counted)


def _decode(data: bytes, resize: Callable[[Image.Image], _Resized], side: int, *, counted: int) -> _Resized:
    """Decode an image, and return what `resize` makes of it; `side` is the longest that it makes."""
    if not data:
        raise UnreadableImageError("the file is empty")
    _ignore_pillow_warnings()
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            needed = _estimate_memory(image, data, side)
            if needed > MEMORY_BUDGET:
                raise UnreadableImageError(
                    f"{image.width}x{image.height} would take {needed:,} bytes to decode, more than {MEMORY_BUDGET:,}"
                )
            with _room(max(0, needed - counted)), closing(image):  # its memory is free before the room is
                return resize(_rgb(_upright(image)))
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not a JPEG, PNG, WebP, BMP, GIF or TIFF, or damaged") from error
    except (UnreadableImageError, MemoryError):
        raise
    except Exception as error:  # on hostile bytes Pillow's decoders raise nearly anything
        reason = str(error) or type(error).__name__
        raise UnreadableImageError(f"it does not decode: {reason}") from error


def _resize_all(image: Image.Image, sizes: Collection[int]) -> dict[int, NDArray[np.uint8]]:
    """Return the squares; nobody holds the image any more when they are there."""
    return {size: np.asarray(image.resize((size, size), Image.Resampling.BICUBIC).convert("RGB")) for size in sizes}


def _shrink(image: Image.Image, side: int) -> NDArray[np.uint8]:
    scale = min(1, side / max(image.size))
    size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC).convert("RGB"))


def _estimate_memory(image: Image.Image, data: bytes, side: int) -> int:
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


@contextmanager
def _room(needed: int) -> Iterator[None]:
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


def _ignore_pillow_warnings() -> None:
    """Have Pillow's warnings ignored, in all threads.

    They would reach the terminal; or be errors, where a user wants that of warnings, and decide what decodes.
    `warnings.catch_warnings` is not for threads, and undoes this where it ends in another: so look each time.
    """
    with _filters:
        if warnings.filters[:1] != [_PILLOW_WARNINGS]:
            warnings.filterwarnings("ignore", module=r"PIL\.")


def _upright(image: Image.Image) -> Image.Image:
    """Load the pixels and apply the EXIF orientation; an EXIF block too broken to be read has none."""
    image.load()
    # Only now: a TIFF is turned by Pillow itself while it loads, and a PNG's tag may follow its pixels.
    try:
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - the picture is still good; Pillow's EXIF reader raises nearly anything
        turn = None
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    """Return an 8-bit image in mode RGB, or L, which resizes to the same values in a third of the time."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        largest = max(_values(strip).max() for _, strip in _strips(image))
        factor = 1 / 257
        if image.mode == "F":
            factor = 255 if largest <= 1 else 1
        elif largest > 65535:  # "I" is 32-bit integers, and the signed 16-bit ones that Pillow widens
            factor = 1 / 8421504.5
        return _in_strips(image, "L", lambda strip: _scaled(_values(strip), factor))
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if image.has_transparency_data:
        return _in_strips(image, "RGB", _over_white)
    return image.convert("RGB")


def _strips(image: Image.Image) -> Iterator[tuple[tuple[int, int, int, int], Image.Image]]:
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        yield box, image.crop(box)


def _in_strips(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    converted = Image.new(mode, image.size)
    for box, strip in _strips(image):
        converted.paste(convert(strip), box)
    return converted


def _over_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    rgba = image.convert("RGBA")
    white.paste(rgba, mask=rgba)
    return white


def _values(image: Image.Image) -> NDArray[np.float32]:
    """Return the values of a grey image of 16 or 32 bits or of floats, what is transparent white, NaN 0."""
    values = np.array(image, np.float32)
    if image.mode == "F":
        np.nan_to_num(values, copy=False)
    elif image.mode.startswith("I;16") and "transparency" in image.info:
        values[values == image.info["transparency"]] = 65535
    return values


def _scaled(values: NDArray[np.float32], factor: float) -> Image.Image:
    """Return a grey image of values times factor, rounded and cut off at 0 and 255; uses `values` up."""
    np.clip(values, 0, 255 / factor, out=values)
    values *= factor
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8))


def _from_cmyk(image: Image.Image) -> Image.Image:
    if profile := image.info.get("icc_profile"):
        try:
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            # A broken profile is no reason to lose the picture: it is read as if it had none.
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")
