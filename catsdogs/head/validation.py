"""Choose the transform and C with the lowest out-of-fold log loss."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress, tell
from ..threads import single_threaded_blas
from .designs import IDENTITY, LANDMARKS, RBF, SQRT, Design, kernel_design, linear_design
from .folds import FOLDS
from .metrics import log_loss
from .solver import Problem, Solution, minimise, start_from

_START = 30.0
"""The first C of the path: of a kernel, whose diagonal is 1; of others over the number of images and the features' mean
variance. The best of the data sets tried is within a decade, but where the classes are all but separable."""

_HALF_DECADE, _QUARTER = 2, 1
"""The path's steps, and those about its lowest point, in quarters of a decade."""

_RISES, _CLEARLY = 2, 1.01
"""The path ends when the loss has not fallen so often in a row, or has once risen by this factor above the lowest."""

_HARDLY = 1.001
"""By less than this factor the loss has not fallen: of what is as good, the stronger regularisation is the best."""

_WIDEST = 24
_PATH, _CHOSEN = 1e-3, 1e-9
"""Tolerance of the objective before the last step, as a share: along the path, where log losses are compared in their
fourth digit, and at its lowest point."""

_FEW, _TRIAL, _LEAD = 2100, 1e-2, 1.15
"""Images below which float64 is used, and on which a linear transform is tried where there are more; the tolerance; and
by which factor it must be ahead of the kernel there to be tried on all, as with more images the kernel gains on it."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The images that heads are trained on and scored on.

    Parameters
    ----------
    features : ndarray of shape (n, views * 2048), float32
    labels : ndarray of shape (n,), int8
        0 or 1.
    folds : ndarray of shape (n,), int8
        A row's head is trained on the rows of other folds.
    order : ndarray of shape (n,), int
        The rows in an order that is random, and follows from the images alone: landmarks are the first of it.
    train_mask : ndarray of shape (n,), bool
        Whether a row may be trained on; those that may not are scored all the same.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    folds: NDArray[np.int8]
    order: NDArray[np.intp]
    train_mask: NDArray[np.bool_]

    def subset(self, kept: NDArray[np.bool_]) -> "TrainingSet":
        """Return some of the rows."""
        order = (np.cumsum(kept) - 1)[self.order[kept[self.order]]]
        return TrainingSet(self.features[kept], self.labels[kept], self.folds[kept], order, self.train_mask[kept])


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The paths over C, and where they are lowest.

    Parameters
    ----------
    transform : str
        What becomes of the features first, as `designs` has it: that of the lowest log loss.
    C : float
        Inverse of the strength of the regularisation, as scikit-learn has it: that of the lowest log loss.
    paths : dict of str to tuple of (float, float)
        By transform: C, and the out-of-fold log loss with it, in ascending order of C.
    trials : dict of str to tuple of (float, float)
        The same on the first images alone, where there are many.
    logits : ndarray of shape (n,), float64
        Log-odds of class 1, out of fold, with what was chosen.
    design : Design
        Of the chosen transform.
    solution : Solution
        Of the folds, one a column.
    """

    transform: str
    C: float
    paths: dict[str, tuple[tuple[float, float], ...]]
    trials: dict[str, tuple[tuple[float, float], ...]]
    logits: NDArray[np.float64]
    design: Design
    solution: Solution


def cross_validate(
    training_set: TrainingSet, *, size: int | None = None, progress: Progress | None = None
) -> CrossValidation:
    """Choose the transform and C by the out-of-fold log loss.

    Each path goes from strong regularisation to weak until the loss has turned upwards, and where it was lowest at the
    start, on to the stronger side as well: the best is at no edge, unless the features tell nothing at all.

    Parameters
    ----------
    training_set : TrainingSet
    size : int, optional
        Train each fold on so many images at most, the first in their order.
    progress : callable, optional
        Told which transform is tried.

    Returns
    -------
    CrossValidation
    """
    # There are no square roots of negative features; ResNet50 has none.
    transforms = [IDENTITY] if training_set.features.min() < 0 else [RBF, SQRT, IDENTITY]
    trials: dict[str, _Path] = {}
    paths: dict[str, _Path] = {}
    with single_threaded_blas():
        if len(transforms) > 1 and min(len(training_set.labels), size or _FEW + 1) > _FEW:
            few = training_set.subset(np.isin(np.arange(len(training_set.labels)), training_set.order[:_FEW]))
            for transform in (RBF, SQRT):
                tell(progress, f"trying {transform}", len(trials), 2)
                trials[transform] = _Path(few, transform, tolerance=_TRIAL)
                trials[transform].walk()
            if trials[SQRT].lowest * _LEAD > trials[RBF].lowest:
                transforms = [RBF]
        for transform in transforms:
            tell(progress, f"choosing C, {transform}", len(paths), len(transforms))
            path = paths[transform] = _Path(training_set, transform, size=size, trial=trials.get(transform))
            path.walk()
            path.refine()
        best = min(paths, key=lambda transform: paths[transform].lowest)
        c, solution, logits = paths[best].chosen()
    tried, on_few = ({name: path.tried for name, path in of.items()} for of in (paths, trials))
    return CrossValidation(best, c, tried, on_few, logits, paths[best].design, solution)


class _Path:
    """Out-of-fold log losses of one transform by C, each fit starting from the nearest.

    Parameters
    ----------
    training_set, transform, size
        As for `cross_validate`.
    tolerance : float
        Of each fit.
    trial : _Path, optional
        A path over fewer of the rows: this one starts where it was best.
    """

    def __init__(
        self,
        training_set: TrainingSet,
        transform: str,
        *,
        size: int | None = None,
        tolerance: float = _PATH,
        trial: "_Path | None" = None,
    ) -> None:
        self._tolerance = tolerance
        self.design, self._problem, self._used = _problem(training_set, transform, size)
        self._labels, self._folds = training_set.labels, training_set.folds
        self._solutions: dict[int, Solution] = {}
        self._losses: dict[int, float] = {}
        self._first: Solution | None = None
        if trial:
            self._start = trial._best
            coefficients = trial._solutions[trial._best].coefficients
            if len(coefficients) == len(self.design.penalty):
                self._first = start_from(coefficients.astype(self._problem.matrix.dtype))
        else:
            variance = float(np.square(self.design.matrix[:, :-1]).mean()) or 1.0
            usual = _START if transform == RBF else _START / len(training_set.labels) / variance
            self._start = 2 * round(2 * np.log10(usual))

    @property
    def lowest(self) -> float:
        return min(self._losses.values())

    @property
    def tried(self) -> tuple[tuple[float, float], ...]:
        return tuple((_c(at), loss) for at, loss in sorted(self._losses.items()))

    def walk(self) -> None:
        """Go up until the loss has turned, and down where the first was the lowest."""
        self._go(self._start, _HALF_DECADE)
        if self._best == self._start:
            self._go(self._start - _HALF_DECADE, -_HALF_DECADE)

    def refine(self) -> None:
        """Look between the best and the better of its neighbours."""
        best = self._best
        below, above = (self._losses.get(best + step, np.inf) for step in (-_HALF_DECADE, _HALF_DECADE))
        self._fit(best - _QUARTER if below < above else best + _QUARTER)

    def chosen(self) -> tuple[float, Solution, NDArray[np.float64]]:
        """Return the best C, the solution with it, tightly, and the out-of-fold logits."""
        solution = minimise(self._problem, _c(self._best), self._solutions[self._best], tolerance=_CHOSEN)
        return _c(self._best), solution, self._out_of_fold(solution)

    @property
    def _best(self) -> int:
        return min(at for at, loss in self._losses.items() if loss <= _HARDLY * self.lowest)

    def _go(self, at: int, step: int) -> None:
        risen = 0
        while risen < _RISES and len(self._losses) < _WIDEST:
            self._fit(at)
            risen = 0 if at == self._best else _RISES if self._losses[at] > _CLEARLY * self.lowest else risen + 1
            at += step

    def _fit(self, at: int) -> None:
        nearest = min(self._solutions, key=lambda other: abs(other - at), default=None)
        start = self._first if nearest is None else self._solutions[nearest]
        self._solutions[at] = minimise(self._problem, _c(at), start, tolerance=self._tolerance)
        self._losses[at] = log_loss(self._labels, self._out_of_fold(self._solutions[at]))

    def _out_of_fold(self, solution: Solution) -> NDArray[np.float64]:
        of_folds = solution.logits if self._used.all() else self.design.matrix @ solution.coefficients
        return of_folds[np.arange(len(self._folds)), self._folds].astype(np.float64)


def _c(quarters: int) -> float:
    return float(f"{10 ** (quarters / 4):.4g}")


def _problem(training_set: TrainingSet, transform: str, size: int | None) -> tuple[Design, Problem, NDArray[np.bool_]]:
    """Return the design, what the folds are fitted on as one problem with a column a fold, and which rows take part."""
    weights = (training_set.folds[:, np.newaxis] != np.arange(FOLDS)) & training_set.train_mask[:, np.newaxis]
    ordered = weights[training_set.order]
    ordered &= ordered.cumsum(axis=0) <= (size or len(weights))
    weights[training_set.order] = ordered
    used = weights.any(axis=1)
    if transform == RBF:
        # A fold's landmarks are of its own training images: what is scored takes no part in the fit, not even so.
        first = ordered & (ordered.cumsum(axis=0) <= LANDMARKS)
        chosen = first.any(axis=1)
        design = kernel_design(training_set.features, training_set.order[chosen])
        free = np.vstack([first[chosen], np.ones((1, FOLDS), bool)])
    else:
        design = linear_design(training_set.features, transform)
        free = np.ones((len(design.penalty), FOLDS), bool)
    # Few images are often parted without an error; then the log loss is at its lowest where C is large, and float32 is
    # too coarse.
    matrix = design.matrix.astype(np.float64) if len(weights) < _FEW else design.matrix
    problem = Problem(matrix, training_set.labels, weights, design.penalty, free)
    if not used.all():
        problem = replace(problem, matrix=matrix[used], labels=training_set.labels[used], weights=weights[used])
    return design, problem, used
