"""Decode image files into resized RGB arrays.

First frame, EXIF orientation applied, resized to a square without keeping the aspect ratio and without cropping, by
Pillow's bicubic filter with antialiasing.
Grey and palette become RGB, alpha goes over white, 16 bit is scaled to 8, CMYK becomes sRGB (by the embedded profile
where there is one); the profiles of RGB and grey images are ignored.
"""

import io
import logging
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from .codecs import FORMATS, ignore_pillow_warnings
from .colors import to_rgb
from .facts import measure
from .memory import MEMORY_BUDGET, acquire_memory, estimate_memory

_log = logging.getLogger(__name__)

SIZE = 224
"""Side of the square that ResNet50 was trained on, in pixels."""


class UnreadableImageError(Exception):
    """Bytes that are no image that can be decoded; its text is the reason, for a person to read."""


def decode(data: bytes, size: int = SIZE, *, reserved: int = 0) -> NDArray[np.uint8]:
    """Decode an image and resize it to a square of `size` pixels, as `decode_resized` does to several."""
    return decode_resized(data, (size,), reserved=reserved)[size]


def decode_resized(data: bytes, sizes: Collection[int], *, reserved: int = 0) -> dict[int, NDArray[np.uint8]]:
    """Decode an image once and resize it to squares.

    Parameters
    ----------
    data : bytes
        The content of a JPEG, PNG, WebP, BMP, GIF or TIFF file, whatever its name was.
    sizes : collection of int
        Sides of the squares in pixels.
    reserved : int
        Bytes that `reserve_memory` has reserved already.

    Returns
    -------
    resized : dict of int to ndarray of shape (size, size, 3), uint8
        RGB, by size.

    Raises
    ------
    UnreadableImageError
        With the reason.
    MemoryError
        There is less than the bytes that an image may take.
    """
    with _decoded(data, max(sizes), reserved) as image:
        return _to_squares(image, sizes)


def decode_with_facts(
    data: bytes, sizes: Collection[int], *, reserved: int = 0
) -> tuple[dict[int, NDArray[np.uint8]], np.void]:
    """Return what `decode_resized` does, and what `facts.measure` finds; it raises as that does."""
    with _decoded(data, max(sizes, default=0), reserved) as image:
        return _to_squares(image, sizes), measure(image, len(data))


def decode_thumbnail(data: bytes, side: int, *, reserved: int = 0) -> NDArray[np.uint8]:
    """Decode an image in its own proportions, for people to look at.

    Parameters
    ----------
    data, reserved
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
    with _decoded(data, side, reserved) as image:
        scale = min(1, side / max(image.size))
        return resize(image, (max(1, round(scale * image.width)), max(1, round(scale * image.height))))


@contextmanager
def _decoded(data: bytes, side: int, reserved: int) -> Iterator[Image.Image]:
    """Decode an image, and yield it upright and in RGB while memory is held for it and for resizing it up to `side`."""
    if not data:
        raise UnreadableImageError("the file is empty")
    ignore_pillow_warnings()
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            needed = estimate_memory(image, data, side)
            if needed > MEMORY_BUDGET:
                raise UnreadableImageError(
                    f"{image.width}x{image.height} would take {needed:,} bytes to decode, more than {MEMORY_BUDGET:,}"
                )
            more = max(0, needed - reserved)
            # Both are closed first, so that their memory is free before others may take it.
            with acquire_memory(more), closing(image), closing(to_rgb(_load_upright(image))) as upright:
                yield upright
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not a JPEG, PNG, WebP, BMP, GIF or TIFF, or damaged") from error
    except (UnreadableImageError, MemoryError):
        raise
    except Exception as error:  # on hostile bytes Pillow's decoders raise nearly anything
        reason = str(error) or type(error).__name__
        raise UnreadableImageError(f"it does not decode: {reason}") from error


def _to_squares(image: Image.Image, sizes: Collection[int]) -> dict[int, NDArray[np.uint8]]:
    return {size: resize(image, (size, size)) for size in sizes}


def resize(image: Image.Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the RGB pixels of an image, squashed or stretched to a width and a height by antialiased bicubic."""
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC).convert("RGB"))


def _load_upright(image: Image.Image) -> Image.Image:
    """Load the pixels and apply the EXIF orientation; an EXIF block too broken to be read has none."""
    image.load()
    # Only now: a TIFF is turned by Pillow itself while it loads, and a PNG's tag may follow its pixels.
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - the picture is still good; Pillow's EXIF reader raises nearly anything
        _log.debug("an EXIF block that cannot be read: %s", error)
    return image
