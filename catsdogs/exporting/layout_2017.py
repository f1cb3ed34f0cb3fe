"""Assign images to the folders of the project of 2017."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Arrangement:
    """Where pictures belong.

    Parameters
    ----------
    names : tuple of str
        Each picture's path: ``cats-dogs-training/cat/17.png``. No two are the same.
    renumbered : int
        Pictures whose number is not that of their original's name: it has none, or another has the same.
    """

    names: tuple[str, ...]
    renumbered: int


def arrange(
    ids: Sequence[str], labels: NDArray[np.int8], digests: NDArray[np.uint8], *, classes: Classes, seed: int
) -> Arrangement:
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
    """
    held = draw_holdout(group_keys(digests), labels, SHARE, seed=seed)
    numbers: list[str] = [""] * len(ids)
    renumbered = 0
    for label in (0, 1):
        members = np.flatnonzero(labels == label).tolist()
        own = dict(zip(members, _own_numbers([ids[row] for row in members]), strict=True))
        free = itertools.count(1 + max((number for number in own.values() if number is not None), default=0))
        for row, number in own.items():
            numbers[row] = str(next(free) if number is None else number)
            renumbered += number is None
    names = (
        f"{TESTING if tested else TRAINING}/{classes[label]}/{number}.png"
        for tested, label, number in zip(held.tolist(), labels.tolist(), numbers, strict=True)
    )
    return Arrangement(tuple(names), renumbered)


def _own_numbers(ids: Sequence[str]) -> Iterator[int | None]:
    """Yield the number that each id ends with, or None where it has none or one before has the same."""
    taken: set[int] = set()
    for name in ids:
        found = _LAST_NUMBER.search(name)
        number = int(found[1]) if found else None
        yield None if number in taken else number
        if number is not None:
            taken.add(number)
