"""Convert images of every mode to 8-bit RGB."""

import io
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from .codecs import Image, ImageCms, TiffImagePlugin

_STRIP_PIXELS = 1 << 20
"""Pixels that are converted at a time. A copy of a whole large image in each intermediate mode would take too much
memory."""


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an 8-bit image in mode RGB, or L if it is grey: L resizes to the same values in a third of the time."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        largest = max(_grey_values(strip).max() for _, strip in _split_into_strips(image))
        factor = 1 / 257
        if image.mode == "F":
            factor = 255 if largest <= 1 else 1
        elif largest > 65535:  # "I" is 32-bit integers, or signed 16-bit ones that Pillow has widened
            factor = 1 / 8421504.5
        elif isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(258) == (12,):
            factor = 255 / 4095
        return _convert_in_strips(image, "L", lambda strip: _to_8_bits(_grey_values(strip), factor))
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if image.has_transparency_data:
        return _convert_in_strips(image, "RGB", _over_white)
    return image.convert("RGB")


def _split_into_strips(image: Image.Image) -> Iterator[tuple[tuple[int, int, int, int], Image.Image]]:
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        yield box, image.crop(box)


def _convert_in_strips(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    converted = Image.new(mode, image.size)
    for box, strip in _split_into_strips(image):
        converted.paste(convert(strip), box)
    return converted


def _over_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    # From La, grey that is multiplied by its alpha, Pillow converts to LA only.
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    white.paste(rgba, mask=rgba)
    return white


@np.errstate(all="ignore")  # the user may have told NumPy to raise
def _grey_values(image: Image.Image) -> NDArray[np.float32]:
    """Return the values of a grey image of 16 or 32 bits or of floats; transparent pixels become white, NaN 0."""
    values = np.array(image, np.float32)
    if image.mode == "F":
        np.nan_to_num(values, copy=False)
    elif image.mode.startswith("I;16") and "transparency" in image.info:
        values[values == image.info["transparency"]] = 65535
    return values


@np.errstate(all="ignore")
def _to_8_bits(values: NDArray[np.float32], factor: float) -> Image.Image:
    """Return a grey image of `values` times `factor`, rounded and clipped to 0 to 255; overwrites `values`."""
    np.clip(values, 0, 255 / factor, out=values)
    values *= factor
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8))


def _from_cmyk(image: Image.Image) -> Image.Image:
    if profile := image.info.get("icc_profile"):
        # An image whose profile is broken is converted as if it had no profile.
        with suppress(ImageCms.PyCMSError, OSError, TypeError, ValueError):
            embedded, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            if converted := ImageCms.profileToProfile(image, embedded, srgb, outputMode="RGB"):
                return converted
    return image.convert("RGB")
