"""Tell sets that consist of films, whose frames are nearly the same, from sets of photographs."""

import numpy as np
from numpy.typing import NDArray

from .groups import connected_groups

SAMPLE, _FEWEST = 512, 100
"""Number of images that are enough to tell it, and the minimum number."""

_NEAR, _STEP = 0.3, 0.5
"""Distance of images that are nearly the same, and of connected images, as fractions of a large distance."""

_CONNECTED = 0.7
"""Maximum fraction of connected images, if the features tell images apart."""

MANY = 0.2
"""Fraction of images that are nearly the same as images of other groups, above which a set consists of films."""


def nearly_same_elsewhere(features: NDArray[np.float32], groups: NDArray[np.int64] | NDArray[np.void]) -> float:
    """Return the fraction of images that are nearly the same as images of another group, as frames of a film are.

    Images are nearly the same if they are connected by steps of at most 0.3 of a large distance: the 90th percentile of
    all distances. Features that tell few images apart, such as those of random weights, vary in few dimensions, where
    all images have such neighbours. But then there are images between any two, and nearly all are connected by steps of
    at most half of the large distance. Films are not.

    Parameters
    ----------
    features : ndarray of shape (n, width), float32
        A random sample of at most `SAMPLE` images.
    groups : ndarray of shape (n,)
        Their groups' numbers or keys.

    Returns
    -------
    fraction : float
        0 if nearly all images are connected, and for fewer than 100 images, where it cannot be told.
    """
    n = len(features)
    if n < _FEWEST:
        return 0
    sample = features / max(np.abs(features).max(), np.finfo(np.float32).tiny)  # so that no square overflows
    sample -= sample.mean(axis=0)
    squares = np.einsum("ij,ij->i", sample, sample)
    distances = np.sqrt(np.maximum(0, squares[:, np.newaxis] + squares - 2 * sample @ sample.T))
    large = np.quantile(distances, 0.9)
    connected = connected_groups(n, *np.nonzero(distances < _STEP * large))
    if np.bincount(connected).max() > _CONNECTED * n:
        return 0
    same = connected_groups(n, *np.nonzero(distances < _NEAR * large))
    group = np.unique(groups, return_inverse=True)[1]
    groups_of_same = np.bincount(np.unique(np.stack([same, group]), axis=1)[0])
    return float(np.mean(groups_of_same[same] > 1))
