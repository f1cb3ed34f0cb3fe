"""Fit many logistic regressions on fewer rows than features together, in the rows' own space.

The coefficients of a ridge regression are a combination of its training rows (Schoelkopf, Herbrich and Smola 2001, the
representer theorem), so the products of all pairs of rows, the Gram matrix, are all that a fit needs. The method is
truncated Newton. Conjugate gradients in the norm of the penalty need no preconditioner, and take one product with the
Gram matrix for each iteration, which serves all folds.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..threads import cpu_count, single_threaded_blas
from .solver import Matrix, Solution, ratio

_FORCING = 0.1
"""Conjugate gradients stop when the norm of the residual has fallen by this factor."""

_MAX_STEPS, _MAX_PRODUCTS, _MAX_HALVINGS = 60, 200, 12
"""Maximum number of Newton steps, of products in a step, and of halvings of a step."""

_LINE_SEARCH = 2
"""Number of Newton steps to the best length of a step, as steps far from the optimum are several times too short. Each
changes it by a factor of 4 at most, as the losses are almost linear where the logits are large."""

_MIN_SHARED = 2**21
"""Smallest size of a Gram matrix that threads share: with less, waiting for the threads takes longer."""

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
    gram, dtype = problem.gram, problem.gram.dtype
    labels, weights = problem.labels.astype(dtype), np.ascontiguousarray(problem.weights.T, dtype)
    coefficients = np.zeros((len(weights), len(gram) + 1), dtype)
    if start:
        coefficients[:] = start.coefficients.T
    inverse_c, rounding = dtype.type(1 / c), 1 + _ROUNDING * np.finfo(dtype).eps

    def objective(coefficients: Matrix, logits: Matrix) -> NDArray[np.float64]:
        penalties = coefficients[:, :-1] * (logits - coefficients[:, -1:]) * (inverse_c / 2)
        return np.asarray((weights * (np.logaddexp(0, logits) - labels * logits) + penalties).sum(axis=1, dtype=float))

    with single_threaded_blas() as threads:
        product = partial(_product, gram, threads)
        logits = product(coefficients[:, :-1]) + coefficients[:, -1:]
        lowest = objective(coefficients, logits)
        for _ in range(_MAX_STEPS):
            excess, spread = _derivatives(logits, labels, weights)
            step, change, decrement = _newton_step(product, excess, spread, coefficients, inverse_c)
            close = decrement / lowest / 2 <= tolerance
            penalties = inverse_c * (change - step[:, -1:])
            slope, curvature = _inner(coefficients[:, :-1], penalties), _inner(step[:, :-1], penalties)
            fraction = np.ones_like(slope)
            for _ in range(_LINE_SEARCH):
                excess, spread = _derivatives(logits + fraction * change, labels, weights)
                bend = _inner(spread, change * change) + curvature
                best = fraction - ratio(_inner(excess, change) + slope + curvature * fraction, bend)
                fraction = np.clip(best, fraction / 4, fraction * 4)
            for _ in range(_MAX_HALVINGS):
                moved = coefficients + fraction * step, logits + fraction * change
                worse = (found := objective(*moved)) > lowest * rounding
                if not worse.any():
                    break
                fraction[worse] /= 2
            better = ~worse  # the others have reached the precision of the dtype
            coefficients[better], logits[better], lowest[better] = moved[0][better], moved[1][better], found[better]
            if close[better].all():
                break
    coefficients[:, :-1] -= coefficients[:, :-1].mean(axis=1, keepdims=True)
    return Solution(coefficients.T, logits.T, hessian=None)


def _derivatives(logits: Matrix, labels: Matrix, weights: Matrix) -> tuple[Matrix, Matrix]:
    """Return the first and second derivatives of the weighted log losses by the logits."""
    from scipy.special import expit

    probabilities = expit(logits)
    return (probabilities - labels) * weights, probabilities * (1 - probabilities) * weights


def _product(gram: Matrix, threads: ThreadPoolExecutor, rows: Matrix) -> Matrix:
    """Return ``rows @ gram``, which is faster than the product of the Gram matrix and columns."""
    if gram.size < _MIN_SHARED:
        return rows @ gram
    blocks = np.array_split(np.arange(len(gram)), cpu_count())
    return np.hstack(list(threads.map(lambda block: rows @ gram[:, block[0] : block[-1] + 1], blocks)))


def _newton_step(
    product: Callable[[Matrix], Matrix], excess: Matrix, spread: Matrix, coefficients: Matrix, inverse_c: np.floating
) -> tuple[Matrix, Matrix, Matrix]:
    """Return the step of the coefficients, the change of the logits, and the squared Newton decrement.

    The inner product of two vectors u and v is ``u @ image(v)``, the penalty's own: in it the penalty's Hessian is a
    multiple of the identity. The intercept counts as the coefficient of one more row, which is scaled like the penalty.

    A constant added to all coefficients changes nothing, as the rows have mean zero. So none is: with rounding errors
    it would grow, without limit if the penalty is weak.
    """
    scale = inverse_c / np.maximum(spread.sum(axis=1, keepdims=True), np.finfo(spread.dtype).tiny ** 0.5)

    def image(vector: Matrix) -> Matrix:
        return np.hstack([product(vector[:, :-1]), scale * vector[:, -1:]])

    gradient = _with_intercept(excess, inverse_c * coefficients[:, :-1])
    direction = residual = -gradient
    along = image(residual)
    squared = first = _inner(residual, along)
    step, change = np.zeros_like(residual), np.zeros_like(residual)
    for _ in range(_MAX_PRODUCTS):
        of_losses = spread * (along[:, :-1] + along[:, -1:])
        curved = _with_intercept(of_losses, inverse_c * direction[:, :-1])
        length = ratio(squared, _inner(along, curved))
        step, change, residual = step + length * direction, change + length * along, residual - length * curved
        of_residual = image(residual)
        before, squared = squared, _inner(residual, of_residual)
        if not (squared > _FORCING**2 * first).any():
            break
        turn = ratio(squared, before)
        direction, along = residual + turn * direction, of_residual + turn * along
    step[:, -1:] *= scale
    return step, change[:, :-1] + change[:, -1:], -_inner(gradient, change)[:, 0]


def _with_intercept(of_losses: Matrix, of_penalty: Matrix) -> Matrix:
    """Return the sum of two derivatives by the coefficients, with mean zero, and beside it that by the intercept."""
    total = of_losses + of_penalty
    return np.hstack([total - total.mean(axis=1, keepdims=True), of_losses.sum(axis=1, keepdims=True)])


def _inner(one: Matrix, other: Matrix) -> Matrix:
    """Return the inner products of the rows, of shape (k, 1)."""
    return np.asarray(np.einsum("ij,ij->i", one, other)[:, np.newaxis])
