"""Fit many logistic regressions on the same rows together, each with its own weights of the rows.

The method is truncated Newton: conjugate gradients compute each Newton step (Nocedal and Wright, Numerical
Optimization, 2006, chapter 7.1). The preconditioner is one Hessian that all columns share, as the Hessian of each fold
is about four fifths of it. So a step needs few matrix products, and one product serves all folds: it is bound by memory
bandwidth, and takes hardly longer than the product for one fold.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..threads import cpu_count, single_threaded_blas

_FORCING = 0.01
"""Conjugate gradients stop when the preconditioned squared norm of the residual has fallen by this factor."""

_MAX_PRODUCTS_TO_REUSE = 6
"""If a step took more products than this, the Hessian is computed again; it costs about as much as these products."""

_MAX_STEPS, _MAX_PRODUCTS, _MAX_HALVINGS = 60, 40, 12
"""Maximum number of Newton steps, of products in a step, and of halvings of a step."""

_SAMPLE_SIZE = 3000
"""Approximate number of rows for a rough first fit, if there are at least four times as many."""

_SAMPLE_TOLERANCE = 1e-2
"""Tolerance of the rough first fit."""

_JITTERS = 1e-6, 1e-4, 1e-2
"""Fractions of the mean diagonal of the Hessian to add to its diagonal, until it has a Cholesky factor in float32. The
Hessian is only the preconditioner, so this does not change the solution."""

_CHUNK_ROWS = 128
"""Rows in one matrix product: with five columns, this takes half the time of one product of all rows."""

_MIN_BLOCK = 2**18
"""Smallest size of a thread's block of the matrix: with less, waiting for the threads takes longer."""

_ROUNDING = 32
"""Relative increase of an objective that counts as rounding error, in units of the dtype's epsilon."""

Matrix = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Problem:
    """Minimise, for each column, ``sum(weights * log loss) + coefficients @ penalty @ coefficients / (2 C)``.

    Parameters
    ----------
    matrix : ndarray of shape (n, d + 1), float32 or float64
        The rows, with mean zero; the last column is 1, for the intercept.
    labels : ndarray of shape (n,), int8
        0 or 1.
    weights : ndarray of shape (n, k), bool
        Rows that each column is fitted on.
    penalty : ndarray of shape (d + 1, d + 1)
        Symmetric and positive definite, except for the last row and column, which are zero.
    free : ndarray of shape (d + 1, k), bool
        Coefficients that each column fits; the others stay zero.
    """

    matrix: Matrix
    labels: NDArray[np.int8]
    weights: NDArray[np.bool_]
    penalty: Matrix
    free: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Solution:
    """The result of a fit, and the start of the next one.

    Parameters
    ----------
    coefficients : ndarray of shape (d + 1, k)
    logits : ndarray of shape (n, k)
        Logits of all rows.
    hessian : ndarray or None
        None if the coefficients are from another problem.
    """

    coefficients: Matrix
    logits: Matrix
    hessian: Matrix | None


def start_from(coefficients: Matrix) -> Solution:
    """Return a start for a fit from coefficients of another problem, of shape (d + 1, k)."""
    return Solution(coefficients, logits=coefficients[:0], hessian=None)


def minimise(problem: Problem, c: float, start: Solution | None = None, *, tolerance: float) -> Solution:
    """Fit every column.

    Parameters
    ----------
    problem : Problem
    c : float
        Inverse of the strength of the penalty.
    start : Solution, optional
        Solution of the same problem with another `c`.
    tolerance : float
        The fit stops after a step that started at most about this far above the minimum, relative to the objective, in
        the worst column. The distance is estimated by half the squared Newton decrement.

    Returns
    -------
    Solution
        It may be less exact than `tolerance` if the dtype limits it.
    """
    with single_threaded_blas() as threads:
        return _minimise(problem, c, start or _initial(problem, c), tolerance, threads)


def _minimise(problem: Problem, c: float, start: Solution, tolerance: float, threads: ThreadPoolExecutor) -> Solution:
    from scipy.special import expit

    matrix, dtype = Blocks(problem.matrix, threads), problem.matrix.dtype
    penalty, labels = (problem.penalty / c).astype(dtype), problem.labels[:, np.newaxis].astype(dtype)
    weights = problem.weights.astype(dtype)
    coefficients, hessian = start.coefficients, start.hessian
    logits = matrix.times(coefficients)
    outdated = hessian is None
    if hessian is not None:
        solve = _factorise(hessian + penalty, problem.free, threads)
    objective = _objective(problem, penalty, logits, coefficients)
    for _ in range(_MAX_STEPS):
        probabilities = expit(logits)
        gradient = (matrix.transposed_times((probabilities - labels) * weights) + penalty @ coefficients) * problem.free
        spread = probabilities * (1 - probabilities) * weights
        if outdated:
            hessian = matrix.squared(spread.mean(axis=1, keepdims=True))
            solve = _factorise(hessian + penalty, problem.free, threads)
        step, change, residual = np.zeros_like(coefficients), np.zeros_like(logits), -gradient
        direction = solve(residual)
        squared = first = (residual * direction).sum(axis=0)
        products = 0
        while products < _MAX_PRODUCTS and (squared > _FORCING * first).any():
            along = matrix.times(direction)
            curved = (matrix.transposed_times(spread * along) + penalty @ direction) * problem.free
            length = ratio(squared, (direction * curved).sum(axis=0))
            step, change, residual = step + length * direction, change + length * along, residual - length * curved
            products += 1
            solved = solve(residual)
            before, squared = squared, (residual * solved).sum(axis=0)
            direction = solved + ratio(squared, before) * direction
        outdated = products > _MAX_PRODUCTS_TO_REUSE
        decrement = float((-(gradient * step).sum(axis=0) / objective).max() / 2)
        fraction = np.ones(len(objective), dtype)
        for _ in range(_MAX_HALVINGS):
            moved = _objective(problem, penalty, logits + fraction * change, coefficients + fraction * step)
            worse = moved > objective * (1 + _ROUNDING * np.finfo(dtype).eps)
            if not worse.any():
                break
            fraction = np.where(worse, fraction / 2, fraction)
        else:
            break  # the precision of the dtype is reached
        coefficients, logits, objective = coefficients + fraction * step, logits + fraction * change, moved
        if decrement <= tolerance:
            break
    return Solution(coefficients, logits, hessian)


def ratio(above: Matrix, below: Matrix) -> Matrix:
    """Divide; 0 in columns that have converged."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


class Blocks:
    """A matrix in blocks of rows, with one block for each thread."""

    def __init__(self, matrix: Matrix, threads: ThreadPoolExecutor) -> None:
        rows = max(-(-len(matrix) // cpu_count()), _MIN_BLOCK // matrix.shape[1])
        self._blocks = [slice(start, min(start + rows, len(matrix))) for start in range(0, len(matrix), rows)]
        self._matrix, self._threads = matrix, threads

    def times(self, right: Matrix) -> Matrix:
        """Return ``matrix @ right``."""
        out = np.empty((len(self._matrix), right.shape[1]), right.dtype)

        def multiply(block: slice) -> None:
            for chunk in _chunks(block):
                np.matmul(self._matrix[chunk], right, out=out[chunk])

        list((map if len(self._blocks) == 1 else self._threads.map)(multiply, self._blocks))
        return out

    def transposed_times(self, right: Matrix) -> Matrix:
        """Return ``matrix.T @ right``."""
        transposed = np.ascontiguousarray(right.T)

        def multiply(block: slice) -> Matrix:
            return np.asarray(sum(transposed[:, chunk] @ self._matrix[chunk] for chunk in _chunks(block)))

        return np.asarray(sum(self._threads.map(multiply, self._blocks))).T

    def squared(self, weights: Matrix) -> Matrix:
        """Return the sum over the rows of ``weight * outer(row, row)``; weights of shape (n, 1)."""

        def square(block: slice) -> Matrix:
            scaled = self._matrix[block] * np.sqrt(weights[block])
            return np.asarray(scaled.T @ scaled)

        return np.asarray(sum(self._threads.map(square, self._blocks)))


def _chunks(block: slice) -> Iterator[slice]:
    """Divide a block into parts that fit into a core's cache: BLAS reads a matrix repeatedly if the other is narrow."""
    for start in range(block.start, block.stop, _CHUNK_ROWS):
        yield slice(start, min(start + _CHUNK_ROWS, block.stop))


def _initial(problem: Problem, c: float) -> Solution:
    """Return a start without a solution: the fit of a sample of the rows if there are many, or else zeros."""
    matrix, (n, k) = problem.matrix, problem.weights.shape
    step = n // _SAMPLE_SIZE
    if step > 3:
        few = Problem(matrix[::step], problem.labels[::step], problem.weights[::step], problem.penalty, problem.free)
        return start_from(minimise(few, c * step, tolerance=_SAMPLE_TOLERANCE).coefficients)
    return start_from(np.zeros((matrix.shape[1], k), matrix.dtype))


def _factorise(hessian: Matrix, free: NDArray[np.bool_], threads: ThreadPoolExecutor) -> Callable[[Matrix], Matrix]:
    """Return a function that solves ``hessian @ x = column`` for each column, in its free coefficients."""
    from scipy.linalg import cho_factor, cho_solve

    def factor(columns: NDArray[np.intp]) -> tuple[Any, Any]:
        kept = np.flatnonzero(free[:, columns[0]])
        block = hessian[np.ix_(kept, kept)]
        for jitter in _JITTERS:
            block[np.diag_indices(len(kept))] += jitter * block.diagonal().mean()
            with suppress(np.linalg.LinAlgError):
                return np.ix_(kept, columns), cho_factor(block, lower=True, check_finite=False)
        raise np.linalg.LinAlgError("the Hessian is not positive definite")

    columns = np.arange(free.shape[1])
    factors = list(threads.map(factor, [columns] if free.all() else columns[:, np.newaxis]))

    def solve(right: Matrix) -> Matrix:
        out = np.zeros_like(right)

        def solve_one(found: tuple[Any, Any]) -> None:
            at, factor = found
            out[at] = cho_solve(factor, right[at], check_finite=False)

        list(threads.map(solve_one, factors))
        return out

    return solve


def _objective(problem: Problem, penalty: Matrix, logits: Matrix, coefficients: Matrix) -> NDArray[np.float64]:
    losses = np.logaddexp(0, logits) - problem.labels[:, np.newaxis] * logits
    of_rows = np.where(problem.weights, losses, 0).sum(axis=0, dtype=np.float64)
    return np.asarray(of_rows + (coefficients * (penalty @ coefficients)).sum(axis=0, dtype=np.float64) / 2)
