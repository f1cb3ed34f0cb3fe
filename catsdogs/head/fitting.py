"""Fit the scikit-learn estimator with the selected transform and C."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES
from ..threads import single_threaded_blas
from .designs import IDENTITY, RBF, RIDGE, Classifier, Design, Kernel, are_few, landmark_count, view_average
from .dual import DualProblem, centred_gram, minimise_dual
from .folds import TrainingSet
from .solver import Blocks, Matrix, Problem, minimise, start_from
from .validation import CrossValidation

_FLOAT32_TOLERANCE, _FLOAT64_TOLERANCE = 1e-5, 1e-12
"""Relative tolerances of the objective: of the fit in float32, and of the fit in float64 that starts from it."""

_GRADIENT_TOLERANCE = 1e-8
"""Scikit-learn's `tol`: its fit stops when no component of the gradient of the mean objective is larger."""


@dataclass(frozen=True, eq=False)
class FittedHead:
    """A fitted head.

    Parameters
    ----------
    classifier : Classifier
        The head for use in this program.
    estimator : sklearn.pipeline.Pipeline
        The same head as a scikit-learn estimator; its input are features as in the cache.
    gradient_norm : float
        Euclidean norm of the gradient of the mean objective.
    """

    classifier: Classifier
    estimator: Any
    gradient_norm: float


def fit(training_set: TrainingSet, selected: CrossValidation) -> FittedHead:
    """Fit a head with the transform and C that cross-validation selected, on all rows of `train_mask`.

    `solver` finds the optimum, and scikit-learn's own fit starts from it.

    Parameters
    ----------
    training_set : TrainingSet
        The cross-validated training set; its folds are not used.
    selected : CrossValidation
        Result of `cross_validate` for this training set.

    Returns
    -------
    FittedHead
    """
    from sklearn.pipeline import Pipeline

    transform, c, mask, order = selected.transform, selected.C, training_set.train_mask, training_set.order
    steps = _average_steps(transform, training_set.features.shape[1] // N_FEATURES)
    design, used, labels = _of_all_folds(selected.design, mask), order[mask[order]], training_set.labels[mask]
    if dual := are_few(len(used)):  # the landmarks and the basis are all rows, in this order
        labels = training_set.labels[used]
    of_folds = selected.solution.coefficients.mean(axis=1, keepdims=True)
    start = np.vstack([of_folds[: len(design.penalty) - 1], of_folds[-1:]])
    with single_threaded_blas() as threads:
        kernel = threads.submit(_nystroem, design.kernel, design.penalty[:-1, :-1]) if design.kernel else None
        start = _optimum(design, labels, c, start)
        if kernel:
            nystroem, factor = kernel.result()
            steps.append(("kernel", nystroem))
            normalization = nystroem.normalization_.T
            if dual:  # the product below, with fewer operations
                rows = factor - RIDGE * normalization
                rows -= factor.mean(axis=0)
            else:
                rows = Blocks(design.matrix[:, :-1].astype(np.float64), threads).times(normalization)
            # Nystroem multiplies the similarities by its normalization, so the coefficients need the inverse.
            regression, gradient = _regression(rows, labels, c, np.append(factor.T @ start[:-1], start[-1]))
            coefficients = normalization @ regression.coef_[0]
        else:
            rows = design.matrix[:, :-1].astype(np.float64)
            if design.basis is not None:
                rows = view_average(training_set.features[used], transform) - design.mean
                start = np.append(design.basis @ start[:-1], start[-1])
            regression, gradient = _regression(rows, labels, c, start)
            coefficients = regression.coef_[0]
    # The regression was fitted on centred rows.
    regression.intercept_ = regression.intercept_ - design.mean[: len(coefficients)] @ coefficients
    classifier = Classifier(transform, coefficients, float(regression.intercept_[0]), design.kernel)
    return FittedHead(classifier, Pipeline([*steps, ("head", regression)]), gradient)


def _of_all_folds(design: Design, train_mask: NDArray[np.bool_]) -> Design:
    """Return the design of the training rows, with the landmarks for all rows: those of a fold are a few more."""
    if design.kernel and (count := landmark_count(int(train_mask.sum()))) < len(design.kernel.landmarks):
        return design.first(train_mask, count)  # they are in order
    return design if train_mask.all() else replace(design, matrix=design.matrix[train_mask])


def _optimum(design: Design, labels: NDArray[np.int8], c: float, start: Matrix) -> Matrix:
    """Return the coefficients with the lowest objective."""
    weights, penalty = np.ones((len(labels), 1), bool), design.penalty
    if are_few(len(labels)):
        dual = DualProblem(centred_gram(penalty[:-1, :-1]), labels, weights)
        return minimise_dual(dual, c, start_from(start), tolerance=_FLOAT64_TOLERANCE).coefficients[:, 0]
    problem = Problem(design.matrix, labels, weights, penalty, np.ones((len(penalty), 1), bool))
    rough = minimise(problem, c, start_from(start), tolerance=_FLOAT32_TOLERANCE)
    exact = replace(problem, matrix=design.matrix.astype(np.float64))
    return minimise(exact, c, rough, tolerance=_FLOAT64_TOLERANCE).coefficients[:, 0]


def _regression(rows: Matrix, labels: NDArray[np.int8], c: float, start: Matrix) -> tuple[Any, float]:
    """Return scikit-learn's logistic regression, fitted from `start`, and the norm of the gradient at the result."""
    from scipy.special import expit
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(C=c, tol=_GRADIENT_TOLERANCE, max_iter=1000, warm_start=True)
    regression.classes_ = np.array([0, 1], labels.dtype)
    regression.coef_, regression.intercept_ = start[np.newaxis, :-1], start[-1:]
    regression.fit(rows, labels)
    regression.set_params(warm_start=False)
    excess = expit(regression.decision_function(rows)) - labels
    slope = (rows.T @ excess + regression.coef_[0] / c) / len(labels)
    return regression, float(np.hypot(np.linalg.norm(slope), excess.mean()))


def _average_steps(transform: str, views: int) -> list[tuple[str, Any]]:
    """Return steps that average the views, from NumPy and scikit-learn alone, to be unpickled without catsdogs."""
    from sklearn.preprocessing import FunctionTransformer, Normalizer

    steps: list[tuple[str, Any]] = []
    if transform != IDENTITY:
        steps.append(("sqrt", FunctionTransformer(np.sqrt)))
    if views > 1:
        steps.append(("views", FunctionTransformer(np.reshape, kw_args={"shape": (-1, views, N_FEATURES)})))
        steps.append(("average", FunctionTransformer(np.mean, kw_args={"axis": 1})))
    if transform == RBF:
        steps.append(("length 1", Normalizer()))
    return steps


def _nystroem(kernel: Kernel, penalty: NDArray[np.float64]) -> tuple[Any, NDArray[np.float64]]:
    """Return scikit-learn's Nystroem of the kernel, normalized with the Cholesky factor of the penalty, and the factor.

    `Nystroem.fit` computes the inverse square root of the same matrix without the ridge. Up to a rotation that equals
    the inverse of this factor, and takes twenty times as long.
    """
    from scipy.linalg import cholesky
    from scipy.linalg.lapack import dtrtri
    from sklearn.kernel_approximation import Nystroem

    count, factor = len(kernel.landmarks), cholesky(penalty, lower=True)
    nystroem = Nystroem(kernel="rbf", gamma=kernel.gamma, n_components=count)
    nystroem.components_, nystroem.component_indices_ = kernel.landmarks, np.arange(count)
    nystroem.normalization_, _ = dtrtri(factor, lower=True)
    nystroem.n_features_in_ = kernel.landmarks.shape[1]
    return nystroem, factor
