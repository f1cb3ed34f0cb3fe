"""Encode RGB arrays as PNG, and check that a PNG file is complete."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .codecs import Image

_COMPRESSION_LEVEL = 1
"""zlib's fastest level. Level 6, Pillow's default, makes photographs of 224x224 4 % smaller in nearly four times the
time (docs/project/benchmarks.md has the figures)."""

_END_CHUNK = b"\0\0\0\0IEND\xaeB`\x82"
"""The chunk that ends every PNG, with its checksum."""


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an RGB image as PNG, which is lossless.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 3), uint8

    Returns
    -------
    content : bytes
        The content of the file.
    """
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=_COMPRESSION_LEVEL)
    return content.getvalue()


def is_valid(path: Path, size: int) -> bool:
    """Whether `path` is a complete PNG file, `size` pixels wide and high, in which each chunk matches its checksum."""
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            sides = image.size
            image.verify()
    except Exception:  # noqa: BLE001 - on damaged bytes Pillow's decoders raise nearly any exception
        return False
    return sides == (size, size) and content.endswith(_END_CHUNK)
