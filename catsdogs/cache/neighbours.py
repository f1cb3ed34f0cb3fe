"""Find images of equal bytes, and near duplicates by their features; say which images belong together."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from math import isqrt
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress, tell
from ..threads import single_threaded_blas

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

_CELLS, _PROBED = 2, 16
"""Cells for each unit of the root of n, and how many of them each image is compared in."""

_BLOCK = 512
"""Images that a thread reduces, or assigns to cells, at a time."""

_AT_ONCE = 2**24
"""Similarities that a thread computes at a time: 64 MB."""

_NOISE, _NEAREST = 1e-10, 1e-6
"""The least variance, as a share of the greatest, and the least distance that rounding errors leave any meaning."""


class Matrix(Protocol):
    """What gives copies of the rows that it is asked for, such as an ndarray; several threads ask at a time."""

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.float32]: ...


Points = NDArray[np.float32]
"""Images in their principal components, of shape (n, components)."""

Rows = NDArray[np.int64]
"""Positions of images among all, of shape (n,)."""

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""The lower row, the higher row, and how alike the two are, each of shape (pairs,)."""


def find_pairs(
    digests: NDArray[np.uint8], features: Matrix | None = None, *, progress: Progress | None = None
) -> Pairs:
    """Find images of equal bytes, and images that are far more alike than images of this set are.

    The features lose their mean and go to their principal components, each divided by the square root of its
    deviation: without this, one component has nearly all the variance where the weights are random. There, two
    images make a pair if the distance between them (one less the cosine) is less than `RATIO` of that to the tenth
    nearest image, for both: the ratio test of Lowe (Distinctive image features from scale-invariant keypoints,
    2004, section 7.1), which asks of features only that unlike images are apart by similar distances. Pairs that
    connect more than ten images are dropped: a chain has no end, and so many copies the test cannot tell.

    Comparing all images with all takes time that grows with their square. So those that may have a near duplicate
    are searched for in cells, as in an inverted file (Jegou, Douze and Schmid, Product quantization for nearest
    neighbor search, 2011, section IV), and only those are compared with all. A pair can be missed, but none is found
    that comparing all with all would not find. The same images give the same pairs, whatever their order and however
    many threads there are.

    Parameters
    ----------
    digests : ndarray of shape (n, 16), uint8
        Of the images' bytes.
    features : ndarray or Matrix of shape (n, width), float32, optional
        Finite; never all copied at once. Without them only images of equal bytes are pairs.
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
    # Sorted by digest: a random order, and the same for any order of the rows.
    _, images, image_of_row = np.unique(group_keys(digests), return_index=True, return_inverse=True)
    first_row = images[image_of_row]
    copies = np.flatnonzero(first_row != np.arange(len(digests)))
    near, alike = _near_pairs(features, images, progress)
    first = np.concatenate([first_row[copies], near[:, 0]])
    second = np.concatenate([copies, near[:, 1]])
    similarity = np.concatenate([np.ones(len(copies), np.float32), alike])
    order = np.lexsort((second, first))
    return first[order], second[order], similarity[order]


def _near_pairs(
    features: Matrix | None, images: Rows, progress: Progress | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the near duplicates among the rows `images`, of shape (pairs, 2), and how alike they are."""
    n = len(images)
    # In small sets the tenth nearest would be just any image.
    neighbour = max(2, min(_NEIGHBOUR, n // 10))
    nothing = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    if features is None or n <= neighbour:
        return nothing
    # What BLAS rounds to would depend on the number of its threads.
    with single_threaded_blas() as executor:
        threads = _Threads(executor, progress)
        points = _reduce(features, images, threads)
        if points.shape[1] < min(_DIMENSIONS, n // 2):
            return nothing
        pairs = _verify(points, _candidates(points, neighbour, threads), neighbour, threads)
    groups = connected_groups(n, *pairs.T)
    pairs = pairs[np.bincount(groups, minlength=n)[groups[pairs[:, 0]]] <= neighbour]
    cosines = np.einsum("ij,ij->i", *points[pairs.T], dtype=np.float64)
    return np.sort(images[pairs], axis=1), np.minimum(np.round(cosines, 3), 0.999).astype(np.float32)


@dataclass(frozen=True)
class _Threads:
    executor: Executor
    progress: Progress | None

    def map(self, step: str, n: int, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Return what `work` makes of each item, and tell how many of `n` images that is."""
        results = []
        for result in self.executor.map(work, items):
            results.append(result)
            tell(self.progress, step, n * len(results) // len(items), n)
        return results


def _blocks(n: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, n, size)]


def _reduce(features: Matrix, rows: Rows, threads: _Threads) -> Points:
    """Return `rows` of the features in their principal components, each of length 1 but 0 for the mean itself."""
    from scipy.linalg import eigh

    sample = features[rows[:_SAMPLE]].astype(np.float64)
    mean = sample.mean(axis=0)
    sample -= mean
    # All the eigenvalues and their vectors would take 100 MB more than the largest, which ascend.
    largest = [max(0, len(sample) - COMPONENTS), len(sample) - 1]
    variances, vectors = eigh(sample @ sample.T, subset_by_index=largest, overwrite_a=True)
    kept = np.flatnonzero(variances > _NOISE * variances.max(initial=0))
    # The components are sample.T @ vectors over the root of the variances; its root again evens them out.
    axes = sample.T @ vectors[:, kept] * variances[kept] ** -0.75
    reduced = np.empty((len(rows), len(kept)), np.float32)

    def reduce(block: slice) -> None:
        components = (features[rows[block]] - mean) @ axes
        norms = np.linalg.norm(components, axis=1, keepdims=True)
        reduced[block] = components / np.where(norms > 0, norms, 1)

    threads.map("reducing features", len(rows), reduce, _blocks(len(rows), _BLOCK))
    return reduced


def _candidates(points: Points, neighbour: int, threads: _Threads) -> Rows:
    """Return the rows of pairs that pass the ratio test within a cell.

    The tenth nearest image of a cell is no nearer than that of all images, so no pair fails here that would pass
    there. A cell holds the images that are nearest to its centre; each image is compared with those of the cells whose
    centres are nearest to it.
    """
    n = len(points)
    # The first rows are a random sample; centres from k-means find hardly more.
    centres = points[: _CELLS * isqrt(n)]
    probed = min(_PROBED, len(centres))

    def nearest(block: slice) -> NDArray[np.int32]:
        order = np.argpartition(points[block] @ centres.T, (-probed, -1), axis=1)
        return order[:, -probed:].astype(np.int32)

    cells: NDArray[np.int32] = np.concatenate(threads.map("assigning images to cells", n, nearest, _blocks(n, _BLOCK)))
    members = _by_cell(cells[:, -1], len(centres))
    visitors = _by_cell(cells.ravel(), len(centres))

    def compare(cell: int) -> NDArray[np.int64]:
        others, rows = members[cell], visitors[cell] // probed
        there = points[others]
        blocks = _blocks(len(rows), _AT_ONCE // max(1, len(others)))
        pairs = [_near(points[rows[block]], rows[block], there, others, neighbour) for block in blocks]
        return np.unique(np.concatenate([np.empty((0, 2), np.int64), *pairs]))

    found = threads.map("looking for duplicates", n, compare, range(len(centres)))
    return np.unique(np.concatenate(found))


def _by_cell(cells: NDArray[np.int32], n_cells: int) -> list[Rows]:
    """Return the positions at which each cell stands."""
    return np.split(np.argsort(cells, kind="stable"), np.cumsum(np.bincount(cells, minlength=n_cells))[:-1])


def _verify(points: Points, rows: Rows, neighbour: int, threads: _Threads) -> NDArray[np.int64]:
    """Return the pairs of `rows`, and of all that pairs connect to them, of shape (pairs, 2): compared with all."""
    n = len(points)
    all_rows, compared = np.arange(n), np.zeros(n, np.bool_)

    def compare(rows: Rows) -> NDArray[np.int64]:
        return _near(points[rows], rows, points, all_rows, neighbour)

    found = [np.empty((0, 2), np.int64)]
    while len(rows):
        compared[rows] = True
        blocks = [rows[block] for block in _blocks(len(rows), max(1, _AT_ONCE // n))]
        near = threads.map("verifying duplicates", len(rows), compare, blocks)
        found += near
        rows = np.unique(np.concatenate(near)[:, 1])
        rows = rows[~compared[rows]]
    # A pair that is near for both its images has been found twice.
    pairs, times = np.unique(np.sort(np.concatenate(found), axis=1), axis=0, return_counts=True)
    return np.asarray(pairs[times == 2], np.int64)


def _near(points: Points, rows: Rows, other_points: Points, other_rows: Rows, neighbour: int) -> NDArray[np.int64]:
    """Return each of `rows` with those of `other_rows` that pass the ratio test for it, of shape (pairs, 2)."""
    similar = points @ other_points.T
    n = similar.shape[1]
    k = neighbour + 1  # the row itself is the most similar; where it is not among them, the test is only more lenient
    # The k-th of the maxima of groups of columns is at most the k-th of all columns, and takes a tenth of the time.
    groups = max(1, min(32, n // 512))
    maxima = similar[:, : n // groups * groups].reshape(len(points), groups, -1).max(axis=1)
    kth = _kth_largest(maxima, k)
    position, other = np.divmod(np.flatnonzero(similar > _threshold(kth)[:, np.newaxis]), max(1, n))
    distinct = rows[position] != other_rows[other]
    position, other = position[distinct], other[distinct]
    for row in np.unique(position):
        kth[row] = _kth_largest(similar[row : row + 1, similar[row] >= kth[row]], k)[0]
    near = similar[position, other] > _threshold(kth)[position]
    return np.stack([rows[position[near]], other_rows[other[near]]], axis=1)


def _kth_largest(similar: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Return the k-th largest of each row, -1 where there are fewer."""
    if similar.shape[1] < k:
        return np.full(len(similar), -1, np.float32)
    return np.asarray(np.partition(similar, -k, axis=1)[:, -k])


def _threshold(kth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how similar a near duplicate must be where the tenth nearest image is as similar as `kth`."""
    distance = RATIO * (1 - kth)
    return np.where(distance > _NEAREST, 1 - distance, np.inf)


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
