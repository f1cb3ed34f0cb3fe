"""Load a backbone in int8: calibrate it on some images, and compare its features with float32 on others."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..backbone import FLOAT32, INT8, Backbone, Weights, choose_engine
from ..backbone.quantized import Int8Similarity, Quantized, check_installed, quantize
from ..errors import CatsDogsError
from ..progress import Progress, tell
from ..sources import ImageFile
from .loading import sample_images

CALIBRATION_IMAGES, COMPARISON_IMAGES = 96, 32
"""Number of images for the calibration of a network, and of other images for the comparison with float32."""

MIN_COSINE = 0.99
"""Minimum of the mean cosine similarity between int8 and float32 features."""


def load_int8(
    weights: Weights,
    sizes: Sequence[int],
    files: Sequence[ImageFile],
    *,
    engine: str,
    network: Quantized | None,
    progress: Progress | None = None,
) -> Backbone:
    """Load a backbone in int8, and compare its features with float32.

    Parameters
    ----------
    weights : Weights
    sizes : sequence of int
        Sides of the images in pixels; the network is calibrated at the first size.
    files : sequence of ImageFile
        The images of the run, of which a fixed seed draws a sample.
    engine : str
        A name, or "auto".
    network : Quantized or None
        An existing quantized network; None to quantize the weights.
    progress : callable, optional
        Called with the current step.

    Returns
    -------
    backbone : Backbone
        With `int8_similarity` over all sizes.

    Raises
    ------
    CatsDogsError
        A package for int8 is not installed, no image is readable, or the features differ too much from float32.
    """
    if network is None:
        check_installed()
    exact = Backbone(weights, sizes, engine=choose_engine(engine, INT8).name, precision=FLOAT32, progress=progress)
    tell(progress, "comparing int8 with float32" if network else "quantizing the backbone", 0, 0)
    # The first images of the sample are for calibration, the last for comparison. If there are few, these overlap.
    images = sample_images(files, sizes, count=CALIBRATION_IMAGES + COMPARISON_IMAGES)
    if not len(images[sizes[0]]):
        message = f"none of the images is readable, but {INT8} needs some for calibration"
        raise CatsDogsError(message, "Use readable images")
    expected = {size: exact.features(pixels[-COMPARISON_IMAGES:]) for size, pixels in images.items()}
    network = network or quantize(exact.model, images[sizes[0]][:CALIBRATION_IMAGES])
    del exact  # free memory before the next backbone is loaded
    backbone = Backbone(weights, sizes, precision=INT8, network=network, progress=progress)
    found = [_cosines(backbone.features(images[size][-COMPARISON_IMAGES:]), expected[size]) for size in sizes]
    least, mean = float(np.min(found)), float(np.mean(found))
    if not mean >= MIN_COSINE:
        similarity = f"{mean:.4f} on {len(found[0])} images, but must be at least {MIN_COSINE}"
        message = (
            f"{INT8} is too inexact for {weights.name}: the mean cosine similarity to float32 features is {similarity}"
        )
        raise CatsDogsError(message, "Use --precision bfloat16; the existing cache is not changed")
    backbone.int8_similarity = Int8Similarity(len(found[0]), round(least, 6), round(mean, 6))
    return backbone


def _cosines(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine similarity of corresponding rows."""
    norms = np.linalg.norm(some.astype(np.float64), axis=1) * np.linalg.norm(others.astype(np.float64), axis=1)
    # The features of an image may all be zero: the similarity is then 1 if both rows are zero, and else 0.
    same: NDArray[np.float64] = np.all(some == others, axis=1).astype(np.float64)
    np.divide(np.sum(some.astype(np.float64) * others, axis=1), norms, out=same, where=norms > 0)
    return same
