"""Find images of equal bytes, and near duplicates by their features."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress

COMPONENTS = 128
"""Principal components that images are compared in."""

RATIO = 0.15
"""How near two images must be, as a share of how near the tenth nearest image is to each of them.

In Kaggle's 25,000 there is a gap here: 29 pairs up to 0.11, the next at 0.16. docs/design.md has more."""

_NEIGHBOUR = 10
"""The neighbour that says how near is usual: so many copies of one image are told from a crowd."""

_DIMENSIONS = 16
"""In fewer, images are as near as that by chance: 10 * RATIO ** (dimensions / 2) is how many to expect of each."""

_SAMPLE = 2048
"""Images that the principal components are taken from."""

_BLOCK = 128
"""Images that are compared with all others at a time: 20 MB for 37,500."""

_NOISE, _NEAREST = 1e-10, 1e-6
"""The least variance, as a share of the greatest, and the least distance that rounding errors leave any meaning."""


class Matrix(Protocol):
    """What gives copies of the rows that it is asked for, such as an ndarray."""

    shape: tuple[int, ...]

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.float32]: ...


Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""The lower row, the higher row, and how alike the two are, each of shape (pairs,)."""


def find_pairs(
    digests: NDArray[np.uint8], features: NDArray[np.float32] | Matrix, *, progress: Progress | None = None
) -> Pairs:
    """Find images of equal bytes, and images that are far more alike than images of this set are.

    The features lose their mean and go to their principal components, each divided by the square root of its
    deviation: without this, one component has nearly all the variance where the weights are random. There, two
    images make a pair if the distance between them (one less the cosine) is less than `RATIO` of that to the tenth
    nearest image, for both: the ratio test of Lowe (Distinctive image features from scale-invariant keypoints,
    2004, section 7.1), which asks of features only that unlike images are apart by similar distances. Pairs that
    join more than ten images are dropped: a chain has no end, and so many copies the test cannot tell.

    Parameters
    ----------
    digests : ndarray of shape (n, 16), uint8
        Of the images' bytes.
    features : ndarray or Matrix of shape (n, width), float32
        Finite; never all copied at once.
    progress : callable, optional
        Told how far it is.

    Returns
    -------
    first, second : ndarray of shape (pairs,), int64
        Rows, ordered, first < second. Images of equal bytes are each paired with the first of them, and only that
        one is compared further.
    similarity : ndarray of shape (pairs,), float32
        1 where the bytes are equal; below it otherwise, the cosine of the two to three decimals.
    """
    keys = group_keys(digests)
    _, first_of, image_of_row = np.unique(keys, return_index=True, return_inverse=True)
    first_row = first_of[image_of_row]
    copies = np.flatnonzero(first_row != np.arange(len(keys)))
    images = np.sort(first_of)
    low, high, alike = _near_pairs(_reduce(features, images), progress)
    first = np.concatenate([first_row[copies], images[low]])
    second = np.concatenate([copies, images[high]])
    similarity = np.concatenate([np.ones(len(copies), np.float32), alike])
    order = np.lexsort((second, first))
    return first[order], second[order], similarity[order]


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


def join(n: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each row's group, of shape (n,), int64: rows that pairs connect share one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(n, n))
    return np.asarray(connected_components(edges, directed=False)[1], np.int64)


def _reduce(features: NDArray[np.float32] | Matrix, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return `rows` of the features in their principal components, each of length 1 but 0 for the mean itself."""
    sample = features[rows[:: max(1, -(-len(rows) // _SAMPLE))]].astype(np.float64)
    mean = sample.mean(axis=0) if len(sample) else np.zeros(features.shape[1])
    sample -= mean
    variances, vectors = _largest(sample @ sample.T)
    kept = np.flatnonzero(variances > _NOISE * variances.max(initial=0))
    # The components are sample.T @ vectors over the root of the variances; its root again evens them out.
    axes = sample.T @ vectors[:, kept] * variances[kept] ** -0.75
    reduced = np.empty((len(rows), len(kept)), np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = (features[rows[start : start + _BLOCK]] - mean) @ axes
        norms = np.linalg.norm(block, axis=1, keepdims=True)
        reduced[start : start + _BLOCK] = block / np.where(norms > 0, norms, 1)
    return reduced


def _largest(products: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the largest eigenvalues, ascending, and their vectors; all of them would take 100 MB more."""
    from scipy.linalg import eigh

    n = len(products)
    if not n:
        return np.empty(0), np.empty((0, 0))
    variances, vectors = eigh(products, subset_by_index=[max(0, n - COMPONENTS), n - 1], overwrite_a=True)
    return variances, vectors


def _near_pairs(points: NDArray[np.float32], progress: Progress | None) -> Pairs:
    n = len(points)
    # In small sets the tenth nearest would be just any image.
    neighbour = max(2, min(_NEIGHBOUR, n // 10))
    telling = n > neighbour and points.shape[1] >= min(_DIMENSIONS, n // 2)
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, n if telling else 0, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, n))
        distances = np.maximum(1 - points[rows] @ points.T, _NEAREST)
        distances[np.arange(len(rows)), rows] = np.inf
        usual = np.partition(distances, neighbour - 1, axis=1)[:, neighbour - 1]
        near, other = np.nonzero(distances < RATIO * usual[:, np.newaxis])
        found.append(np.stack([rows[near], other], axis=1))
        if progress:
            progress("looking for duplicates", int(rows[-1]) + 1, n)
    pairs = np.concatenate(found)
    # A pair that is near for both its images has been found twice.
    pairs, times = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
    low, high = pairs[times == 2].T
    groups = join(n, low, high)
    kept = np.bincount(groups, minlength=n)[groups[low]] <= neighbour
    low, high = low[kept], high[kept]
    cosines = np.einsum("ij,ij->i", points[low], points[high], dtype=np.float64)
    return low, high, np.minimum(np.round(cosines, 3), 0.999).astype(np.float32)
