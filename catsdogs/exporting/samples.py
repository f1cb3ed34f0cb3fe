"""Sample images for the check of an exported network."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Artifacts
from ..errors import CatsDogsError
from ..images.decoding import resize
from ..inference.loading import sample_images
from ..sample import draw
from ..sources import Classes, Source
from ..storage import NOTE_HINT, read_json

COUNT = 16
"""Number of images: enough to detect a graph that computes something else."""


def check_images(
    artifacts: Artifacts, classes: Classes, sizes: Sequence[int]
) -> tuple[dict[int, NDArray[np.uint8]], str | None]:
    """Sample images of the test split, else of the training split, by a fixed seed; draw synthetic ones if both fail.

    Parameters
    ----------
    artifacts : Artifacts
    classes : pair of str
    sizes : sequence of int
        Sides in pixels.

    Returns
    -------
    images : dict of int to ndarray of shape (n, size, size, 3), uint8
        RGB images by size.
    source : str or None
        Path of the folder or zip; None for synthetic images.
    """
    noted = read_json(artifacts.source, NOTE_HINT)
    for split in ("test", "train"):
        if split in noted:
            # Missing and unreadable images are skipped.
            with suppress(CatsDogsError), Source(noted[split], classes=classes) as source:
                files = source.splits[split].files if split in source.splits else ()
                images = sample_images(files, sizes, count=COUNT)
                if images[sizes[0]].size:
                    return images, noted[split]
    drawn = [draw(seed % 2, np.random.default_rng(seed)) for seed in range(COUNT)]
    return {size: np.stack([resize(image, (size, size)) for image in drawn]) for size in sizes}, None
