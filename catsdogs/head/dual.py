"""Fit many logistic regressions on fewer rows than features together, in the rows' own space.

The coefficients of a ridge regression are a combination of its training rows (Schoelkopf, Herbrich and Smola 2001, the
representer theorem), so the products of all pairs of rows, the Gram matrix, are all that a fit needs. The method is
truncated Newton. Conjugate gradients in the norm of the penalty need no preconditioner, and take one product with the
Gram matrix for each iteration, which serves all folds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..threads import single_threaded_blas
from .solver import Blocks, Matrix, Solution, ratio

_FORCING = 0.1
"""Conjugate gradients stop when the norm of the residual has fallen by this factor."""

_MAX_STEPS, _MAX_PRODUCTS, _MAX_HALVINGS = 60, 200, 12
"""Maximum number of Newton steps, of products in a step, and of halvings of a step."""

_ROUNDING = 32
"""Relative increase of an objective that counts as rounding error, in units of the dtype's epsilon."""


@dataclass(frozen=True, eq=False)
class DualProblem:
    """Minimise ``sum(weights * log loss) + coefficients @ gram @ coefficients / (2 C)`` for each column.

    The logits are ``gram @ coefficients + intercept``.

    Parameters
    ----------
    gram : ndarray of shape (n, n), float32 or float64
        Symmetric and positive semidefinite; its rows and columns have mean zero.
    labels : ndarray of shape (n,), int8
        0 or 1.
    weights : ndarray of shape (n, k), bool
        Rows that each column is fitted on.
    """

    gram: Matrix
    labels: NDArray[np.int8]
    weights: NDArray[np.bool_]


def centred_gram(gram: Matrix) -> Matrix:
    """Return the Gram matrix of the rows after subtracting their mean."""
    mean = gram.mean(axis=0)
    centred = gram - mean
    centred += mean.mean() - mean[:, np.newaxis]
    return np.asarray(centred)


def minimise_dual(problem: DualProblem, c: float, start: Solution | None = None, *, tolerance: float) -> Solution:
    """Fit every column.

    Parameters
    ----------
    problem : DualProblem
    c : float
        Inverse of the strength of the penalty.
    start : Solution, optional
        Solution of the same rows with another `c`, or with other weights.
    tolerance : float
        As for `solver.minimise`.

    Returns
    -------
    Solution
        Coefficients of shape (n + 1, k), the last of which is the intercept. The others sum to zero.
    """
    from scipy.special import expit

    dtype, k = problem.gram.dtype, problem.weights.shape[1]
    coefficients = np.zeros((len(problem.gram) + 1, k), dtype) if start is None else start.coefficients.astype(dtype)
    labels, weights = problem.labels[:, np.newaxis].astype(dtype), problem.weights.astype(dtype)
    inverse_c, rounding = dtype.type(1 / c), 1 + _ROUNDING * np.finfo(dtype).eps

    def objective(coefficients: Matrix, logits: Matrix) -> NDArray[np.float64]:
        penalties = coefficients[:-1] * (logits - coefficients[-1]) * (inverse_c / 2)
        return np.asarray((weights * (np.logaddexp(0, logits) - labels * logits) + penalties).sum(axis=0, dtype=float))

    with single_threaded_blas() as threads:
        gram = Blocks(problem.gram, threads)
        logits = gram.times(coefficients[:-1]) + coefficients[-1]
        lowest = objective(coefficients, logits)
        for _ in range(_MAX_STEPS):
            probabilities = expit(logits)
            excess, spread = (probabilities - labels) * weights, probabilities * (1 - probabilities) * weights
            step, change, decrement = _newton_step(gram, excess, spread, coefficients, inverse_c)
            relative = float((decrement / lowest).max() / 2)
            fraction = np.ones(k, dtype)
            for _ in range(_MAX_HALVINGS):
                moved = coefficients + fraction * step, logits + fraction * change
                worse = (found := objective(*moved)) > lowest * rounding
                if not worse.any():
                    break
                fraction = np.where(worse, fraction / 2, fraction)
            else:
                break  # the precision of the dtype is reached
            (coefficients, logits), lowest = moved, found
            if relative <= tolerance:
                break
    coefficients[:-1] -= coefficients[:-1].mean(axis=0)
    return Solution(coefficients, logits, hessian=None)


def _newton_step(
    gram: Blocks, excess: Matrix, spread: Matrix, coefficients: Matrix, inverse_c: np.floating
) -> tuple[Matrix, Matrix, Matrix]:
    """Return the step of the coefficients, the change of the logits, and the squared Newton decrement.

    The inner product of two vectors u and v is ``u @ image(v)``, the penalty's own: in it the penalty's Hessian is a
    multiple of the identity. The intercept counts as the coefficient of one more row, which is scaled like the penalty.
    """
    scale = inverse_c / np.maximum(spread.sum(axis=0), np.finfo(spread.dtype).tiny ** 0.5)

    def image(vector: Matrix) -> Matrix:
        return np.vstack([gram.times(vector[:-1]), scale * vector[-1]])

    gradient = np.vstack([excess + inverse_c * coefficients[:-1], excess.sum(axis=0)])
    direction = residual = -gradient
    along = image(residual)
    squared = first = (residual * along).sum(axis=0)
    step, change = np.zeros_like(residual), np.zeros_like(residual)
    for _ in range(_MAX_PRODUCTS):
        of_losses = spread * (along[:-1] + along[-1])
        curved = np.vstack([of_losses + inverse_c * direction[:-1], of_losses.sum(axis=0)])
        length = ratio(squared, (along * curved).sum(axis=0))
        step, change, residual = step + length * direction, change + length * along, residual - length * curved
        of_residual = image(residual)
        before, squared = squared, (residual * of_residual).sum(axis=0)
        if not (squared > _FORCING**2 * first).any():
            break
        turn = ratio(squared, before)
        direction, along = residual + turn * direction, of_residual + turn * along
    step[-1] *= scale
    return step, change[:-1] + change[-1], -(gradient * change).sum(axis=0)
