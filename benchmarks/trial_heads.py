"""Fit the alternative heads of `heads.py`, and return the out-of-fold margin of each image.

The solver and the path over C are those of the package; this module adds the designs that the package does not have.
"""

import time
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from catsdogs.backbone import N_FEATURES
from catsdogs.head import designs, solver
from catsdogs.head.folds import FOLDS, draw_order
from catsdogs.head.metrics import log_loss
from catsdogs.head.paths import RegularisationPath, selection_loss, to_c
from catsdogs.threads import single_threaded_blas

_START_C = 30.0
"""First C of a path for "rbf"."""

WRONG = 0.003
"""Assumed fraction of wrong labels, where images are weighted."""

Margins = NDArray[np.float64]


@dataclass(frozen=True)
class Linear:
    """A logistic regression on powers of the features."""

    views: int
    power: float = 1.0
    joined: str = "average"
    length_1: bool = False
    divided: float = 0.0
    whitened: float = 0.0


@dataclass(frozen=True)
class Rbf:
    """A logistic regression on similarities to landmarks; after each round, images get the weight P(label correct).

    If `path_with` is not 0, C is that of the head with `path_with` landmarks, without a path over C.
    """

    views: int
    landmarks: int = 512
    gamma: float = designs._GAMMA
    draw: int = 0
    rounds: int = 0
    path_with: int = 0


Spec = Linear | Rbf


@dataclass(frozen=True, eq=False)
class Images:
    """Features of shape (n, views, 2048), labels, digests, and keys: images of equal keys are in the same fold."""

    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    digests: NDArray[np.uint8]
    keys: NDArray[np.void]

    def of(self, views: int) -> NDArray[np.float32]:
        """Return the concatenated features of the first views."""
        return self.features[:, :views].reshape(len(self.labels), -1)


@dataclass(frozen=True, eq=False)
class Split:
    """Folds: a row is scored by the head fitted on the training rows of the other folds.

    Fold number FOLDS exists in nested cross-validation only; its rows are held out from all fits.
    """

    folds: NDArray[np.int8]

    @property
    def trained(self) -> NDArray[np.bool_]:
        """Return which rows are used in fits."""
        return self.folds < FOLDS

    @property
    def weights(self) -> NDArray[np.bool_]:
        """Return the rows that the head of each fold is fitted on, (n, folds)."""
        columns = np.arange(FOLDS if self.trained.all() else FOLDS + 1)
        return np.asarray((self.folds[:, np.newaxis] != columns) & self.trained[:, np.newaxis])

    def calibrations(self) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """Return pairs of scored rows and the rows on which their parameters may be selected."""
        if self.trained.all():
            return [(self.folds == fold, self.folds != fold) for fold in range(FOLDS)]
        return [(~self.trained, self.trained)]


class _Fits(RegularisationPath):
    """The package's path over C, for any design; C is selected on the training rows."""

    def __init__(
        self, images: Images, split: Split, design: designs.Design, free: NDArray[np.bool_], start: int
    ) -> None:
        self.design, self._rows, self._trained = design, np.arange(len(images.labels)), split.trained
        self._labels, self._folds = images.labels, split.folds
        self._problem = solver.Problem(design.matrix, images.labels, split.weights, design.penalty, free)
        self._solutions, self._points, self._start = {}, {}, start

    def fit(self, at: int) -> None:
        """Fit a C; its losses are those of the training rows."""
        nearest = min(self._solutions, key=lambda other: abs(other - at), default=None)
        start = None if nearest is None else self._solutions[nearest]
        self._solutions[at] = solver.minimise(self._problem, to_c(at), start, tolerance=1e-3)
        labels, margins = self._labels[self._trained], self._margins_of(self._solutions[at])[self._trained]
        self._points[at] = selection_loss(labels, margins), log_loss(labels, margins)

    def _margins_of(self, solution: solver.Solution) -> Margins:
        return solution.logits[np.arange(len(self._folds)), self._folds].astype(np.float64)

    def margins(self, rounds: int) -> Margins:
        """Return the out-of-fold margins at the best C, after some rounds of weighting the images."""
        solution = solver.minimise(self._problem, to_c(self.best), self._solutions[self.best], tolerance=1e-9)
        for _ in range(rounds):
            right = expit(np.where(self._labels[:, np.newaxis] == 1, 1, -1) * solution.logits)
            weights = right * (1 - WRONG) / (right * (1 - WRONG) + (1 - right) * WRONG)
            weighted = replace(self._problem, weights=np.where(self._problem.weights, weights, 0))
            with mock.patch.object(solver, "_objective", _weighted_objective):
                again = solver.start_from(solution.coefficients)
                solution = solver.minimise(weighted, to_c(self.best), again, tolerance=1e-7)
        return self._margins_of(solution)


def _weighted_objective(
    problem: solver.Problem, penalty: solver.Matrix, margins: solver.Matrix, coefficients: solver.Matrix
) -> Margins:
    """Return the objective of the solver for weights that are not Boolean."""
    losses = np.logaddexp(0, margins) - problem.labels[:, np.newaxis] * margins
    penalties = (coefficients * (penalty @ coefficients)).sum(axis=0, dtype=np.float64) / 2
    return np.asarray((problem.weights * losses).sum(axis=0, dtype=np.float64) + penalties)


class Bench:
    """Fits heads, caches their margins, and records which were requested and their CPU seconds."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self.requested: dict[tuple[Spec, Split], float] = {}
        self._kept: dict[tuple[Spec, Split], tuple[Margins, float]] = {}
        self._best: dict[Spec, int] = {}  # argument of to_c at the last split: the start of the next path
        self._designed: tuple[Linear, designs.Design] | None = None
        self._averaged: tuple[int, NDArray[np.float32]] | None = None

    def margins(self, spec: Spec, split: Split) -> Margins:
        """Return the out-of-fold margin of each row at the best C."""
        if (spec, split) not in self._kept:
            start = time.process_time()
            margins = self._fit(spec, split)
            self._kept[spec, split] = margins, time.process_time() - start
        margins, self.requested[spec, split] = self._kept[spec, split]
        return margins

    def _fit(self, spec: Spec, split: Split) -> Margins:
        walked, rounds = True, 0
        if isinstance(spec, Rbf) and spec.path_with:
            few, walked = replace(spec, landmarks=spec.path_with, path_with=0), False
            self._best.pop(few, None)  # the timed path has no warm start
            self._fit(few, split)
            self._best[spec] = self._best[few]
        with single_threaded_blas():
            if isinstance(spec, Linear):
                design = self._linear(spec)
                usual = _START_C / len(design.matrix) / float(np.square(design.matrix[:, :-1]).mean())
                free = np.ones((design.matrix.shape[1], split.weights.shape[1]), bool)
            else:
                (design, free), usual, rounds = self._rbf(spec, split), _START_C, spec.rounds
            start = self._best.get(spec, 4 * np.log10(usual))
            # The path's steps are half decades.
            fits = _Fits(self.images, split, design, free, 2 * round(start / 2) if walked else round(start))
            if walked:
                fits.search()
                fits.refine()
                self._best[spec] = fits.best
            else:
                fits.fit(fits._start)
            return fits.margins(rounds)

    def _linear(self, spec: Linear) -> designs.Design:
        if not self._designed or self._designed[0] != spec:
            self._designed = spec, _linear_design(self.images.of(spec.views), spec)
        return self._designed[1]

    def _rbf(self, spec: Rbf, split: Split) -> tuple[designs.Design, NDArray[np.bool_]]:
        if not self._averaged or self._averaged[0] != spec.views:
            self._averaged = spec.views, designs.view_average(self.images.of(spec.views), designs.RBF)
        rows, order = self._averaged[1], draw_order(self.images.digests, seed=spec.draw)
        ordered = split.weights[order]
        first = ordered & (ordered.cumsum(axis=0) <= spec.landmarks)
        landmarks = order[first.any(axis=1)]
        average = rows.mean(axis=0, dtype=np.float64)
        kernel = designs.Kernel(rows[landmarks], spec.gamma / (2 * (1 - float(average @ average))))
        penalty = kernel.compare(kernel.landmarks).astype(np.float64)
        penalty[np.diag_indices(len(penalty))] = 1 + designs.RIDGE
        similarities = kernel.compare(rows)
        mean = similarities.mean(axis=0, dtype=np.float64)
        matrix = designs._centred(similarities, mean)
        design = designs.Design(matrix, mean, np.pad((penalty + penalty.T) / 2, (0, 1)), kernel)
        return design, np.vstack([first[first.any(axis=1)], np.ones((1, first.shape[1]), bool)])


def _linear_design(features: NDArray[np.float32], spec: Linear) -> designs.Design:
    views = features.reshape(len(features), -1, N_FEATURES) ** np.float32(spec.power)
    match spec.joined:
        case "average":
            rows = views.mean(axis=1)
        case "side by side":
            rows = views.reshape(len(views), -1)
        case "mean and difference":
            rows = np.hstack([views.mean(axis=1), np.abs(views[:, 0] - views[:, 1])])
        case "minimum and maximum":
            rows = np.hstack([views.min(axis=1), views.max(axis=1)])
    if spec.length_1:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    if spec.divided:
        deviation = rows.std(axis=0, dtype=np.float64)
        rows /= np.where(deviation > 0, deviation**spec.divided, 1).astype(np.float32)
    mean = rows.mean(axis=0, dtype=np.float64)
    matrix = designs._centred(rows, mean)
    if spec.whitened:
        variances, axes = np.linalg.eigh(np.cov(matrix[:, :-1], rowvar=False))
        shrunk = np.maximum(variances, 1e-6 * variances.max()) ** -spec.whitened
        matrix[:, :-1] = matrix[:, :-1] @ ((axes * shrunk) @ axes.T).astype(np.float32)
    return designs.Design(matrix, mean, np.pad(np.eye(matrix.shape[1] - 1), (0, 1)))


def losses_of(labels: NDArray[np.int8], margins: Margins) -> Margins:
    """Return the log loss of each image."""
    return np.asarray(np.logaddexp(0, np.where(labels == 1, -margins, margins)))
