"""Digests and labels of images come in; the number of each image's fold goes out."""

import numpy as np
from numpy.typing import NDArray

FOLDS = 5


def draw_folds(digests: NDArray[np.uint8], labels: NDArray[np.int8], *, seed: int = 0) -> NDArray[np.int8]:
    """Deal the images out to folds of equal size and equal shares of the classes.

    The folds depend on what the images are, not on where they stand: whatever order they come in, the same image
    gets the same fold. Images of equal bytes share one, so that none is scored by a head that has seen it.

    Parameters
    ----------
    digests : ndarray of shape (n, 16), uint8
    labels : ndarray of shape (n,), int8
        0 or 1.
    seed : int

    Returns
    -------
    folds : ndarray of shape (n,), int8
        0 to FOLDS - 1.
    """
    keys = np.ascontiguousarray(digests).view("V16").ravel()
    images, first, image_of_row = np.unique(keys, return_index=True, return_inverse=True)
    folds = np.empty(len(images), np.int8)
    generator = np.random.default_rng(seed)
    dealt = 0
    for label in (0, 1):
        members = generator.permutation(np.flatnonzero(labels[first] == label))
        folds[members] = (dealt + np.arange(len(members))) % FOLDS
        dealt += len(members)
    return folds[image_of_row]
