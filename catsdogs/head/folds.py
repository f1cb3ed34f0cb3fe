"""Draw cross-validation folds, a holdout, and a random order of the images.

All depends on what the images are, not on where they stand: whatever order they come in, the same images give the same.
"""

import numpy as np
from numpy.typing import NDArray

from ..cache import group_keys

FOLDS = 5

SEED = 0
"""Of the folds and of the order of the images that `train` draws."""


def draw_folds(keys: NDArray[np.void], labels: NDArray[np.int8], *, seed: int = 0) -> NDArray[np.int8]:
    """Deal the images out to folds of equal size and equal shares of the classes; those of equal keys share one.

    So none is scored by a head that has seen it.

    Parameters
    ----------
    keys : ndarray of shape (n,)
        As `group_keys` returns them.
    labels : ndarray of shape (n,), int8
        0 or 1.
    seed : int

    Returns
    -------
    folds : ndarray of shape (n,), int8
        0 to FOLDS - 1.
    """
    group_of_row, classes = _shuffled_groups(keys, labels, seed)
    groups = np.concatenate(classes)
    folds = np.empty(len(groups), np.int8)
    folds[groups] = np.arange(len(groups)) % FOLDS
    return folds[group_of_row]


def draw_holdout(keys: NDArray[np.void], labels: NDArray[np.int8], share: float, *, seed: int = 0) -> NDArray[np.bool_]:
    """Return which images are held out: a share of each class, at random; those of equal keys together.

    Parameters
    ----------
    keys, labels, seed
        As for `draw_folds`.
    share : float
        From 0 to 1.
    """
    group_of_row, classes = _shuffled_groups(keys, labels, seed)
    return np.isin(group_of_row, np.concatenate([groups[: round(share * len(groups))] for groups in classes]))


def _shuffled_groups(
    keys: NDArray[np.void], labels: NDArray[np.int8], seed: int
) -> tuple[NDArray[np.intp], list[NDArray[np.intp]]]:
    """Return the group of each row, by equal keys, and the groups of either class in a random order."""
    _, first, group_of_row = np.unique(keys, return_index=True, return_inverse=True)
    generator = np.random.default_rng(seed)
    return group_of_row, [generator.permutation(np.flatnonzero(labels[first] == label)) for label in (0, 1)]


def draw_order(digests: NDArray[np.uint8], *, seed: int = 0) -> NDArray[np.intp]:
    """Shuffle the images.

    Parameters
    ----------
    digests : ndarray of shape (n, 16), uint8
    seed : int

    Returns
    -------
    order : ndarray of shape (n,), int
        The row that comes first, the one that comes second, and so on; images of equal bytes follow each other.
    """
    images, image_of_row = np.unique(group_keys(digests), return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(images))
    return np.argsort(place[image_of_row], kind="stable")
