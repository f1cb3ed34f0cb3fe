"""Fit the regularisation path of one transform: the heads of all folds, for several values of C."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .designs import RBF, Design, are_few, kernel_design, landmark_count, linear_design
from .dual import DualProblem, centred_gram, minimise_dual
from .folds import FOLDS, TrainingSet
from .logits import log_losses
from .metrics import log_loss
from .solver import Matrix, Problem, Solution, minimise

_START_C, _START_IMAGES = 1000.0, 1000
"""Usual C, divided by the mean squared length of a row, with this many images or fewer. With more, the best C decreases
by about the same factor. A path starts one step below it, as it takes fewer fits from below than from above."""

_STEP, _FINE_STEP = 2, 1
"""Step of a path, and step next to its lowest point, in quarters of a decade."""

_MAX_RISES, _STOP_RATIO = 2, 1.01
"""A path ends after this many steps in a row without a lower loss, or when a loss exceeds the lowest by this factor."""

_MIN_GAIN = 1e-4
"""A path to stronger regularisation also ends where the loss decreases by less than this fraction: if the features are
not informative, the best head is a constant, to which ever stronger regularisation only comes nearer."""

_MAX_FITS = 24
"""Maximum number of fits of a path."""

_WRONG = 0.25
"""C is selected as if this many more images had the wrong label."""

_PATH_TOLERANCE, _FINAL_TOLERANCE = 1e-3, 1e-9
_DUAL_PATH_TOLERANCE, _DUAL_ROUGH_TOLERANCE, _DUAL_FINAL_TOLERANCE = 1e-2, 1e-5, 1e-7
"""Tolerances of fits: along a path, where log losses are compared in their fourth digit, and for the selected C, which
a dual problem fits in float32 to the rough tolerance first. Its fits end about a hundred times closer than their
tolerance, which is the distance before the last step."""


def selection_loss(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> float:
    """Return the log loss by which transform and C are selected.

    A quarter of an image with the wrong label, spread over all images, is added to the mean. Few images may all be
    classified correctly, and the head that is most confident would then seem the best one.
    """
    losses, opposite = log_losses(labels, logits), log_losses(1 - labels, logits)
    return float(losses.mean() + _WRONG / len(labels) * opposite.mean())


_FOLDS_OUT = tuple((fold,) for fold in range(FOLDS))


class RegularisationPath:
    """The out-of-fold log losses of one transform by C. Each fit starts from the nearest one.

    Parameters
    ----------
    training_set : TrainingSet
    transform : str
        "identity", "sqrt" or "rbf".
    size : int, optional
        Maximum number of images to train each fold on, the first in `order`.
    design : Design, optional
        The design, if it is known.
    """

    def __init__(
        self, training_set: TrainingSet, transform: str, *, size: int | None = None, design: Design | None = None
    ) -> None:
        self._given, self._transform, self._size = training_set, transform, size or len(training_set.labels)
        self.design, self._problem, self._rows = _problem(training_set, transform, self._size, _FOLDS_OUT, design)
        self._solutions: dict[int, Solution] = {}
        self._points: dict[int, tuple[float, float]] = {}
        usual = _START_C / (_squared_length(self._problem) or 1.0) * min(1.0, _START_IMAGES / len(self._rows))
        self._start = _STEP * round(np.log10(usual) * 4 / _STEP - 1)

    def first(self, kept: NDArray[np.bool_]) -> "RegularisationPath":
        """Return the path of the first images in `order`, which are given; in the dual, it has a part of the kernel."""
        design = None
        if isinstance(self._problem, DualProblem):
            design = self.design.first(kept, int(kept[self._rows].sum()))
        return RegularisationPath(self._given.subset(kept), self._transform, design=design)

    @property
    def lowest(self) -> float:
        """The lowest `selection_loss`."""
        return min((loss for loss, _ in self._points.values()), default=np.inf)

    @property
    def best(self) -> int:
        """Where the loss is lowest, in quarters of a decade of C."""
        return min(self._points, key=lambda at: (self._points[at], at))

    @property
    def points(self) -> tuple[tuple[float, float], ...]:
        """Pairs of C and its log loss, in ascending order of C."""
        return tuple((to_c(at), loss) for at, (_, loss) in sorted(self._points.items()))

    def search(self, *, enough: float = 0.0) -> None:
        """Increase C until the loss increases; then decrease it from the start, if the start has the lowest loss.

        Parameters
        ----------
        enough : float
            A loss that is low enough to end the search.
        """
        self._walk(self._start, _STEP, enough)
        if self.best == self._start:
            self._walk(self._start - _STEP, -_STEP, enough)

    def refine(self) -> None:
        """Fit between the best C and its better neighbour."""
        best = self.best
        below, above = (self._points.get(best + step, (np.inf,)) for step in (-_STEP, _STEP))
        self.fit(best - _FINE_STEP if below < above else best + _FINE_STEP)

    def final_fit(self) -> tuple[Solution, NDArray[np.float64]]:
        """Fit the best C with a small tolerance, and return the solution and the out-of-fold logits."""
        at, problem = self.best, self._problem
        if isinstance(problem, DualProblem):
            rough = minimise_dual(problem, to_c(at), self._solutions[at], tolerance=_DUAL_ROUGH_TOLERANCE)
            exact = replace(problem, gram=problem.gram.astype(np.float64))
            solution = minimise_dual(exact, to_c(at), rough, tolerance=_DUAL_FINAL_TOLERANCE)
        else:
            solution = minimise(problem, to_c(at), self._solutions[at], tolerance=_FINAL_TOLERANCE)
        self._solutions[at] = solution
        return solution, self.out_of_fold(at)

    def out_of_fold(self, at: int) -> NDArray[np.float64]:
        """Return the out-of-fold logits with a C of the path, in quarters of a decade."""
        of_folds = _logits(self.design, self._solutions[at], self._rows)
        return np.asarray(of_folds[np.arange(len(of_folds)), self._given.folds], np.float64)

    def inner_logits(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Score each image by heads that were trained without its fold and without another one.

        A pair of folds is left out by one head, which serves both. So nested cross-validation takes ten heads for each
        C, and not 25.

        Yields
        ------
        at : int
            C, as in `best`, in ascending order.
        logits : ndarray of shape (n, 5), float64
            In column k of heads that were not trained on fold k; NaN in the rows of fold k.
        """
        folds, pairs = self._given.folds, tuple(combinations(range(FOLDS), 2))
        known = self.design if isinstance(self._problem, DualProblem) else None
        design, problem, rows = _problem(self._given, self._transform, self._size, pairs, known)
        solution = None
        for at in sorted(self._points):
            solution = _fit(problem, to_c(at), solution)
            scores, logits = _logits(design, solution, rows), np.full((len(folds), FOLDS), np.nan)
            for column, (one, other) in enumerate(pairs):
                logits[folds == one, other] = scores[folds == one, column]
                logits[folds == other, one] = scores[folds == other, column]
            yield at, logits

    def _walk(self, at: int, step: int, enough: float) -> None:
        risen = 0
        while risen < _MAX_RISES and len(self._points) < _MAX_FITS and self.lowest > enough:
            before = self.lowest
            self.fit(at)
            if step < 0 and self._points[at][0] > (1 - _MIN_GAIN) * before:
                break
            rose = self._points[at][0] > _STOP_RATIO * self.lowest
            risen = 0 if at == self.best else _MAX_RISES if rose else risen + 1
            at += step

    def fit(self, at: int) -> None:
        """Fit C of `at` quarters of a decade."""
        nearest = min(self._solutions, key=lambda other: abs(other - at), default=None)
        start = None if nearest is None else self._solutions[nearest]
        self._solutions[at] = _fit(self._problem, to_c(at), start)
        labels, logits = self._given.labels, self.out_of_fold(at)
        self._points[at] = selection_loss(labels, logits), log_loss(labels, logits)


def to_c(quarters: int) -> float:
    """Return C from quarters of a decade."""
    return float(f"{10 ** (quarters / 4):.4g}")


def _squared_length(problem: Problem | DualProblem) -> float:
    """Return the mean squared length of a row."""
    if isinstance(problem, DualProblem):
        return float(problem.gram.diagonal().mean())
    return float(np.square(problem.matrix[:, :-1]).mean() * (problem.matrix.shape[1] - 1))


def _fit(problem: Problem | DualProblem, c: float, start: Solution | None) -> Solution:
    if isinstance(problem, DualProblem):
        return minimise_dual(problem, c, start, tolerance=_DUAL_PATH_TOLERANCE)
    return minimise(problem, c, start, tolerance=_PATH_TOLERANCE)


def _logits(design: Design, solution: Solution, rows: NDArray[np.intp]) -> Matrix:
    """Return the logits of all rows; the solution has those of the given rows, which were used."""
    logits = np.empty((len(design.matrix), solution.logits.shape[1]))
    if len(rows) < len(logits):
        np.matmul(design.matrix, solution.coefficients, out=logits)
    logits[rows] = solution.logits
    return logits


def _weights(training_set: TrainingSet, size: int, out: Sequence[tuple[int, ...]]) -> NDArray[np.bool_]:
    """Return which rows are used by each column, which leaves out some folds: at most `size`, the first in `order`."""
    order = training_set.order
    weights = np.stack([~np.isin(training_set.folds, folds) for folds in out], axis=1)
    weights &= training_set.train_mask[:, np.newaxis]
    weights[order] &= weights[order].cumsum(axis=0) <= size
    return weights


def _problem(
    training_set: TrainingSet,
    transform: str,
    size: int,
    out: Sequence[tuple[int, ...]],
    design: Design | None = None,
) -> tuple[Design, Problem | DualProblem, NDArray[np.intp]]:
    """Return the design, the problem with one column for each tuple of folds to leave out, and which rows it has."""
    features, order, weights = training_set.features, training_set.order, _weights(training_set, size, out)
    used = np.asarray(weights.any(axis=1))
    rows, labels = np.flatnonzero(used), training_set.labels
    if are_few(len(rows)):
        rows = order[used[order]]  # so that not even rounding errors depend on the order of the images
        if design is None:
            design = kernel_design(features, rows) if transform == RBF else linear_design(features, transform, rows)
        gram = centred_gram(design.penalty[:-1, :-1]).astype(np.float32)
        return design, DualProblem(gram, labels[rows], weights[rows]), rows
    if transform == RBF:
        # The landmarks of a column are among its training images: the images it scores have no influence on the fit.
        ordered = weights[order]
        first = ordered & (ordered.cumsum(axis=0) <= landmark_count(len(rows)))
        chosen = first.any(axis=1)
        design = kernel_design(features, order[chosen])
        free = np.vstack([first[chosen], np.ones((1, len(out)), bool)])
    else:
        design = linear_design(features, transform)
        free = np.ones((len(design.penalty), len(out)), bool)
    matrix = design.matrix if used.all() else design.matrix[used]
    return design, Problem(matrix, labels[rows], weights[rows], design.penalty, free), rows
