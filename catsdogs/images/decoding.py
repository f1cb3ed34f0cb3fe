"""Decode image files into resized RGB arrays.

The first frame of an animation is decoded, and its EXIF orientation applied. It is resized to a square without keeping
the aspect ratio and without cropping, by Pillow's bicubic filter with antialiasing. Grey and palette images become RGB,
transparent ones are composited over white, 16-bit values are scaled to 8 bits, and CMYK becomes sRGB, by the embedded
profile if there is one. The profiles of RGB and grey images are ignored.
"""

import logging
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager

import numpy as np
from numpy.typing import NDArray

from .codecs import Image, ImageChops, ImageOps, JpegImagePlugin, TiffImagePlugin, find_format, open_image
from .colors import to_rgb
from .containers import describe, strip
from .facts import measure
from .jpeg import Scans, find_scans, in_parts, with_ends
from .memory import MEMORY_BUDGET, acquire_memory, estimate_memory
from .views import SIZE

_log = logging.getLogger(__name__)


class UnreadableImageError(Exception):
    """Bytes that cannot be decoded as an image; its text is the reason, for users."""


def decode(data: bytes, size: int = SIZE, *, reserved: int = 0) -> NDArray[np.uint8]:
    """Decode an image and resize it to one square; `decode_resized` resizes it to several."""
    return decode_resized(data, (size,), reserved=reserved)[size]


def decode_resized(data: bytes, sizes: Collection[int], *, reserved: int = 0) -> dict[int, NDArray[np.uint8]]:
    """Decode an image once and resize it to squares.

    Parameters
    ----------
    data : bytes
        The content of a JPEG, PNG, WebP, BMP, GIF or TIFF file; the file's name does not matter.
    sizes : collection of int
        Sides of the squares in pixels.
    reserved : int
        Bytes of memory that `reserve_memory` has already reserved.

    Returns
    -------
    resized : dict of int to ndarray of shape (size, size, 3), uint8
        RGB pixels, by size.

    Raises
    ------
    UnreadableImageError
        The image cannot be decoded, or would take more memory than `memory.MEMORY_BUDGET`.
    MemoryError
        The process cannot allocate the memory.
    """
    with _decoded(data, max(sizes), reserved) as image:
        return _to_squares(image, sizes)


def decode_with_facts(
    data: bytes, sizes: Collection[int], *, reserved: int = 0
) -> tuple[dict[int, NDArray[np.uint8]], np.void]:
    """Return the results of `decode_resized` and of `facts.measure`; raises what `decode_resized` raises."""
    with _decoded(data, max(sizes, default=0), reserved) as image:
        return _to_squares(image, sizes), measure(image, len(data))


def decode_thumbnail(data: bytes, side: int, *, reserved: int = 0) -> NDArray[np.uint8]:
    """Decode an image and reduce it for display, keeping its aspect ratio.

    Parameters
    ----------
    data, reserved
        As for `decode_resized`.
    side : int
        Longer side in pixels; a smaller image keeps its size.

    Returns
    -------
    pixels : ndarray of shape (height, width, 3), uint8
        RGB pixels.

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
    """Decode an image, and yield it upright, in RGB or L; hold the memory for it and for resizing it up to `side`."""
    if not data:
        raise UnreadableImageError("the file is empty")
    if not (form := find_format(data)):
        raise UnreadableImageError("not a JPEG, PNG, WebP, BMP, GIF or TIFF image, or damaged")
    if form == "PNG" and data[12:16] == b"CgBI":
        raise UnreadableImageError("PNG as Xcode rewrites it for iOS apps (CgBI) is not supported")
    try:
        stripped = strip(data, form)
        ends, scans = with_ends(stripped, *find_scans(stripped)) if form == "JPEG" else ((stripped,), ())
        with open_image(ends[0], form) as image:
            needed = len(ends) * estimate_memory(image, len(stripped), side, len(scans))
            needed += len(data) if stripped is not data else 0
            if needed > MEMORY_BUDGET:
                raise UnreadableImageError(
                    f"decoding {image.width}x{image.height} pixels needs {needed:,} bytes of memory, "
                    f"more than the limit of {MEMORY_BUDGET:,}"
                )
            more = max(0, needed - reserved)
            # Both images are closed first: their memory must be free before another thread may take it.
            with acquire_memory(more), closing(image), closing(to_rgb(_load_upright(image, ends, scans))) as upright:
                yield upright
    except (UnreadableImageError, MemoryError):
        raise
    except Exception as error:  # on damaged or malicious bytes, Pillow's decoders raise nearly any exception
        raise UnreadableImageError(f"the file cannot be decoded: {describe(error, data, form)}") from error


def _load_jpeg(image: JpegImagePlugin.JpegImageFile, parts: Iterable[bytes | memoryview]) -> None:
    """Load the pixels of a JPEG from its parts (`jpeg.in_parts`); what is left of one is missing data."""
    image.load_prepare()
    ((name, extents, _, arguments),) = image.tile
    decoder = Image._getdecoder(image.mode, name, arguments, image.decoderconfig)
    decoder.setimage(image.im, extents)
    try:
        for part in parts:
            consumed, error = decoder.decode(part)
            if consumed != len(part):  # negative at the end, and for an error
                break
    finally:
        del decoder  # frees libjpeg's memory, and the pixels, which the traceback of an error would keep
    if consumed >= 0 or error < 0:
        raise OSError("broken data stream when reading image file" if error < 0 else "image file is truncated")
    image.tile = []


def _to_squares(image: Image.Image, sizes: Collection[int]) -> dict[int, NDArray[np.uint8]]:
    return {size: resize(image, (size, size)) for size in sizes}


def resize(image: Image.Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the RGB pixels of an image, resized to a width and a height by an antialiased bicubic filter."""
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC).convert("RGB"))


def _load_upright(image: Image.Image, ends: tuple[bytes, ...], scans: Scans) -> Image.Image:
    """Load the pixels, and apply the EXIF orientation if the EXIF block can be read.

    `ends` are JPEGs that must have the same pixels, or one file; `scans` are those of a JPEG, which must not lack data.
    """
    for name in ("xmp", "XML:com.adobe.xmp"):  # Pillow applies the orientation in XMP too; browsers and OpenCV do not
        image.info.pop(name, None)
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        _load_jpeg(image, in_parts(ends[0], scans))
    else:
        image.load()
    for other in ends[1:]:
        with open_image(other, "JPEG") as same:
            if ImageChops.difference(image, same).getbbox():
                raise UnreadableImageError("the file cannot be decoded: image file is truncated")
    if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema()[1] == 0:
        # Many programs leave the fourth byte zero; Chromium and Firefox, too, then ignore the alpha channel.
        image = image.convert("RGB")
    extent = getattr(image, "dispose_extent", (0, 0, *image.size))
    if image.format == "GIF" and extent != (0, 0, *image.size) and "transparency" not in image.info:
        # What the first frame does not cover has the colour 0 in Pillow, and is transparent in all browsers.
        image = _with_white_around(image, extent)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode == "P" and max(image.tag_v2[320]) < 256:
        # The standard says 16 bits, but some programs write 8; libtiff looks, too (checkcmap in tif_getimage.c).
        image.putpalette(bytes(image.tag_v2[320]), "RGB;L")
    # After loading: Pillow itself rotates a TIFF while it loads, and a PNG's EXIF chunk may follow its pixels.
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - the pixels are valid; Pillow's EXIF reader raises nearly any exception
        _log.debug("ignored an EXIF block that cannot be read: %s", error)
    return image


def _with_white_around(image: Image.Image, extent: tuple[int, int, int, int]) -> Image.Image:
    """Return a grey or palette image that is white but for a rectangle; a grey one is changed in place."""
    left, upper, right, lower = extent
    width, height = image.size
    image = image.convert("RGB") if image.mode == "P" else image
    for box in ((0, 0, width, upper), (0, lower, width, height), (0, 0, left, height), (right, 0, width, height)):
        image.paste("white", box)
    return image
