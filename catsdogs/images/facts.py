"""Measure an image: its size, brightness, contrast and sharpness."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FACTS = np.dtype([(name, "<f8") for name in ("width", "height", "bytes", "brightness", "contrast", "sharpness")])
"""What is known of an image besides its features; NaN where it is not."""

FACTS_COLUMN = "facts"
"""What they are called where the views of an image have their names."""

_LONGER_SIDE = 224
"""Pixels at most of what the sharpness is measured on: what ResNet50 was trained on sees no finer, and it is cheap."""

_POWERS = np.vander(np.arange(256), 3, increasing=True)


def measure(image: Image.Image, size: int) -> np.void:
    """Measure an image as it is before it is resized to squares: in whole numbers, the same on every machine.

    Parameters
    ----------
    image : Image
        Upright, in mode RGB or L.
    size : int
        Bytes of its file.

    Returns
    -------
    facts : record of `FACTS`
        Width and height in pixels. Bytes of the file. Brightness and contrast: mean and standard deviation of the luma
        (ITU-R BT.601, 0 to 255). Sharpness: variance of the luma's Laplacian of four neighbours, in squared levels
        (Pech-Pacheco et al., ICPR 2000), of the means of k x k pixels, k the smallest that leaves no side longer than
        224; NaN where that leaves fewer than 3 pixels in a side.
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
    """Return both from the sums of the values' powers 0, 1 and 2, in Python's integers, which do not overflow."""
    count, total, squares = sums.tolist()
    return total / count, (count * squares - total**2) / count**2
