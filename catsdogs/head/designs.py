"""Turn features into the design matrix of a logistic regression.

Several views are averaged, so the number of views does not change the size of the matrix. There are three transforms:

identity
    The average of the features.
sqrt
    The average of their square roots. Features of rectified units are skewed like counts, and the square root
    stabilises the variance of counts (Bartlett 1936; Arandjelovic and Zisserman 2012 for image features).
rbf
    The averages of "sqrt", normalised to length 1, are compared with some training images, the landmarks, by the
    Gaussian kernel. This is the Nystroem method (Williams and Seeger 2001), as in scikit-learn's `Nystroem`. A head
    that is linear in these similarities is not linear in the features, and is better if there are thousands of images.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES
from ..threads import cpu_count, single_threaded_blas
from .logits import to_probabilities

IDENTITY, SQRT, RBF = "identity", "sqrt", "rbf"

_LANDMARKS, _LANDMARKS_IMAGES = 448, 25_000
"""Number of landmarks of the transform "rbf" with this many images or more."""

_GAMMA = 1.5
"""The kernel's gamma, as a multiple of the inverse of the mean squared distance between two images."""

RIDGE = 1e-4
"""Added to the diagonal of the landmarks' kernel matrix, which is 1, because two landmarks may be almost equal."""

_BLOCK = 256
"""Number of rows in a block; each block is one task of a thread."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """The Gaussian kernel between rows and landmarks.

    Parameters
    ----------
    landmarks : ndarray of shape (m, 2048), float32
        Rows of length 1.
    gamma : float
    """

    landmarks: NDArray[np.float32]
    gamma: float

    def compare(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the kernel between rows, of shape (n, 2048) and norm 1 (or 0), and the landmarks: (n, m), float32."""
        similarity = np.empty((len(rows), len(self.landmarks)), np.float32)
        # The rows are nearly parallel: centring them keeps the precision of their distances in float32.
        centre = self.landmarks.mean(axis=0)
        landmarks = self.landmarks - centre
        lengths = np.square(landmarks).sum(axis=1)

        def compare_block(start: int) -> None:
            rest, first = start + _BLOCK, start if rows is self.landmarks else 0  # the similarity is then symmetric
            block = rows[start:rest] - centre
            out = np.matmul(block, landmarks[first:].T, out=similarity[start:rest, first:])
            out *= 2
            out -= np.square(block).sum(axis=1, keepdims=True) + lengths[first:]
            out *= self.gamma
            np.exp(out, out=out)
            if rows is self.landmarks:
                similarity[rest:, start:rest] = similarity[start:rest, rest:].T

        with single_threaded_blas(scipy=False) as threads:
            list(threads.map(compare_block, range(0, len(rows), _BLOCK)))
        return similarity


def view_average(features: NDArray[np.float32], transform: str) -> NDArray[np.float32]:
    """Average the views, or their square roots; for "rbf" also normalise the averages to length 1.

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

    with ThreadPoolExecutor(cpu_count()) as threads:
        list(threads.map(average_block, range(0, len(features), _BLOCK)))
    return average


@dataclass(frozen=True, eq=False)
class Design:
    """The design matrix of a logistic regression, and the penalty on its coefficients.

    Parameters
    ----------
    matrix : ndarray of shape (n, d + 1), float32
        The averages, or the similarities to landmarks or basis, minus a mean; the last column is 1.
    mean : ndarray of shape (d,) or (2048,), float64
        The mean of the averages or similarities, which was subtracted; with a basis, that of the averages.
    penalty : ndarray of shape (d + 1, d + 1), float64
        ``coefficients @ penalty @ coefficients`` is the squared norm; zero for the intercept.
    kernel : Kernel or None
        The kernel of the transform "rbf"; None for other transforms.
    basis : ndarray of shape (2048, d), float32, or None
        For other transforms with fewer images than features: the columns whose combination the coefficients are.
    """

    matrix: NDArray[np.floating]
    mean: NDArray[np.float64]
    penalty: NDArray[np.float64]
    kernel: Kernel | None = None
    basis: NDArray[np.float32] | None = None

    def first(self, rows: NDArray[np.bool_], landmarks: int) -> "Design":
        """Return the design of "rbf" of some rows, with the first landmarks, centred by their mean."""
        kept = np.append(np.arange(landmarks), -1)
        matrix, penalty = self.matrix[np.ix_(rows, kept)], self.penalty[np.ix_(kept, kept)]
        mean = penalty[:-1, :-1].mean(axis=0)
        matrix[:, :-1] += (self.mean[:landmarks] - mean).astype(np.float32)
        kernel = self.kernel and replace(self.kernel, landmarks=self.kernel.landmarks[:landmarks])
        return Design(matrix, mean, penalty, kernel)


def are_few(images: int) -> bool:
    """Return whether these are fewer images than features, so that heads are fitted in the images' own space."""
    return images < N_FEATURES


def landmark_count(images: int) -> int:
    """Return how many landmarks are used for this many images: all images, if they are few.

    With more images, fewer landmarks lose less; the number is a compromise with the time and the size of the files.
    """
    if are_few(images):
        return images
    return round(_LANDMARKS * max(1.0, math.sqrt(_LANDMARKS_IMAGES / images)))


def linear_design(features: NDArray[np.float32], transform: str, basis_rows: NDArray[np.intp] | None = None) -> Design:
    """Return the design of the transform "identity" or "sqrt", whose coefficients combine the basis rows if given."""
    rows = view_average(features, transform)
    mean = (rows if basis_rows is None else rows[basis_rows]).mean(axis=0, dtype=np.float64)
    if basis_rows is None:
        return Design(_centred(rows, mean), mean, np.pad(np.eye(N_FEATURES), (0, 1)))
    rows -= mean.astype(np.float32)
    basis = rows[basis_rows].T
    products = basis.T @ basis
    rest = products[np.argsort(basis_rows)] if len(basis_rows) == len(rows) else rows @ basis
    # The rows have mean zero, and so have the products.
    return Design(_centred(rest, np.zeros(len(basis_rows))), mean, _penalty(products), basis=basis)


def kernel_design(features: NDArray[np.float32], landmarks: NDArray[np.intp]) -> Design:
    """Return the design of the transform "rbf"; `landmarks` are indices of rows of the features."""
    rows = view_average(features, RBF)
    average = rows.mean(axis=0, dtype=np.float64)
    squared_distance = 2 * max(1 - float(average @ average), 1e-6)  # mean over pairs of rows of length 1
    kernel = Kernel(rows[landmarks], _GAMMA / squared_distance)
    # Computed in their order, as not even rounding errors should depend on the order of the rows.
    similarities = kernel.compare(kernel.landmarks)
    penalty = _penalty(similarities)
    similarities = similarities[np.argsort(landmarks)] if len(landmarks) == len(rows) else kernel.compare(rows)
    penalty[np.diag_indices(len(landmarks))] = 1 + RIDGE
    mean = penalty[:-1, :-1].mean(axis=0)
    return Design(_centred(similarities, mean), mean, penalty, kernel)


def _penalty(products: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return a symmetric penalty from products of all pairs, with zeros for the intercept."""
    count = len(products)
    penalty = np.zeros((count + 1, count + 1))
    np.add(products, products.T, out=penalty[:-1, :-1], dtype=np.float64)
    penalty /= 2
    return penalty


def _centred(rows: NDArray[np.float32], mean: NDArray[np.float64]) -> NDArray[np.float32]:
    matrix = np.empty((len(rows), rows.shape[1] + 1), np.float32)
    np.subtract(rows, mean.astype(np.float32), out=matrix[:, :-1])
    matrix[:, -1] = 1
    return matrix


@dataclass(frozen=True, eq=False)
class Classifier:
    """The classifier of a head, which computes logits and probabilities from features.

    Parameters
    ----------
    transform : str
        Transform of the features: "identity", "sqrt" or "rbf".
    coefficients : ndarray of shape (2048,) or (landmarks,), float64
        Coefficients of the averages, or of the similarities to the landmarks.
    intercept : float
    kernel : Kernel or None
        The kernel of the transform "rbf"; None for other transforms.
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
        """Return the probability of class 1, of shape (n,), by `to_probabilities` of the logits."""
        return to_probabilities(self.logits(features))
