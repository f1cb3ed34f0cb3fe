"""Select the transform and C with the lowest out-of-fold log loss."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress, tell
from ..threads import single_threaded_blas
from .designs import IDENTITY, LANDMARKS, RBF, SQRT, Design, kernel_design, linear_design
from .folds import FOLDS
from .metrics import log_loss
from .solver import Problem, Solution, minimise, start_from

_START_C = 30.0
"""First C of a path for "rbf", whose kernel has the diagonal 1. For other transforms it is divided by the number of
images and by the mean variance of the features. On the data sets tried, the best C was within a decade of it, unless
the classes were almost separable."""

_STEP, _FINE_STEP = 2, 1
"""Step of a path, and step next to its lowest point, in quarters of a decade."""

_MAX_RISES, _STOP_RATIO = 2, 1.01
"""A path ends after this many steps in a row without a lower loss, or when a loss exceeds the lowest by this factor."""

_TIE_RATIO = 1.001
"""Losses within this factor of the lowest count as equal, and the strongest regularisation among them is selected."""

_MAX_FITS = 24
"""Maximum number of fits of a path."""

_PATH_TOLERANCE, _FINAL_TOLERANCE = 1e-3, 1e-9
"""Tolerances of fits: along a path, where log losses are compared in their fourth digit, and for the selected C."""

_TRIAL_SIZE, _TRIAL_TOLERANCE, _MIN_LEAD = 2100, 1e-2, 1.15
"""With fewer images than the trial size, fits use float64. With more, "rbf" and "sqrt" are first tried on that number
of images. Then "sqrt" and "identity" are fitted on all images only if the log loss of "rbf" in the trial is at least
`_MIN_LEAD` times that of "sqrt", because "rbf" improves more with more images."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The labelled images that heads are trained and scored on.

    Parameters
    ----------
    features : ndarray of shape (n, views * 2048), float32
    labels : ndarray of shape (n,), int8
        0 or 1.
    folds : ndarray of shape (n,), int8
        A row is scored by the head that is trained on the rows of other folds.
    order : ndarray of shape (n,), int
        The rows in a random order that depends on the images alone; landmarks are the first rows in it.
    train_mask : ndarray of shape (n,), bool
        Whether heads are trained on a row; all rows are scored.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    folds: NDArray[np.int8]
    order: NDArray[np.intp]
    train_mask: NDArray[np.bool_]

    def subset(self, kept: NDArray[np.bool_]) -> "TrainingSet":
        """Return the training set of some of the rows."""
        order = (np.cumsum(kept) - 1)[self.order[kept[self.order]]]
        return TrainingSet(self.features[kept], self.labels[kept], self.folds[kept], order, self.train_mask[kept])


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The regularisation paths, and the selected transform and C.

    Parameters
    ----------
    transform : str
        Selected transform of the features (see `designs`), which has the lowest log loss.
    C : float
        Selected inverse regularisation strength, as in scikit-learn.
    paths : dict of str to tuple of (float, float)
        Pairs of C and its out-of-fold log loss by transform, in ascending order of C.
    trials : dict of str to tuple of (float, float)
        The same for the trials on the first images; empty if there are few images.
    logits : ndarray of shape (n,), float64
        Log-odds of class 1, out of fold, with the selected transform and C.
    design : Design
        Design of the selected transform.
    solution : Solution
        Solution of the selected C, with one column for each fold.
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
    """Select the transform and C by the out-of-fold log loss.

    Each path goes from strong to weak regularisation until the loss increases. If its start has the lowest loss, it
    also goes from there to stronger regularisation. So the best C is not at an end of the path, unless the features are
    not informative at all.

    Parameters
    ----------
    training_set : TrainingSet
    size : int, optional
        Maximum number of images to train each fold on, the first in `order`.
    progress : callable, optional
        Called with the transform that is being fitted.

    Returns
    -------
    CrossValidation
    """
    # ResNet50's features are not negative, but other features may be and have no square root then.
    transforms = [IDENTITY] if training_set.features.min() < 0 else [RBF, SQRT, IDENTITY]
    trials: dict[str, _Path] = {}
    paths: dict[str, _Path] = {}
    with single_threaded_blas():
        if len(transforms) > 1 and min(len(training_set.labels), size or _TRIAL_SIZE + 1) > _TRIAL_SIZE:
            few = training_set.subset(np.isin(np.arange(len(training_set.labels)), training_set.order[:_TRIAL_SIZE]))
            for transform in (RBF, SQRT):
                tell(progress, f"trying the transform {transform}", len(trials), 2)
                trials[transform] = _Path(few, transform, tolerance=_TRIAL_TOLERANCE)
                trials[transform].search()
            if trials[SQRT].lowest * _MIN_LEAD > trials[RBF].lowest:
                transforms = [RBF]
        for transform in transforms:
            tell(progress, f"selecting C for {transform}", len(paths), len(transforms))
            path = paths[transform] = _Path(training_set, transform, size=size, trial=trials.get(transform))
            path.search()
            path.refine()
        best = min(paths, key=lambda transform: paths[transform].lowest)
        c, solution, logits = paths[best].final_fit()
    tried, on_few = ({name: path.tried for name, path in of.items()} for of in (paths, trials))
    return CrossValidation(best, c, tried, on_few, logits, paths[best].design, solution)


class _Path:
    """A regularisation path: out-of-fold log losses of one transform by C. Each fit starts from the nearest one.

    Parameters
    ----------
    training_set, transform, size
        As for `cross_validate`.
    tolerance : float
        Tolerance of each fit.
    trial : _Path, optional
        A path over fewer rows, at whose best C this path starts.
    """

    def __init__(
        self,
        training_set: TrainingSet,
        transform: str,
        *,
        size: int | None = None,
        tolerance: float = _PATH_TOLERANCE,
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
            usual = _START_C if transform == RBF else _START_C / len(training_set.labels) / variance
            self._start = 2 * round(2 * np.log10(usual))

    @property
    def lowest(self) -> float:
        return min(self._losses.values())

    @property
    def tried(self) -> tuple[tuple[float, float], ...]:
        return tuple((_c(at), loss) for at, loss in sorted(self._losses.items()))

    def search(self) -> None:
        """Increase C until the loss increases; then decrease it from the start, if the start has the lowest loss."""
        self._walk(self._start, _STEP)
        if self._best == self._start:
            self._walk(self._start - _STEP, -_STEP)

    def refine(self) -> None:
        """Fit between the best C and its better neighbour."""
        best = self._best
        below, above = (self._losses.get(best + step, np.inf) for step in (-_STEP, _STEP))
        self._fit(best - _FINE_STEP if below < above else best + _FINE_STEP)

    def final_fit(self) -> tuple[float, Solution, NDArray[np.float64]]:
        """Return the best C, its solution with a small tolerance, and the out-of-fold logits."""
        solution = minimise(self._problem, _c(self._best), self._solutions[self._best], tolerance=_FINAL_TOLERANCE)
        return _c(self._best), solution, self._out_of_fold(solution)

    @property
    def _best(self) -> int:
        return min(at for at, loss in self._losses.items() if loss <= _TIE_RATIO * self.lowest)

    def _walk(self, at: int, step: int) -> None:
        risen = 0
        while risen < _MAX_RISES and len(self._losses) < _MAX_FITS:
            self._fit(at)
            risen = 0 if at == self._best else _MAX_RISES if self._losses[at] > _STOP_RATIO * self.lowest else risen + 1
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
    """Return the design, the problem with one column for each fold, and which rows the problem has."""
    weights = (training_set.folds[:, np.newaxis] != np.arange(FOLDS)) & training_set.train_mask[:, np.newaxis]
    ordered = weights[training_set.order]
    ordered &= ordered.cumsum(axis=0) <= (size or len(weights))
    weights[training_set.order] = ordered
    used = weights.any(axis=1)
    if transform == RBF:
        # The landmarks of a fold are among its training images, so the images it scores have no influence on the fit.
        first = ordered & (ordered.cumsum(axis=0) <= LANDMARKS)
        chosen = first.any(axis=1)
        design = kernel_design(training_set.features, training_set.order[chosen])
        free = np.vstack([first[chosen], np.ones((1, FOLDS), bool)])
    else:
        design = linear_design(training_set.features, transform)
        free = np.ones((len(design.penalty), FOLDS), bool)
    # Few images are often linearly separable. The log loss is then lowest at a large C, and float32 is too inexact.
    matrix = design.matrix.astype(np.float64) if len(weights) < _TRIAL_SIZE else design.matrix
    problem = Problem(matrix, training_set.labels, weights, design.penalty, free)
    if not used.all():
        problem = replace(problem, matrix=matrix[used], labels=training_set.labels[used], weights=weights[used])
    return design, problem, used
