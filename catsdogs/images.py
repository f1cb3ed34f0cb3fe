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
from collections.abc import Iterable

import numpy as np
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
    "squashed by Pillow's antialiased bicubic"
)
"""What the cache says of its pixels. Who changes a pixel's value changes this, and so makes a new cache."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""The only decoders that are let near a file. JPEG covers MPO, in which cameras put a second picture."""

MAX_PIXELS = 2 * 89_478_485
"""Images of more pixels than this (179 million) are taken for decompression bombs, as Pillow does."""

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

_REMARKS_OF_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
"""An entry of `warnings.filters`, in the form that `warnings.filterwarnings` gives it."""

_filters = threading.Lock()

# Without a handler, Python would print the few errors that Pillow logs.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# Pillow's libtiff prints what it finds wrong to file descriptor 2 by itself, unless it is told otherwise.
_pillow = ctypes.CDLL(_imaging.__file__)
for _setter in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
    if hasattr(_pillow, _setter):
        getattr(_pillow, _setter)(None)


class UnreadableImageError(Exception):
    """Bytes that are no image that can be decoded; its text is the reason, for a person to read."""


def decode(data: bytes, size: int = SIZE) -> NDArray[np.uint8]:
    """Decode an image and squash it to a square of `size` pixels, as `decode_squares` does to several."""
    return decode_squares(data, (size,))[size]


def decode_squares(data: bytes, sizes: Iterable[int]) -> dict[int, NDArray[np.uint8]]:
    """Decode an image once and squash it to squares.

    Parameters
    ----------
    data : bytes
        The content of a JPEG, PNG, WebP, BMP, GIF or TIFF file, whatever its name was.
    sizes : iterable of int
        Sides of the squares in pixels.

    Returns
    -------
    squares : dict of int to ndarray of shape (size, size, 3), uint8
        RGB, by size.

    Raises
    ------
    UnreadableImageError
        With the reason.
    """
    if not data:
        raise UnreadableImageError("the file is empty")
    _hush_pillow()
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImageError(f"{image.width}x{image.height} is more than {MAX_PIXELS:,} pixels")
            rgb = _rgb(_upright(image))
            squashed = {size: rgb.resize((size, size), Image.Resampling.BICUBIC) for size in sizes}
            return {size: np.asarray(square.convert("RGB")) for size, square in squashed.items()}
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not a JPEG, PNG, WebP, BMP, GIF or TIFF, or damaged") from error
    except UnreadableImageError:
        raise
    except MemoryError as error:
        raise UnreadableImageError("it takes more memory than there is") from error
    except Exception as error:  # on hostile bytes Pillow's decoders raise nearly anything
        reason = str(error) or type(error).__name__
        raise UnreadableImageError(f"it does not decode: {reason}") from error


def _hush_pillow() -> None:
    """Have Pillow's warnings ignored, in all threads.

    They would reach the terminal; or be errors, where a user wants that of warnings, and decide what decodes.
    `warnings.catch_warnings` is not for threads, and undoes this where it ends in another: so look each time.
    """
    with _filters:
        if warnings.filters[:1] != [_REMARKS_OF_PILLOW]:
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
    if image.mode.startswith("I;16"):
        values = np.array(image, np.float32)
        if "transparency" in image.info:
            values[values == image.info["transparency"]] = 65535
        return _scaled(values, 1 / 257)
    if image.mode == "I":
        # Pillow's name for 32-bit integers, and for the signed 16-bit ones that it widens.
        values = np.array(image, np.float32)
        return _scaled(values, 1 / 257 if values.max() <= 65535 else 1 / 8421504.5)
    if image.mode == "F":
        values = np.nan_to_num(np.array(image, np.float32))
        return _scaled(values, 255 if values.max() <= 1 else 1)
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if image.has_transparency_data:
        white = Image.new("RGB", image.size, "white")
        rgba = image.convert("RGBA")
        white.paste(rgba, mask=rgba)
        return white
    return image.convert("RGB")


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
