"""Measure an image: its size, brightness, contrast and sharpness."""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # what reads facts must not wait for the decoders
    from PIL import Image

FACTS = np.dtype([(name, "<f8") for name in ("width", "height", "bytes", "brightness", "contrast", "sharpness")])
"""The measured properties of an image; NaN if a value is not known."""

FACTS_COLUMN = "facts"
"""The name of the facts among the names of the views."""

_LONGER_SIDE = 224
"""The sharpness is measured on an image reduced to at most this many pixels a side: the network sees no finer detail,
and it is fast."""

_POWERS = np.vander(np.arange(256), 3, increasing=True)
"""Each level to the powers 0, 1 and 2."""


def measure(image: "Image.Image", size: int) -> np.void:
    """Measure an image before it is resized, in integer arithmetic: the results are the same on every machine.

    Parameters
    ----------
    image : Image
        Upright, in mode RGB or L.
    size : int
        Size of its file in bytes.

    Returns
    -------
    facts : record of `FACTS`
        Width and height in pixels. Bytes of the file. Brightness and contrast: mean and standard deviation of the luma
        (ITU-R BT.601, 0 to 255). Sharpness: variance of the luma's four-neighbour Laplacian, in squared levels
        (Pech-Pacheco et al., ICPR 2000). It is computed on the means of k x k pixels, with the smallest k that leaves
        no side longer than 224 pixels; NaN if a side is then shorter than 3 pixels.
    """
    luma = image if image.mode == "L" else image.convert("L")
    brightness, variance = _mean_and_variance(np.array(luma.histogram(), np.int64) @ _POWERS)
    grey = np.asarray(luma.reduce(math.ceil(max(image.size) / _LONGER_SIDE)), np.int16)
    sharpness = math.nan
    if min(grey.shape) >= 3:
        laplacian = (grey[:-2] + grey[2:] - 4 * grey[1:-1])[:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
        squares = np.square(laplacian, dtype=np.int32).sum(dtype=np.int64)
        _, sharpness = _mean_and_variance(np.array([laplacian.size, laplacian.sum(dtype=np.int64), squares]))
    return np.void((*image.size, size, brightness, math.sqrt(variance), sharpness), FACTS)


def _mean_and_variance(sums: NDArray[np.int64]) -> tuple[float, float]:
    """Return mean and variance from the sums of the powers 0, 1 and 2; Python's integers do not overflow."""
    count, total, squares = sums.tolist()
    return total / count, (count * squares - total**2) / count**2
