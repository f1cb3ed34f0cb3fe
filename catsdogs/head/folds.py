"""Define the training set, and draw cross-validation folds, a holdout, and a random order of the images.

All results depend only on the images, not on their order.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..cache import group_keys

FOLDS = 5

SEED = 0
"""Seed of the folds and of the random order of the images in `train`."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The labelled images that heads are trained and scored on.

    Parameters
    ----------
    features : ndarray of shape (n, views * 2048), float32
    labels : ndarray of shape (n,), int8
        0 or 1.
    folds : ndarray of shape (n,), int8
        A row is scored by the head that is trained on the rows of other folds.
    order : ndarray of shape (n,), int
        The rows in a random order that depends on the images alone; landmarks are the first rows in it.
    train_mask : ndarray of shape (n,), bool
        Whether heads are trained on a row; all rows are scored.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    folds: NDArray[np.int8]
    order: NDArray[np.intp]
    train_mask: NDArray[np.bool_]

    def subset(self, kept: NDArray[np.bool_]) -> "TrainingSet":
        """Return the training set of some of the rows."""
        order = (np.cumsum(kept) - 1)[self.order[kept[self.order]]]
        return TrainingSet(self.features[kept], self.labels[kept], self.folds[kept], order, self.train_mask[kept])


def draw_folds(keys: NDArray[np.void], labels: NDArray[np.int8], *, seed: int = 0) -> NDArray[np.int8]:
    """Draw stratified folds of equal size; images with equal keys are in the same fold.

    So no image is scored by a head that was trained on the same image or a near-duplicate of it.

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


def draw_holdout(
    keys: NDArray[np.void], labels: NDArray[np.int8], fraction: float, *, seed: int = 0
) -> NDArray[np.bool_]:
    """Draw a stratified holdout; images with equal keys are either all held out or all kept.

    Parameters
    ----------
    keys, labels, seed
        As for `draw_folds`.
    fraction : float
        Fraction of each class to hold out, from 0 to 1.

    Returns
    -------
    held : ndarray of shape (n,), bool
        Whether an image is held out.
    """
    group_of_row, classes = _shuffled_groups(keys, labels, seed)
    return np.isin(group_of_row, np.concatenate([groups[: round(fraction * len(groups))] for groups in classes]))


def count_groups(keys: NDArray[np.void], labels: NDArray[np.int8]) -> tuple[int, int]:
    """Return how many groups of each class the folds are drawn from; with fewer than FOLDS, some fold has none."""
    first, second = _shuffled_groups(keys, labels, 0)[1]
    return len(first), len(second)


def _shuffled_groups(
    keys: NDArray[np.void], labels: NDArray[np.int8], seed: int
) -> tuple[NDArray[np.intp], list[NDArray[np.intp]]]:
    """Return the group of each row (rows with equal keys), and the groups of each class in a random order."""
    _, first, group_of_row = np.unique(keys, return_index=True, return_inverse=True)
    generator = np.random.default_rng(seed)
    return group_of_row, [generator.permutation(np.flatnonzero(labels[first] == label)) for label in (0, 1)]


def draw_order(digests: NDArray[np.uint8], *, seed: int = 0) -> NDArray[np.intp]:
    """Draw a random order of the images.

    Parameters
    ----------
    digests : ndarray of shape (n, 16), uint8
    seed : int

    Returns
    -------
    order : ndarray of shape (n,), int
        Row indices in the random order; identical images are next to each other.
    """
    images, image_of_row = np.unique(group_keys(digests), return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(images))
    return np.argsort(place[image_of_row], kind="stable")
