"""Find the images nearest to an image, and the images farthest from all others; exactly, without an index.

Images are compared by the cosine of their features in one view. Of the measures tried it agrees best with the classes
(docs/explanation/neighbours.md).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ..threads import cpu_count, single_threaded_blas

NEIGHBOURS = 5
"""Number of nearest images whose mean distance tells how far an image is from all others."""

_BLOCK = 1024
"""Number of images that are compared at a time by a thread."""

_SAMPLE, _CHECKED = 512, 256
"""Number of images that bound the distances of all, and number of candidates that are compared with all at a time."""

Features = NDArray[np.float32]
"""One view of images, of shape (n, width), float32; NaN if an image is unreadable."""

Rows = NDArray[np.intp]
"""Row numbers of images, of shape (m,)."""


def find_nearest(
    features: Features, queries: Features, count: int, *, own: Rows | None = None
) -> tuple[Rows, NDArray[np.float32]]:
    """Find the images nearest to each query, by comparison with all images.

    Parameters
    ----------
    features : ndarray of shape (n, width), float32
        NaN if an image is unreadable; such images are never found.
    queries : ndarray of shape (m, width), float32
    count : int
        If there are fewer images, fewer are found.
    own : ndarray of shape (m,), int, optional
        The row of each query, which is not its own neighbour.

    Returns
    -------
    rows : ndarray of shape (m, count), int
        The nearest first; of equally near images, the one with the lower row is first.
    similarity : ndarray of shape (m, count), float32
        Cosine of the features.
    """
    similar = _similarities(features, queries)
    if own is not None:
        similar[np.arange(len(own)), own] = -np.inf
    count = min(count, int(np.isfinite(similar).sum(axis=1).min(initial=len(features))))
    # Equally near images at the end of the list must not be lost to the partition's arbitrary choice.
    least = -np.partition(-similar, count - 1, axis=1)[:, count - 1] if count else np.full(len(similar), np.inf)
    found = [np.flatnonzero(row >= last) for row, last in zip(similar, least, strict=True)]
    order = [of[np.argsort(-row[of], kind="stable")[:count]] for of, row in zip(found, similar, strict=True)]
    rows = np.array(order, np.intp).reshape(len(similar), count)
    return rows, np.take_along_axis(similar, rows, axis=1)


def find_farthest(features: Features, rows: Rows, count: int) -> tuple[Rows, NDArray[np.float32]]:
    """Find those of some images that are farthest from all others, by the mean distance to the `NEIGHBOURS` nearest.

    The mean distance to the nearest images of a sample is an upper bound. So only the images with the largest bounds
    are compared with all images, until no bound exceeds the distances found (Bay and Schwabacher, Mining distance-based
    outliers in near linear time with randomization and a simple pruning rule, 2003).

    Parameters
    ----------
    features : ndarray of shape (n, width), float32
        NaN if an image is unreadable.
    rows : ndarray of shape (m,), int
        The rows of the images to choose from, which are readable.
    count : int

    Returns
    -------
    rows : ndarray of shape (k,), int
        The farthest first; at most `count`.
    distances : ndarray of shape (k,), float32
        Mean of 1 - cosine over the nearest images.
    """
    readable = np.flatnonzero(~np.isnan(features[:, 0]))
    sample = readable[:: -(-len(readable) // _SAMPLE) or 1]
    bounds = _mean_distances(features, sample)
    candidates = rows[np.argsort(-bounds[rows], kind="stable")]
    found, distances = rows[:0], np.empty(0, np.float32)
    for start in range(0, len(candidates), _CHECKED):
        if len(found) == count and bounds[candidates[start]] <= distances[-1]:
            break
        block = candidates[start : start + _CHECKED]
        _, similarity = find_nearest(features, features[block], NEIGHBOURS, own=block)
        found, distances = np.append(found, block), np.append(distances, 1 - similarity.mean(axis=1))
        order = np.argsort(-distances, kind="stable")[:count]
        found, distances = found[order], distances[order]
    return found, distances


def _mean_distances(features: Features, sample: Rows) -> NDArray[np.float32]:
    """Return the mean distance of each image to the nearest images of a sample; of shape (n,), float32."""
    similar = _similarities(features, features[sample]).T
    similar[sample, np.arange(len(sample))] = -1  # the distance of an image to itself, zero, would be no upper bound
    nearest = np.partition(similar, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:] if len(sample) > NEIGHBOURS else similar
    return np.asarray(1 - nearest.mean(axis=1), np.float32)


def _similarities(features: Features, queries: Features) -> NDArray[np.float32]:
    """Return the cosine of each query and each image, of shape (m, n), float32; minus infinity if one is unreadable."""
    units = queries / _lengths(queries)[:, np.newaxis]
    similar = np.empty((len(queries), len(features)), np.float32)
    one = len(queries) == 1

    def compare(start: int) -> None:
        block = features[start : start + _BLOCK]
        products = np.einsum("ij,kj->ki", block, units) if one else (block @ units.T).T
        similar[:, start : start + len(block)] = products / _lengths(block)

    # For a single query, BLAS is not faster, and `single_threaded_blas` would wait for the import of SciPy.
    with ThreadPoolExecutor(cpu_count()) if one else single_threaded_blas() as threads:
        for _ in threads.map(compare, range(0, len(features), _BLOCK)):
            pass
    similar[np.isnan(similar)] = -np.inf
    return similar


def _lengths(features: Features) -> NDArray[np.float32]:
    """Return the Euclidean norms, of shape (n,), float32; 1 where the norm is 0."""
    lengths = np.sqrt(np.einsum("ij,ij->i", features, features))
    return np.where(lengths > 0, lengths, np.float32(1))
