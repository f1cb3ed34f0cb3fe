"""Say which pixels images become here: by which rules, and by decoders that give what."""

import hashlib
from functools import cache
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from .decoding import UnreadableImageError, decode_thumbnail, resize

_RULES = "RGB uint8, EXIF orientation, first frame, alpha over white, CMYK to sRGB, other profiles ignored"
"""Who changes what a pixel's value is by these changes them, and so makes a new cache."""

_DECODED_AS = ", decoded as "

_EDGE = (32, 32, 30, 47)
"""An edge from 32 to 224, shrunk to an eighth by an antialiased bicubic with a = -0.5 (Keys 1981): the dark half."""

_SQUARE, _SHAPES = (16, 16), ((48, 24), (32, 32), (32, 48), (28, 42), (24, 96))
"""A size, and larger ones that are resized to it, the tallest last."""

_ORDERS = {"wwwww": "width first", "wwwhh": "height first where tall"}
"""What Pillow 12 does, and 13: there a tenth of Kaggle's photographs come out otherwise, by up to 12 levels."""


@cache
def pixels() -> str:
    """Return what pixels images become here, in parts with commas between: the rules, and a digest of the decoders.

    That is of what `samples.zip` decodes to: files of all six formats, in which another decoder shows.
    """
    digest = hashlib.sha256()
    with ZipFile(Path(__file__).with_name("samples.zip")) as samples:
        for name in samples.namelist():
            image = Image.fromarray(_decode(samples.read(name)))
            for size in (image.size, (8, image.height), (image.width, 8)):  # not in both directions, as in its order
                digest.update(resize(image, size).tobytes())
        noise = Image.fromarray(_decode(samples.read("noise.png")))
    return f"{_RULES}, squashed by {_resizing(noise)}{_DECODED_AS}{digest.hexdigest()[:8]}"


def resizing_rules(identity: str) -> str:
    """Return what an identity says of all but the decoders."""
    return identity.partition(_DECODED_AS)[0]


def codec_versions() -> dict[str, str]:
    """Return the versions of Pillow and of the libraries that it decodes with, by name."""
    names = {"pil": "pillow", **{name: name for name in ("libjpeg_turbo", "libtiff", "littlecms2", "webp", "zlib")}}
    return {name: version for feature, name in names.items() if (version := features.version(feature))}


def _decode(data: bytes) -> NDArray[np.uint8]:
    try:
        return decode_thumbnail(data, 96)
    except UnreadableImageError:  # Pillow may be built without a decoder
        return np.zeros((1, 1, 3), np.uint8)


def _resizing(noise: Image.Image) -> str:
    """Return by which filter Pillow resizes here and in which direction first, as is found out by doing it."""
    edge = resize(Image.fromarray(np.repeat(np.array([[32, 224]], np.uint8), 32, axis=1)), (8, 1))
    bicubic = np.abs(edge[0, :4, 0] - np.array(_EDGE)).max() <= 1
    orders = ""
    for shape in _SHAPES:
        image = noise.crop((0, 0, *shape))
        firsts = {"w": (_SQUARE[0], shape[1]), "h": (shape[0], _SQUARE[1])}
        in_order = {order: resize(Image.fromarray(resize(image, first)), _SQUARE) for order, first in firsts.items()}
        squashed = resize(image, _SQUARE)
        orders += next((order for order, other in in_order.items() if np.array_equal(squashed, other)), "?")
    return f"{'antialiased bicubic' if bicubic else 'another filter'} {_ORDERS.get(orders, f'in the order {orders}')}"
