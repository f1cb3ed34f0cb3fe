"""Find identical images by their digests and near-duplicates by their features; group images that belong together."""

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
"""Number of principal components in which images are compared."""

RATIO = 0.15
"""Maximum distance of a pair, as a fraction of the distance from each of the two to its tenth nearest image.

Kaggle's 25,000 images have a gap here: 29 pairs up to 0.11, the next at 0.16 (docs/explanation/duplicates.md)."""

_NEIGHBOUR = 10
"""The neighbour whose distance is the usual one. Larger groups of copies cannot be distinguished from dense regions."""

_DIMENSIONS = 16
"""Minimum number of components. With fewer, images are that near by chance: about 10 * RATIO ** (dimensions / 2) for
each image."""

_SAMPLE = 2048
"""Number of images from which the principal components are computed."""

_CELLS, _PROBED = 2, 16
"""Number of cells, as a multiple of the root of n, and number of cells in which each image is compared."""

_BLOCK = 512
"""Number of images that a thread reduces, or assigns to cells, at a time."""

_SIMILARITIES = 2**24
"""Number of similarities that a thread computes at a time: 64 MB."""

_MIN_VARIANCE, _MIN_DISTANCE = 1e-10, 1e-6
"""Smallest variance, as a fraction of the largest, and smallest distance that exceed rounding errors."""


class Matrix(Protocol):
    """An ndarray, or another object that returns copies of rows, in several threads at the same time."""

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.float32]: ...


Points = NDArray[np.float32]
"""Images in their principal components, of shape (n, components)."""

Rows = NDArray[np.int64]
"""Row numbers of images, of shape (n,)."""

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""The lower row, the higher row, and the similarity of the two images, each of shape (pairs,)."""


def find_pairs(
    digests: NDArray[np.uint8], features: Matrix | None = None, *, progress: Progress | None = None
) -> Pairs:
    """Find identical images, and pairs of images that are far more similar than other images of this set.

    The features are centred and projected to their principal components, and each component is divided by the square
    root of its standard deviation: with random weights, one component would otherwise have nearly all the variance.
    Two images are a pair if their distance (1 - cosine) is less than `RATIO` times the distance to the tenth nearest
    image, for both: the ratio test of Lowe (Distinctive image features from scale-invariant keypoints, 2004, section
    7.1). It only requires that the distances between different images are similar. Pairs that connect more than ten
    images are dropped: they may be a chain, and the test is not valid for so many copies.

    The time to compare all images with each other is quadratic. So images that may have a near-duplicate are searched
    for within cells, as in an inverted file (Jegou, Douze and Schmid, Product quantization for nearest neighbor
    search, 2011, section IV), and only those are compared with all images. Some pairs may be missed, but every pair
    found is one that the complete comparison would find. The result does not depend on the order of the images or on
    the number of threads.

    Parameters
    ----------
    digests : ndarray of shape (n, 16), uint8
        Digests of the images' bytes.
    features : ndarray or Matrix of shape (n, width), float32, optional
        Finite features; never copied as a whole. Without features, only identical images are pairs.
    progress : callable, optional
        Called with the progress.

    Returns
    -------
    first, second : ndarray of shape (pairs,), int64
        Row numbers in ascending order, first < second. Each of several identical images is paired with the first of
        them, and only the first is compared with other images.
    similarity : ndarray of shape (pairs,), float32
        1 if the images are identical; otherwise their cosine, rounded to three decimals and less than 1.
    """
    # Sorting by digest gives a random order that does not depend on the order of the rows.
    _, images, image_of_row = np.unique(group_keys(digests), return_index=True, return_inverse=True)
    first_row = images[image_of_row]
    copies = np.flatnonzero(first_row != np.arange(len(digests)))
    near, cosines = _near_pairs(features, images, progress)
    first = np.concatenate([first_row[copies], near[:, 0]])
    second = np.concatenate([copies, near[:, 1]])
    similarity = np.concatenate([np.ones(len(copies), np.float32), cosines])
    order = np.lexsort((second, first))
    return first[order], second[order], similarity[order]


def _near_pairs(
    features: Matrix | None, images: Rows, progress: Progress | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return pairs of near-duplicates among the given row numbers, of shape (pairs, 2), and their similarities."""
    n = len(images)
    # In a small set, the tenth nearest image would not be near at all.
    neighbour = max(2, min(_NEIGHBOUR, n // 10))
    no_pairs = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    if features is None or n <= neighbour:
        return no_pairs
    # With several threads, the rounding errors of BLAS would depend on their number.
    with single_threaded_blas() as executor:
        threads = _Threads(executor, progress)
        points = _reduce(features, images, threads)
        if points.shape[1] < min(_DIMENSIONS, n // 2):
            return no_pairs
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
        """Apply `work` to each item, report the progress as a fraction of `n` images, and return the results."""
        results = []
        for result in self.executor.map(work, items):
            results.append(result)
            tell(self.progress, step, n * len(results) // len(items), n)
        return results


def _blocks(n: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, n, size)]


def _reduce(features: Matrix, rows: Rows, threads: _Threads) -> Points:
    """Return these rows in their principal components, normalised to length 1; a row equal to the mean is 0."""
    from scipy.linalg import eigh

    sample = features[rows[:_SAMPLE]].astype(np.float64)
    mean = sample.mean(axis=0)
    sample -= mean
    # Only the largest eigenvalues are computed, in ascending order: all of them would take 100 MB more memory.
    largest = [max(0, len(sample) - COMPONENTS), len(sample) - 1]
    variances, vectors = eigh(sample @ sample.T, subset_by_index=largest, overwrite_a=True)
    kept = np.flatnonzero(variances > _MIN_VARIANCE * variances.max(initial=0))
    # The components are sample.T @ vectors * variances ** -0.5; dividing by the root of the deviation adds ** -0.25.
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

    The tenth nearest image within a cell is at least as far as the tenth nearest of all, so a pair in a cell that
    passes the test among all images also passes here. The images of a cell are those nearest to its centre; each image
    is compared with the images of the cells whose centres are nearest to it.
    """
    n = len(points)
    # The first rows are a random sample; centres from k-means find hardly any more pairs.
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
        blocks = _blocks(len(rows), _SIMILARITIES // max(1, len(others)))
        pairs = [_near(points[rows[block]], rows[block], there, others, neighbour) for block in blocks]
        return np.unique(np.concatenate([np.empty((0, 2), np.int64), *pairs]))

    found = threads.map("searching for duplicates", n, compare, range(len(centres)))
    return np.unique(np.concatenate(found))


def _by_cell(cells: NDArray[np.int32], n_cells: int) -> list[Rows]:
    """Return, for each cell, its positions in `cells`."""
    return np.split(np.argsort(cells, kind="stable"), np.cumsum(np.bincount(cells, minlength=n_cells))[:-1])


def _verify(points: Points, rows: Rows, neighbour: int, threads: _Threads) -> NDArray[np.int64]:
    """Compare `rows`, and the rows that pairs connect to them, with all; return the pairs, of shape (pairs, 2)."""
    n = len(points)
    all_rows, compared = np.arange(n), np.zeros(n, np.bool_)

    def compare(rows: Rows) -> NDArray[np.int64]:
        return _near(points[rows], rows, points, all_rows, neighbour)

    found = [np.empty((0, 2), np.int64)]
    while len(rows):
        compared[rows] = True
        blocks = [rows[block] for block in _blocks(len(rows), max(1, _SIMILARITIES // n))]
        near = threads.map("verifying duplicates", len(rows), compare, blocks)
        found += near
        rows = np.unique(np.concatenate(near)[:, 1])
        rows = rows[~compared[rows]]
    # A pair that passes the test for both its images has been found twice.
    pairs, times = np.unique(np.sort(np.concatenate(found), axis=1), axis=0, return_counts=True)
    return np.asarray(pairs[times == 2], np.int64)


def _near(points: Points, rows: Rows, other_points: Points, other_rows: Rows, neighbour: int) -> NDArray[np.int64]:
    """Return pairs of one of `rows` and one of `other_rows` that pass the test for the former, of shape (pairs, 2)."""
    similar = points @ other_points.T
    n = similar.shape[1]
    k = neighbour + 1  # the row itself is the most similar; if it is not among them, the test is only less strict
    # The k-th largest maximum of groups of columns is at most the k-th largest value, and takes a tenth of the time.
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
    """Return the k-th largest value of each row, -1 if a row has fewer values."""
    if similar.shape[1] < k:
        return np.full(len(similar), -1, np.float32)
    return np.asarray(np.partition(similar, -k, axis=1)[:, -k])


def _threshold(kth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the minimum similarity of a near-duplicate, given the similarity of the tenth nearest image."""
    distance = RATIO * (1 - kth)
    return np.where(distance > _MIN_DISTANCE, 1 - distance, np.inf)


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
