"""Assign images to the folders of the project of 2017."""

import itertools
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..cache import group_keys
from ..head.folds import draw_holdout
from ..sources.classes import Classes

TRAINING, TESTING = "cats-dogs-training", "cats-dogs-testing"
"""Folders of the project of 2017; their names do not depend on the classes."""

SHARE = 0.15
"""Fraction of each class in the test folder, as in 2017."""

FORMAT = 1
"""Version of the layout. Increment it if the split of a seed or the number of an image changes."""

_LAST_NUMBER = re.compile(r"(?<![0-9])([0-9]{1,18})[^0-9]*$")
"""The last number of a name. Longer ones are codes rather than numbers."""


def arrange(
    ids: Sequence[str], labels: NDArray[np.int8], digests: NDArray[np.uint8], *, classes: Classes, seed: int
) -> tuple[list[str], int]:
    """Draw the test images, 15 % of each class, and number all images.

    The number of an image is the last number in its id. Images without a number, or with that of an earlier image of
    their class, are numbered from the highest number of the class on.

    Parameters
    ----------
    ids : sequence of str
        In natural order.
    labels : ndarray of shape (n,), int8
        0 or 1.
    digests : ndarray of shape (n, 16), uint8
        Images with equal digests are on the same side of the split, so that no test image is also a training image.
    classes : pair of str
    seed : int

    Returns
    -------
    names : list of str
        The path of each image, such as ``cats-dogs-training/cat/17.png``; all paths are different.
    renumbered : int
        Number of images with a number that is not from their id.
    """
    held = draw_holdout(group_keys(digests), labels, SHARE, seed=seed)
    numbers: dict[int, int] = {}
    renumbered = 0
    for label in (0, 1):
        members = np.flatnonzero(labels == label).tolist()
        first_of: dict[int, int] = {}
        for row in members:
            if found := _LAST_NUMBER.search(ids[row]):
                first_of.setdefault(int(found[1]), row)
        own = {row: number for number, row in first_of.items()}
        free = itertools.count(1 + max(first_of, default=0))
        numbers |= {row: own[row] if row in own else next(free) for row in members}
        renumbered += len(members) - len(own)
    names = [
        f"{TESTING if tested else TRAINING}/{classes[label]}/{numbers[row]}.png"
        for row, (tested, label) in enumerate(zip(held.tolist(), labels.tolist(), strict=True))
    ]
    return names, renumbered
