"""Project features to the principal components in which images are compared."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .groups import connected_groups
from .ratio_test import FILM_DISTANCE, Points, RatioTest, Rows

COMPONENTS = 128
"""Maximum number of principal components in which images are compared."""

_MIN_COMPONENTS = 16
"""Minimum number of components, unless there are fewer than twice as many different images.

With fewer, images are near by chance: about 10 * RATIO ** (components / 2) for each image."""

_SAMPLE = 2048
"""Number of images from which the principal components are computed."""

_FIRST_SAMPLE, _FIRST_COMPONENTS = 256, 8
"""Number of images, and of components, in which different images are searched for first."""

_MAX_DEVIATION = 3
"""Maximum deviation of a component, as a multiple of the median."""

_MIN_VARIANCE = 1e-10
"""Smallest variance, as a fraction of the largest, that exceeds rounding errors."""


class Matrix(Protocol):
    """An ndarray, or another object that returns copies of rows, in several threads at the same time."""

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.float32]: ...


Project = Callable[[NDArray[np.floating]], Points]
"""Returns points of length 1 of an array of features; a row equal to the mean is 0."""


def fit_components(features: Matrix, rows: Rows) -> tuple[Project, RatioTest] | None:
    """Compute the principal components of different images, and choose the test that compares images in them.

    The components are those of a sample without its near-duplicates: as many as the different images have, at most
    `COMPONENTS`. Further components would be the noise between copies: 128 components of 240 images that show 20
    pictures have 109 of noise, in which copies are as unlike as different images. In all of their own components,
    different images are about equally far from each other, and copies are not.

    Which images of the sample are different is found in few components first, then in twice as many of the different
    images, and so on.

    Parameters
    ----------
    features : ndarray or Matrix of shape (n, width), float32
    rows : ndarray of shape (images,), int64
        The rows to compare, in a random order.

    Returns
    -------
    project : callable
    test : RatioTest
        Or None instead of both, if the features do not distinguish the images.
    """
    sample = features[rows[:_SAMPLE]].astype(np.float64)
    first = sample[:_FIRST_SAMPLE]
    different = first[np.sort(np.unique(first, axis=0, return_index=True)[1])]
    if len(_principal(different, _MIN_COMPONENTS)[1]) < max(1, min(_MIN_COMPONENTS, len(different) // 2)):
        return None
    components = _FIRST_COMPONENTS
    while components < COMPONENTS:
        different = _different(first, different, components)
        components *= 2
    different = _different(sample, different, COMPONENTS)
    project = _project_to(different, COMPONENTS)
    return project, RatioTest.fit(len(rows), project(different))


def fit_unscaled(features: Matrix, rows: Rows) -> tuple[Project, RatioTest]:
    """Compute the principal components of a sample of films, and choose the test that compares images in them.

    The principal components of few films, if scaled, are mostly the differences within the films. So they are not
    scaled, and the usual distance is nearly 1, whatever the nearest images show.

    Returns
    -------
    project : callable
        The similarity of its points is the cosine without what is outside of the components.
    test : RatioTest
        Images are near-duplicates below a fixed distance.
    """
    sample = features[rows[:_SAMPLE]].astype(np.float64)
    mean, axes = sample.mean(axis=0), _principal(sample, COMPONENTS)[0]

    def project(features: NDArray[np.floating]) -> Points:
        centred = features - mean
        norms = np.linalg.norm(centred, axis=1, keepdims=True)
        return np.asarray(centred @ axes / np.where(norms > 0, norms, 1), np.float32)

    return project, RatioTest(1, FILM_DISTANCE, ratio=0)


def _principal(sample: NDArray[np.float64], components: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return principal axes of shape (width, kept), and the variances times the sample's size, of shape (kept,)."""
    from scipy.linalg import eigh

    centred = sample - sample.mean(axis=0)
    # Only the largest eigenvalues are computed, in ascending order: all of them would take 100 MB more memory.
    largest = [max(0, len(sample) - components), len(sample) - 1]
    variances, vectors = eigh(centred @ centred.T, subset_by_index=largest, overwrite_a=True)
    kept = variances > _MIN_VARIANCE * variances.max(initial=0)
    return centred.T @ vectors[:, kept] * variances[kept] ** -0.5, variances[kept]


def _project_to(sample: NDArray[np.float64], components: int) -> Project:
    """Centre features, project them to the components of a sample, and divide those by the root of their deviation.

    Otherwise one component would have nearly all the variance with random weights.
    """
    mean = sample.mean(axis=0)
    axes, variances = _principal(sample, components)
    deviations = variances**0.25
    axes *= np.minimum(deviations, _MAX_DEVIATION * np.median(deviations)) / variances**0.5

    def project(features: NDArray[np.floating]) -> Points:
        points = (features - mean) @ axes
        norms = np.linalg.norm(points, axis=1, keepdims=True)
        return np.asarray(points / np.where(norms > 0, norms, 1), np.float32)

    return project


def _different(sample: NDArray[np.float64], different: NDArray[np.float64], components: int) -> NDArray[np.float64]:
    """Return the sample with the first image of each group, by comparing all in the components of different images."""
    project = _project_to(different, components)
    points, rows = project(sample), np.arange(len(sample))
    distances = 1 - points @ points.T
    test = RatioTest.fit(len(rows), project(different)).stricter()

    def group(radius: NDArray[np.float32]) -> NDArray[np.int64]:
        return connected_groups(len(rows), *np.nonzero(distances < np.minimum(radius[:, np.newaxis], radius)))

    groups = group(test.find_near(points, rows, points, rows)[1])
    groups = group(test.radii_outside(points, groups, points, groups))
    return sample[np.unique(groups, return_index=True)[1]]
