"""An image's bytes come in; ``uint8[size, size, 3]`` goes out, or the reason why not.

RGB, EXIF orientation applied, first frame, squashed (not cropped) to a square by Pillow's bicubic filter with
antialiasing. Grey and palette become RGB, alpha goes over white, 16 bit is scaled to 8, CMYK becomes sRGB (by the
embedded profile where there is one); the profiles of RGB and grey images are ignored.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

SIZE = 224
"""Side of the square that ResNet50 was trained on, in pixels."""

PIXELS = (
    "RGB uint8, EXIF orientation, first frame, alpha over white, CMYK to sRGB, other profiles ignored, "
    "squashed by Pillow's antialiased bicubic"
)
"""What a row of the cache says of its pixels. Whoever changes a pixel's value changes this: it makes a new cache."""

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""The only decoders that are let near a file; MPO is what cameras call a JPEG with a second picture behind it."""

MAX_PIXELS = 2 * 89_478_485
"""Images of more pixels than this (179 million) are taken for decompression bombs: twice Pillow's own mark."""

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


class UnreadableImageError(Exception):
    """Bytes that are no image that can be decoded; its text is the reason, for a person to read."""


def decode(data: bytes, size: int = SIZE) -> NDArray[np.uint8]:
    """Decode an image and squash it to a square.

    Parameters
    ----------
    data : bytes
        The content of a JPEG, PNG, WebP, BMP, GIF or TIFF file, whatever its name was.
    size : int
        Side of the square in pixels.

    Returns
    -------
    pixels : ndarray of shape (size, size, 3), uint8
        RGB.

    Raises
    ------
    UnreadableImageError
        With the reason.
    """
    if not data:
        raise UnreadableImageError("the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImageError(f"{image.width}x{image.height} is more than {MAX_PIXELS:,} pixels")
            squashed = _rgb(_upright(image)).resize((size, size), Image.Resampling.BICUBIC)
            return np.asarray(squashed.convert("RGB"))
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not a JPEG, PNG, WebP, BMP, GIF or TIFF image") from error
    except (UnreadableImageError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - on hostile bytes Pillow's decoders raise nearly anything
        reason = str(error) or type(error).__name__
        raise UnreadableImageError(f"it does not decode: {reason}") from error


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; an EXIF block too broken to be read has none."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - the picture is still good; Pillow's EXIF reader raises nearly anything
        orientation = 1
    image.load()
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _rgb(image: Image.Image) -> Image.Image:
    """Return an 8-bit image in mode RGB, or L, which resizes to the same values in a third of the time."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return _scaled(np.asarray(image).astype(np.float64) / 257)
    if image.mode == "I":
        values = np.asarray(image).astype(np.float64)
        # Pillow's name for 32-bit integers, and for 16-bit files of formats that it widens.
        return _scaled(values / 257 if values.max(initial=0) <= 65535 else values / 8421504.5)
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        return _scaled(values * 255 if values.max(initial=0) <= 1 else values)
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if image.mode == "LAB":
        return _through_profile(image, ImageCms.createProfile("LAB"))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _scaled(values: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _from_cmyk(image: Image.Image) -> Image.Image:
    if profile := image.info.get("icc_profile"):
        try:
            return _through_profile(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError):
            # A broken profile is no reason to lose the picture: it is read as if it had none.
            return image.convert("RGB")
    return image.convert("RGB")


def _through_profile(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    if converted is None:
        raise ImageCms.PyCMSError("no conversion to sRGB")
    return converted
