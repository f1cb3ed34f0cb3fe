"""Describe how image files become pixels on this machine: the rules, and a digest of what the decoders return."""

import hashlib
from functools import cache
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from .codecs import Image, features
from .decoding import UnreadableImageError, decode_thumbnail, resize

_RULES = "RGB uint8, EXIF orientation, first frame, alpha over white, CMYK to sRGB, other profiles ignored"
"""How files become pixels. Change this text if a change of the code changes the value of a pixel, and only then:
caches store it, and a cache with another text is stale."""

_DECODED_AS = ", decoded as "

_EDGE = (32, 32, 30, 47)
"""The dark half of an edge from 32 to 224, reduced to an eighth by antialiased bicubic, a = -0.5 (Keys 1981)."""

_SQUARE, _SHAPES = (16, 16), ((48, 24), (32, 32), (32, 48), (28, 42), (24, 96))
"""A size, and larger sizes that are resized to it, the tallest last."""

_ORDERS = {"wwwww": "width first", "wwwhh": "height first where tall"}
"""The direction that is resized first, for each of `_SHAPES`: in Pillow 12, and in Pillow 13. Pillow 13 gives other
values for a tenth of Kaggle's photographs, by up to 12 levels."""


@cache
def pixels() -> str:
    """Return how image files become pixels on this machine, in comma-separated parts: the rules, then a digest.

    The digest is of the pixels that the files in `samples.zip` decode to, and of one of them resized. They are of all
    six formats, and another decoder gives other pixels for them.
    """
    digest = hashlib.sha256()
    with ZipFile(Path(__file__).with_name("samples.zip")) as samples:
        decoded = {name: _decode(samples.read(name)) for name in samples.namelist()}
    noise = Image.fromarray(decoded["noise.png"])
    # One direction each: no order in the digest.
    one_way = [resize(noise, size) for size in ((8, noise.height), (noise.width, 8))]
    for array in (*decoded.values(), *one_way):
        digest.update(array.tobytes())
    return f"{_RULES}, resized by {_resizing(noise)}{_DECODED_AS}{digest.hexdigest()[:8]}"


def resizing_rules(identity: str) -> str:
    """Return the rules of an identity that `pixels` returned, without the digest of the decoders."""
    return identity.partition(_DECODED_AS)[0]


def codec_versions() -> dict[str, str]:
    """Return the versions of Pillow and of its decoding libraries, by name."""
    names = {"pil": "pillow", **{name: name for name in ("libjpeg_turbo", "libtiff", "littlecms2", "webp", "zlib")}}
    return {name: version for feature, name in names.items() if (version := features.version(feature))}


def _decode(data: bytes) -> NDArray[np.uint8]:
    try:
        return decode_thumbnail(data, 96)
    except UnreadableImageError:  # Pillow may be built without a decoder
        return np.zeros((1, 1, 3), np.uint8)


def _resizing(noise: Image.Image) -> str:
    """Return the filter that Pillow resizes with, and the direction it resizes first, found by resizing `noise`."""
    edge = resize(Image.fromarray(np.repeat(np.array([[32, 224]], np.uint8), 32, axis=1)), (8, 1))
    bicubic = np.abs(edge[0, :4, 0] - np.array(_EDGE)).max() <= 1
    orders = ""
    for shape in _SHAPES:
        image = noise.crop((0, 0, *shape))
        firsts = {"w": (_SQUARE[0], shape[1]), "h": (shape[0], _SQUARE[1])}
        in_order = {order: resize(Image.fromarray(resize(image, first)), _SQUARE) for order, first in firsts.items()}
        resized = resize(image, _SQUARE)
        orders += next((order for order, other in in_order.items() if np.array_equal(resized, other)), "?")
    return f"{'antialiased bicubic' if bicubic else 'another filter'} {_ORDERS.get(orders, f'in the order {orders}')}"
