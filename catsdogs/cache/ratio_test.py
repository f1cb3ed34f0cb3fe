"""Compare images with their neighbours by the ratio test."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

RATIO = 0.15
"""Maximum distance of a pair, as a fraction of the usual distance of each of the two.

Kaggle's 25,000 images have a gap here: 29 pairs up to 0.11, the next at 0.16 (docs/explanation/duplicates.md)."""

FILM_DISTANCE = 0.25
"""Maximum distance of a pair in a set of films, in components that are not scaled.

With the stand-in, 19 of 20 frames are at 0.2 or less from the next, different films at 0.46 or more, and of 4,000
photographs only copies are at 0.25 or less."""

_NEIGHBOUR = 10
"""The neighbour whose distance is the usual one; for images with more copies, the 20th, the 40th, and so on."""

_MAX_USUAL = 1.1
"""Maximum usual distance in practice; it is 1 if images have nothing in common."""

_SAMPLE = 256
"""Number of images whose usual distance is computed."""

_MIN_DISTANCE = 1e-6
"""Smallest distance that exceeds rounding errors."""

Points = NDArray[np.float32]
"""Images in their principal components, of shape (n, components)."""

Rows = NDArray[np.int64]
"""Row numbers of images, of shape (n,)."""


@dataclass(frozen=True)
class RatioTest:
    """The ratio test in a set of images.

    Parameters
    ----------
    neighbour : int
        The neighbour whose distance is the usual one.
    min_radius : float
        Images that are nearer than this may be near-duplicates in any case: the tenth nearest image of a frame of a
        film is itself a frame.
    ratio : float
    """

    neighbour: int
    min_radius: float
    ratio: float = RATIO

    @classmethod
    def fit(cls, n: int, different: Points) -> "RatioTest":
        """Choose the test for `n` images; `different` are the points of different images."""
        # In a small set, the tenth nearest image would not be near at all.
        neighbour = max(2, min(_NEIGHBOUR, n // 10))
        usual = 1 - _nth_largest(different[:_SAMPLE] @ different.T, neighbour + 1)
        return cls(neighbour, RATIO * min(1, float(np.median(usual))))

    def stricter(self) -> "RatioTest":
        """Return the test for few components, in which different images are nearer by chance: half the distances."""
        return replace(self, ratio=self.ratio / 2, min_radius=self.min_radius / 2)

    def find_near(
        self, points: Points, rows: Rows, other_points: Points, other_rows: Rows
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the images that are near-duplicates of `rows` by the ratio test for the latter alone.

        Parameters
        ----------
        points, other_points : ndarray of shape (rows, components) and (others, components), float32
            Points of length 1.
        rows, other_rows : ndarray of shape (rows,) and (others,), int64
            Their row numbers.

        Returns
        -------
        pairs : ndarray of shape (pairs, 2), int64
            One of `rows` and one of `other_rows`.
        radius : ndarray of shape (rows,), float32
            Maximum distance of a near-duplicate; 0 for a row that is in no pair.
        """
        similar = points @ other_points.T
        n = similar.shape[1]
        # The k-th largest maximum of groups of columns is at most the k-th largest value, in a tenth of the time.
        groups = max(1, min(32, n // 512))
        maxima = similar[:, : n // groups * groups].reshape(len(points), groups, -1).max(axis=1)
        usual = 1 - _nth_largest(maxima, self.neighbour + 1)  # the row itself is the most similar
        limit = np.maximum(self.ratio * usual, self.min_radius)
        position, other = np.divmod(np.flatnonzero(similar > 1 - limit[:, np.newaxis]), max(1, n))
        some = np.unique(position[rows[position] != other_rows[other]])
        # Only images that have so many so near can be in a large group.
        many = np.flatnonzero(np.count_nonzero(similar > 1 - self.ratio * _MAX_USUAL, axis=1) > self.neighbour // 2)
        exact = np.union1d(some, many)
        radius = np.zeros(len(rows), np.float32)
        similar = similar[exact]
        radius[exact] = np.maximum(self._radii(similar), self.min_radius)
        position, other = np.nonzero(similar > 1 - radius[exact, np.newaxis])
        pairs = np.stack([rows[exact[position]], other_rows[other]], axis=1)
        return pairs[pairs[:, 0] != pairs[:, 1]], radius

    def radii_outside(
        self, points: Points, groups: Rows, other_points: Points, other_groups: Rows
    ) -> NDArray[np.float32]:
        """Return the maximum distance of a near-duplicate for each row, by the nearest images outside of its group."""
        similar = points @ other_points.T
        similar[groups[:, np.newaxis] == other_groups] = -1
        return np.asarray(self.ratio * np.minimum(1, 1 - _nth_largest(similar, self.neighbour)), np.float32)

    def _radii(self, similar: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the maximum distance of a near-duplicate for each row.

        It is `ratio` times the distance to the tenth nearest image. If that is itself a copy, one of more than ten, the
        gap is further away: a quarter of the k nearest images are within `ratio` times the distance to the k-th, for
        k = 20, 40, and so on.
        """
        if not similar.size:
            return np.empty(len(similar), np.float32)
        rank, last = self.neighbour, similar.shape[1] - 1
        radius = self.ratio * (1 - _nth_largest(similar, rank + 1))
        while rank < last:
            rank = min(2 * rank, last)
            near = 1 - _nth_largest(similar, rank // 4 + 1)
            if not np.any(near < self.ratio * _MAX_USUAL):
                break
            far = self.ratio * (1 - _nth_largest(similar, rank + 1))
            radius = np.where(near < far, far, radius)
        return np.asarray(np.where(radius > _MIN_DISTANCE, radius, 0), np.float32)


def _nth_largest(similar: NDArray[np.float32], nth: int) -> NDArray[np.float32]:
    """Return the n-th largest value of each row, -1 if a row has fewer values."""
    if similar.shape[1] < nth:
        return np.full(len(similar), -1, np.float32)
    return np.asarray(np.partition(similar, -nth, axis=1)[:, -nth])
