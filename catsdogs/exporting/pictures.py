"""Sample images to check an exported network on."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Artifacts
from ..errors import CatsDogsError
from ..images.decoding import resize
from ..inference.loading import sample_images
from ..sample import draw
from ..sources import Source
from ..sources.classes import Classes
from ..storage import NOTE_HINT, read_json

COUNT = 16
"""How many are enough to notice a graph that computes something else."""


def check_images(
    artifacts: Artifacts, classes: Classes, sizes: Sequence[int]
) -> tuple[dict[int, NDArray[np.uint8]], str | None]:
    """Return pictures of the test split, else of the training split, by a fixed seed; drawn ones where both are gone.

    Parameters
    ----------
    artifacts : Artifacts
    classes : pair of str
    sizes : sequence of int
        Sides in pixels.

    Returns
    -------
    pictures : dict of int to ndarray of shape (n, size, size, 3), uint8
        RGB, by size.
    source : str or None
        Where they lie; None where they were drawn.
    """
    noted = read_json(artifacts.source, NOTE_HINT)
    for split in ("test", "train"):
        if split in noted:
            # What is gone, or is not what it was, is passed over.
            with suppress(CatsDogsError), Source(noted[split], classes=classes) as source:
                files = source.splits[split].files if split in source.splits else ()
                pictures = sample_images(files, sizes, count=COUNT)
                if pictures[sizes[0]].size:
                    return pictures, noted[split]
    drawn = [draw(seed % 2, np.random.default_rng(seed)) for seed in range(COUNT)]
    return {size: np.stack([resize(image, (size, size)) for image in drawn]) for size in sizes}, None
