"""Turn features into the design matrix of a logistic regression.

Several views are averaged, so that a view costs nothing here. Then one of three things happens to the averages:

identity
    Nothing.
sqrt
    Their square roots are taken, before the average: features of rectified units are skewed as counts are, and this is
    what evens out the spread of counts (Bartlett 1936; Arandjelovic and Zisserman 2012 for image features).
rbf
    The square roots are brought to length 1 and compared with some training images, the landmarks, by the Gaussian
    kernel: the Nystroem method (Williams and Seeger 2001) as scikit-learn's `Nystroem` has it. A head that is linear in
    these similarities is not linear in the features, and is better where there are thousands of images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES
from ..threads import single_threaded_blas
from .logits import to_probabilities

IDENTITY, SQRT, RBF = "identity", "sqrt", "rbf"

LANDMARKS = 448
"""Training images that others are compared with."""

_GAMMA = 1.5
"""The kernel's gamma, over the mean squared distance of two images."""

_RIDGE = 1e-4
"""Added to the diagonal of the landmarks' kernel matrix, whose diagonal is 1: two may be almost the same."""

_BLOCK = 1024
"""Rows that one thread takes at once."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """The Gaussian kernel against landmarks.

    Parameters
    ----------
    landmarks : ndarray of shape (m, 2048), float32
        Of length 1.
    gamma : float
    """

    landmarks: NDArray[np.float32]
    gamma: float

    def compare(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the similarity of rows of shape (n, 2048) and length 1, or 0, to each landmark: (n, m), float32."""
        similarity = np.empty((len(rows), len(self.landmarks)), np.float32)
        # Distances are of differences; taken from nearly parallel rows as they are, float32 would lose them.
        centre = self.landmarks.mean(axis=0)
        landmarks = self.landmarks - centre
        lengths = np.square(landmarks).sum(axis=1)

        def compare_block(start: int) -> None:
            block = rows[start : start + _BLOCK] - centre
            out = np.matmul(block, landmarks.T, out=similarity[start : start + _BLOCK])
            out *= 2
            out -= np.square(block).sum(axis=1, keepdims=True) + lengths
            out *= self.gamma
            np.exp(out, out=out)

        with single_threaded_blas() as threads:
            list(threads.map(compare_block, range(0, len(rows), _BLOCK)))
        return similarity


def view_average(features: NDArray[np.float32], transform: str) -> NDArray[np.float32]:
    """Average the views, or their square roots, and bring them to length 1 where the transform compares them.

    Parameters
    ----------
    features : ndarray of shape (n, views * 2048), float32
    transform : str
        "identity", "sqrt" or "rbf".

    Returns
    -------
    ndarray of shape (n, 2048), float32
    """
    by_view = features.reshape(len(features), features.shape[1] // N_FEATURES, N_FEATURES)
    average = np.empty((len(features), N_FEATURES), np.float32)

    def average_block(start: int) -> None:
        block = by_view[start : start + _BLOCK]
        out = np.mean(block if transform == IDENTITY else np.sqrt(block), axis=1, out=average[start : start + _BLOCK])
        if transform == RBF:
            length = np.sqrt(np.square(out).sum(axis=1, keepdims=True))
            out /= np.where(length, length, np.float32(1))

    with single_threaded_blas() as threads:
        list(threads.map(average_block, range(0, len(features), _BLOCK)))
    return average


@dataclass(frozen=True, eq=False)
class Design:
    """The rows that a logistic regression sees, and how the size of its coefficients is measured.

    Parameters
    ----------
    matrix : ndarray of shape (n, d + 1), float32
        The averages or the similarities, of mean zero; the last column is 1. In float64 where there is a basis.
    mean : ndarray of shape (d,), float64
        What was taken off.
    penalty : ndarray of shape (d + 1, d + 1), float64
        ``coefficients @ penalty @ coefficients`` is the squared norm; zero for the intercept.
    kernel : Kernel or None
        Of the transform "rbf".
    basis : ndarray of shape (2048, d), float64, or None
        Of the others, where there are fewer images than features: what the coefficients are coordinates of.
    """

    matrix: NDArray[np.floating]
    mean: NDArray[np.float64]
    penalty: NDArray[np.float64]
    kernel: Kernel | None = None
    basis: NDArray[np.float64] | None = None


def linear_design(features: NDArray[np.float32], transform: str) -> Design:
    """Return the design of the transforms "identity" and "sqrt"."""
    matrix, mean = _centred(view_average(features, transform))
    basis = None
    if len(matrix) < N_FEATURES:  # as coordinates in the space that they span, the rows say as much and are shorter
        basis, triangle = np.linalg.qr(matrix[:, :-1].T.astype(np.float64))
        matrix = np.column_stack([triangle.T, matrix[:, -1]])
    return Design(matrix, mean, np.pad(np.eye(matrix.shape[1] - 1), (0, 1)), basis=basis)


def kernel_design(features: NDArray[np.float32], landmarks: NDArray[np.intp]) -> Design:
    """Return the design of the transform "rbf", `landmarks` being rows of the features."""
    rows = view_average(features, RBF)
    average = rows.mean(axis=0, dtype=np.float64)
    squared_distance = 2 * max(1 - float(average @ average), 1e-6)  # of two rows of length 1, in the mean
    kernel = Kernel(rows[landmarks], _GAMMA / squared_distance)
    penalty = kernel.compare(kernel.landmarks).astype(np.float64)
    penalty[np.diag_indices(len(penalty))] = 1 + _RIDGE
    matrix, mean = _centred(kernel.compare(rows))
    return Design(matrix, mean, np.pad((penalty + penalty.T) / 2, (0, 1)), kernel)


def _centred(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    mean = rows.mean(axis=0, dtype=np.float64)
    matrix = np.empty((len(rows), rows.shape[1] + 1), np.float32)
    np.subtract(rows, mean.astype(np.float32), out=matrix[:, :-1])
    matrix[:, -1] = 1
    return matrix, mean


@dataclass(frozen=True, eq=False)
class Classifier:
    """What a head computes, from features to logits and probabilities.

    Parameters
    ----------
    transform : str
        What becomes of the features first: "identity", "sqrt" or "rbf".
    coefficients : ndarray of shape (2048,) or (landmarks,), float64
        Of the averages, or of the similarities to the landmarks.
    intercept : float
    kernel : Kernel or None
        Of the transform "rbf".
    """

    transform: str
    coefficients: NDArray[np.float64]
    intercept: float
    kernel: Kernel | None = None

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the log-odds of class 1, of shape (n,); NaN where the features are NaN.

        Parameters
        ----------
        features : ndarray of shape (n, views * 2048), float32
        """
        rows = view_average(features, self.transform)
        if self.kernel:
            rows = self.kernel.compare(rows)
        return np.asarray(rows @ self.coefficients + self.intercept)

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability of class 1, of shape (n,), as `to_probabilities` does of the logits."""
        return to_probabilities(self.logits(features))
