"""Say which images belong together."""

import numpy as np
from numpy.typing import NDArray


def group_keys(digests: NDArray[np.uint8], groups: NDArray[np.intp] | None = None) -> NDArray[np.void]:
    """Return a key for each image, which is the same for images that belong together.

    Parameters
    ----------
    digests : ndarray of shape (n, 16), uint8
        Images of equal digests belong together.
    groups : ndarray of shape (n,), int, optional
        So do images with the same number.

    Returns
    -------
    ndarray of shape (n,), void of 16 bytes
        The first digest of the group.
    """
    keys = np.ascontiguousarray(digests).view("V16").ravel()
    if groups is None:
        return keys
    _, image_of_row = np.unique(keys, return_inverse=True)
    first = np.full(int(groups.max(initial=0)) + 1, len(keys))
    np.minimum.at(first, groups, image_of_row)
    return np.asarray(np.unique(keys)[first[groups]])


def connected_groups(n: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each row's group, of shape (n,), int64: rows that pairs connect share one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(n, n))
    return np.asarray(connected_components(edges, directed=False)[1], np.int64)
