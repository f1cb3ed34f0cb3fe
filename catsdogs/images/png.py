"""Encode RGB arrays as PNG, and check that a PNG file is complete."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin  # noqa: F401 - the decoder is named so that no thread is the first to load it

_COMPRESSION_LEVEL = 1
"""Of zlib's nine. The sixth, Pillow's default, makes photographs of 224x224 4 % smaller in nearly four times the time
(docs/design.md has the figures)."""


_END_CHUNK = b"\0\0\0\0IEND\xaeB`\x82"
"""The chunk that ends every PNG, with its checksum."""


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Return the PNG of an RGB image: what decodes to the same pixels, to the last bit.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 3), uint8
    """
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=_COMPRESSION_LEVEL)
    return content.getvalue()


def is_valid(path: Path, size: int) -> bool:
    """Whether a complete PNG of this many pixels a side is at `path`, each of its chunks matching its checksum."""
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            sides = image.size
            image.verify()
    except Exception:  # noqa: BLE001 - on damaged bytes Pillow's decoders raise nearly anything
        return False
    return sides == (size, size) and content.endswith(_END_CHUNK)
