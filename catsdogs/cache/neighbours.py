"""Find identical images by their digests and near-duplicates by their features."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress, tell
from ..threads import single_threaded_blas
from .components import Matrix, Project, fit_components, fit_unscaled
from .films import MANY, SAMPLE, nearly_same_elsewhere
from .groups import connected_groups, cut_chains, group_keys, thin_out
from .ratio_test import Points, RatioTest, Rows

_CELLS, _PROBED = 2, 16
"""Number of cells, as a multiple of the root of n, and number of cells in which each image is compared."""

_MIN_IMAGES = 3
"""Number of images that the test requires."""

_FOLDS = 5
"""A chain of near-duplicates has at most a fifth of the images, or a tenth if all of them are chains: a fifth of each
class."""

_BLOCK = 512
"""Number of images that a thread reduces, or assigns to cells, at a time."""

_SIMILARITIES = 2**22
"""Number of similarities that a thread computes at a time: 16 MB. With four times as many, the search takes 200 MB more
memory, and a tenth more time."""

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""The lower row, the higher row, and the similarity of the two images, each of shape (pairs,)."""


def find_pairs(
    digests: NDArray[np.uint8], features: Matrix | None = None, *, progress: Progress | None = None
) -> Pairs:
    """Find identical images, and pairs of images that are far more similar than other images of this set.

    The features are projected to principal components (`components.fit_components`). Two images are a pair if their
    distance (1 - cosine) is less than `RATIO` times the distance to the tenth nearest image, for both: the ratio test
    of Lowe (Distinctive image features from scale-invariant keypoints, 2004, section 7.1). It only requires that the
    distances between different images are similar. If an image has more copies, it is the 20th nearest image, or the
    40th, and so on. The test is repeated with the tenth nearest image outside of the group that it made: the images
    that are nearest to a frame of a film are its other frames. Chains of pairs are cut at their largest distances if
    they have more than a fifth of the images. A set that consists of films (`films.nearly_same_elsewhere`) is searched
    again by `components.fit_unscaled`.

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
        them, and only the first is compared with other images. Groups of more than ten near-duplicates have only the
        pairs that connect them: one less than their images.
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
    no_pairs = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    n = len(images)
    if features is None or n < _MIN_IMAGES:
        return no_pairs
    # With several threads, the rounding errors of BLAS would depend on their number.
    with single_threaded_blas() as executor:
        threads = _Threads(executor, progress)
        fitted = fit_components(features, images)
        if fitted is None:
            return no_pairs
        project, test = fitted
        points, radius = _search(features, images, project, test, threads)
        pairs, distances, degrees = _connect(points, radius, test, threads)
        groups, largest = connected_groups(n, *pairs.T), n // _FOLDS
        if nearly_same_elsewhere(features[images[:SAMPLE]], groups[:SAMPLE]) > MANY:
            points, radius = _search(features, images, *fit_unscaled(features, images), threads)
            pairs, distances, _ = _pairs_within(points, radius, threads)
            # Only images that are much nearer are all copies of one picture.
            degrees, largest = _pairs_within(points, radius * np.float32(0.25), threads)[2], largest // 2
        pairs = pairs[cut_chains(n, pairs, distances, degrees, largest)]
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


def _search(
    features: Matrix, images: Rows, project: Project, test: RatioTest, threads: _Threads
) -> tuple[Points, NDArray[np.float32]]:
    """Return the points of the images, and the maximum distance of a near-duplicate of each, 0 if it has none."""
    blocks = [images[block] for block in _blocks(len(images), _BLOCK)]
    reduced = threads.map("reducing features", len(images), lambda rows: project(features[rows]), blocks)
    points = np.concatenate(reduced)
    return points, _verify(points, _candidates(points, test, threads), test, threads)


def _candidates(points: Points, test: RatioTest, threads: _Threads) -> Rows:
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
        pairs = [test.find_near(points[rows[block]], rows[block], there, others)[0] for block in blocks]
        return np.unique(np.concatenate([np.empty((0, 2), np.int64), *pairs]))

    found = threads.map("searching for duplicates", n, compare, range(len(centres)))
    return np.unique(np.concatenate(found))


def _by_cell(cells: NDArray[np.int32], n_cells: int) -> list[Rows]:
    """Return, for each cell, its positions in `cells`."""
    return np.split(np.argsort(cells, kind="stable"), np.cumsum(np.bincount(cells, minlength=n_cells))[:-1])


def _verify(points: Points, rows: Rows, test: RatioTest, threads: _Threads) -> NDArray[np.float32]:
    """Compare `rows`, and the rows that pairs connect to them, with all images.

    Returns
    -------
    radius : ndarray of shape (n,), float32
        Maximum distance of a near-duplicate of each image, 0 if it has none.
    """
    n = len(points)
    all_rows, radius, compared = np.arange(n), np.zeros(n, np.float32), np.zeros(n, np.bool_)

    def compare(rows: Rows) -> Rows:
        pairs, radius[rows] = test.find_near(points[rows], rows, points, all_rows)
        return np.unique(pairs[:, 1])

    while len(rows):
        compared[rows] = True
        blocks = [rows[block] for block in _blocks(len(rows), max(1, _SIMILARITIES // n))]
        rows = np.unique(np.concatenate(threads.map("verifying duplicates", len(rows), compare, blocks)))
        rows = rows[~compared[rows]]
    return radius


_Links = tuple[NDArray[np.int64], NDArray[np.floating], NDArray[np.int64]]
"""Pairs of shape (pairs, 2), as many as group them, their distances, and the number of all pairs of each row."""


def _connect(points: Points, radius: NDArray[np.float32], test: RatioTest, threads: _Threads) -> _Links:
    """Return the pairs that pass the test for both images.

    The test is repeated with the nearest images outside of the group that it made.
    """
    n = len(points)
    groups = connected_groups(n, *_pairs_within(points, radius, threads)[0].T)
    rows, radius = np.flatnonzero(np.bincount(groups, minlength=n)[groups] > 1), np.zeros(n, np.float32)

    def compare(rows: Rows) -> NDArray[np.float32]:
        return test.radii_outside(points[rows], groups[rows], points, groups)

    blocks = [rows[block] for block in _blocks(len(rows), max(1, _SIMILARITIES // n))]
    radius[rows] = np.concatenate(
        [np.empty(0, np.float32), *threads.map("verifying duplicates", len(rows), compare, blocks)]
    )
    return _pairs_within(points, radius, threads)


def _pairs_within(points: Points, radius: NDArray[np.float32], threads: _Threads) -> _Links:
    """Return the pairs within the radius of both images."""
    n, rows = len(points), np.flatnonzero(radius)
    there = points[rows]
    degrees = np.zeros(n, np.int64)

    def connect(block: slice) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
        distances = 1 - there[block] @ there.T
        near = distances < np.minimum(radius[rows[block], np.newaxis], radius[rows])
        degrees[rows[block]] = np.count_nonzero(near, axis=1)  # with the image itself
        position, other = np.nonzero(near & (rows[block, np.newaxis] < rows))
        pairs, lengths = np.stack([rows[block][position], rows[other]], axis=1), distances[position, other]
        kept = thin_out(n, pairs, lengths)
        return pairs[kept], lengths[kept]

    blocks = _blocks(len(rows), max(1, _SIMILARITIES // 4 // max(1, len(rows))))
    found = threads.map("connecting duplicates", len(rows), connect, blocks)
    pairs = np.concatenate([np.empty((0, 2), np.int64), *(pairs for pairs, _ in found)])
    distances = np.concatenate([np.empty(0), *(lengths for _, lengths in found)])
    kept = thin_out(n, pairs, distances)
    return pairs[kept], distances[kept], degrees
