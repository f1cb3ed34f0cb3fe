"""Sample images to check an exported network on."""

import io
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Artifacts
from ..errors import CatsDogsError
from ..images.decoding import UnreadableImageError, decode_resized
from ..sample import draw
from ..sources import ImageFile, Source
from ..storage import NOTE_HINT, read_json

COUNT = 16
"""How many are enough to notice a graph that computes something else."""


ResizedImage = dict[int, NDArray[np.uint8]]
"""One decoded picture, of shape (size, size, 3), RGB, by size."""


def check_images(
    artifacts: Artifacts, classes: Sequence[str], sizes: Collection[int]
) -> tuple[list[ResizedImage], str | None]:
    """Return pictures of the test split, else of the training split, evenly spread; drawn ones where both are gone.

    Parameters
    ----------
    artifacts : Artifacts
    classes : pair of str
    sizes : collection of int
        Sides in pixels.

    Returns
    -------
    pictures : list of dict of int to ndarray of shape (size, size, 3), uint8
    source : str or None
        Where they lie; None where they were drawn.
    """
    noted = read_json(artifacts.source, NOTE_HINT)
    for split in ("test", "train"):
        if split in noted and (found := _of_split(noted[split], split, classes, sizes)):
            return found, noted[split]
    return list(_drawn(sizes)), None


def _of_split(path: str, split: str, classes: Sequence[str], sizes: Collection[int]) -> list[ResizedImage]:
    first, second = classes
    try:
        with Source(path, classes=(first, second)) as source:
            files = source.splits[split].files if split in source.splits else ()
            places = np.unique(np.linspace(0, len(files) - 1, COUNT).astype(int)) if files else ()
            return list(_decoded([files[place] for place in places], sizes))
    except CatsDogsError:  # it is gone, or is not what it was
        return []


def _decoded(files: Sequence[ImageFile], sizes: Collection[int]) -> Iterator[ResizedImage]:
    for file in files:
        try:
            yield decode_resized(file.read(), sizes)
        except (OSError, UnreadableImageError):
            continue


def _drawn(sizes: Collection[int]) -> Iterator[ResizedImage]:
    for seed in range(COUNT):
        file = io.BytesIO()
        draw(seed % 2, np.random.default_rng(seed)).save(file, "PNG")
        yield decode_resized(file.getvalue(), sizes)
