"""Load a backbone in int8: calibrate it on some of the images, and compare it with float32 on others."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..backbone import (
    FLOAT32,
    INT8,
    Backbone,
    Int8Similarity,
    Quantized,
    Weights,
    check_installed,
    choose_engine,
    quantize,
)
from ..errors import CatsDogsError
from ..progress import Progress, tell
from ..sources import ImageFile
from .loading import sample_images

CALIBRATION_IMAGES, COMPARISON_IMAGES = 96, 32
"""Images on which a network is quantized, and others on which it is compared."""

MIN_COSINE = 0.99
"""What the mean cosine of the compared features to those in float32 must be."""


def load_int8(
    weights: Weights,
    sizes: Sequence[int],
    files: Sequence[ImageFile],
    *,
    engine: str,
    network: Quantized | None,
    progress: Progress | None = None,
) -> Backbone:
    """Load a backbone that computes in int8, and compare it with float32.

    Parameters
    ----------
    weights : Weights
    sizes : sequence of int
        Sides of the images in pixels; the network is quantized at the first.
    files : sequence of ImageFile
        What it will compute: samples of it are drawn by a fixed seed.
    engine : str
        By name, or "auto".
    network : Quantized or None
        One that was made before.
    progress : callable, optional
        Told what the wait is for.

    Returns
    -------
    backbone : Backbone
        Its `int8_similarity` is over all sizes.

    Raises
    ------
    CatsDogsError
        What int8 needs is not installed, no image is readable, or it is too far from float32.
    """
    if network is None:
        check_installed()
    exact = Backbone(weights, sizes, engine=choose_engine(engine, INT8).name, precision=FLOAT32, progress=progress)
    tell(progress, "comparing" if network else "quantizing the backbone", 0, 0)
    # One draw, of which the first pictures are for the one and the last for the other: where there are few, both.
    pictures = sample_images(files, sizes, count=CALIBRATION_IMAGES + COMPARISON_IMAGES)
    if not len(pictures[sizes[0]]):
        raise CatsDogsError(f"none of the images is readable, and {INT8} is calibrated on them", "Give readable images")
    expected = {size: exact.features(of_size[-COMPARISON_IMAGES:]) for size, of_size in pictures.items()}
    network = network or quantize(exact.model, pictures[sizes[0]][:CALIBRATION_IMAGES])
    del exact  # two at a time take memory
    backbone = Backbone(weights, sizes, precision=INT8, network=network, progress=progress)
    found = [_cosines(backbone.features(pictures[size][-COMPARISON_IMAGES:]), expected[size]) for size in sizes]
    least, mean = float(np.min(found)), float(np.mean(found))
    if not mean >= MIN_COSINE:
        raise CatsDogsError(
            f"{INT8} does not suit {weights.name}: the mean cosine of its features to those in float32 is {mean:.4f} "
            f"on {len(found[0])} of the images, and must be {MIN_COSINE}",
            "Give --precision bfloat16; what is cached stays as it is",
        )
    backbone.int8_similarity = Int8Similarity(len(found[0]), round(least, 6), round(mean, 6))
    return backbone


def _cosines(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of each row with the one in the same place."""
    norms = np.linalg.norm(some.astype(np.float64), axis=1) * np.linalg.norm(others.astype(np.float64), axis=1)
    # A picture can give nothing but zeros: then it is as near as can be if both are.
    same: NDArray[np.float64] = np.all(some == others, axis=1).astype(np.float64)
    np.divide(np.sum(some.astype(np.float64) * others, axis=1), norms, out=same, where=norms > 0)
    return same
