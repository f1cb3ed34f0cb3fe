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
"""What the project of 2017 called its folders. They keep these names whatever the classes are."""

SHARE = 0.15
"""Of each class that is kept for testing, as in 2017."""

FORMAT = 1
"""To be raised by who changes how the split follows from a seed, or a picture's number from a name."""

_LAST_NUMBER = re.compile(r"(?<![0-9])([0-9]{1,18})[^0-9]*$")
"""Longer ones are codes rather than numbers."""


def arrange(
    ids: Sequence[str], labels: NDArray[np.int8], digests: NDArray[np.uint8], *, classes: Classes, seed: int
) -> tuple[list[str], int]:
    """Draw which pictures are to be tested on, 15 % of each class, and number them.

    A picture's number is the last one in its original's id. What has none, or one that an image of its class before it
    has, is numbered on from the highest of the class, in order.

    Parameters
    ----------
    ids : sequence of str
        In natural order.
    labels : ndarray of shape (n,), int8
        0 or 1.
    digests : ndarray of shape (n, 16), uint8
        Images of equal digests are on one side, so that none is tested on that was trained on.
    classes : pair of str
    seed : int

    Returns
    -------
    names : list of str
        Each picture's path: ``cats-dogs-training/cat/17.png``. No two are the same.
    renumbered : int
        Pictures whose number is not that of their original's name: it has none, or another has the same.
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
