"""Group images that pairs connect."""

import numpy as np
from numpy.typing import NDArray

_SMALL = 10
"""Groups of at most this many images keep all their pairs."""

Pairs = NDArray[np.int64]
"""Row numbers of two images each, the lower first, of shape (pairs, 2)."""


def group_keys(digests: NDArray[np.uint8], groups: NDArray[np.intp] | None = None) -> NDArray[np.void]:
    """Return a key for each image; images that belong together have the same key.

    Parameters
    ----------
    digests : ndarray of shape (n, 16), uint8
        Images with equal digests belong together.
    groups : ndarray of shape (n,), int, optional
        Images with the same group number belong together too.

    Returns
    -------
    keys : ndarray of shape (n,), void of 16 bytes
        The smallest digest of each image's group.
    """
    keys = np.ascontiguousarray(digests).view("V16").ravel()
    if groups is None:
        return keys
    _, image_of_row = np.unique(keys, return_inverse=True)
    first = np.full(int(groups.max(initial=0)) + 1, len(keys))
    np.minimum.at(first, groups, image_of_row)
    return np.asarray(np.unique(keys)[first[groups]])


def connected_groups(n: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each row's group, of shape (n,), int64; rows that pairs connect share a group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(n, n))
    return np.asarray(connected_components(edges, directed=False)[1], np.int64)


def thin_out(n: int, pairs: Pairs, distances: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which pairs connect the same groups: in groups of more than ten images, the nearest that do so.

    Otherwise the number of pairs would be quadratic. Those pairs are a minimum spanning tree of each group.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    groups = connected_groups(n, *pairs.T)
    kept = np.bincount(groups, minlength=n)[groups[pairs[:, 0]]] <= _SMALL
    large = np.flatnonzero(~kept)
    # Ranks, because a distance of 0 would be no edge, and equal distances would not be in a fixed order.
    rank = np.argsort(np.lexsort((*pairs[large].T[::-1], distances[large]))) + 1
    tree = minimum_spanning_tree(coo_array((rank, pairs[large].T), shape=(n, n)))
    kept[large] = np.isin(rank, tree.data)
    return kept


def cut_chains(
    n: int, pairs: Pairs, distances: NDArray[np.floating], degrees: NDArray[np.int64], largest: int
) -> NDArray[np.bool_]:
    """Return which pairs remain if chains of more than `largest` images are cut.

    In a chain, such as the frames of a film, each image is near the next but not near most others. A group so large
    would leave too few for the other folds, so pairs are added in the order of their distances, and those that would
    connect too many images are not. Copies of one picture, which are all near each other, are never cut.

    Parameters
    ----------
    n : int
        Number of images.
    pairs : ndarray of shape (pairs, 2), int64
        A spanning tree of each large group.
    distances : ndarray of shape (pairs,)
    degrees : ndarray of shape (n,), int64
        Number of near-duplicates of each image.
    largest : int
        Groups of at most ten images are never cut.
    """
    largest = max(_SMALL, largest)
    groups = connected_groups(n, *pairs.T)
    sizes = np.bincount(groups, minlength=n)
    chain = (sizes > largest) & (np.bincount(groups, degrees, minlength=n) < sizes * sizes / 2)
    kept = ~chain[groups[pairs[:, 0]]]
    parent, size = list(range(n)), [1] * n

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for number in np.flatnonzero(~kept)[np.argsort(distances[~kept], kind="stable")].tolist():
        first, second = (root(row) for row in pairs[number].tolist())
        if size[first] + size[second] <= largest:
            parent[second] = first
            size[first] += size[second]
            kept[number] = True
    return np.asarray(kept)
