"""Fit the scikit-learn estimator with the selected transform and C."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES
from .designs import IDENTITY, LANDMARKS, RBF, Classifier, Kernel
from .solver import Matrix, Problem, minimise, start_from
from .validation import CrossValidation, TrainingSet

_FLOAT32_TOLERANCE, _FLOAT64_TOLERANCE = 1e-5, 1e-12
"""Relative tolerances of the objective: of the fit in float32, and of the fit in float64 that starts from it."""

_GRADIENT_TOLERANCE = 1e-6
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

    transform, c, design = selected.transform, selected.C, selected.design
    steps = _average_steps(transform, training_set.features.shape[1] // N_FEATURES)
    kernel, matrix, penalty = design.kernel, design.matrix, design.penalty
    of_folds = selected.solution.coefficients
    if kernel:  # the landmarks are in order, and the first ones are those for all rows
        kept = np.append(np.arange(min(LANDMARKS, len(kernel.landmarks))), len(kernel.landmarks))
        kernel = replace(kernel, landmarks=kernel.landmarks[kept[:-1]])
        matrix, penalty, of_folds = matrix[:, kept], penalty[np.ix_(kept, kept)], of_folds[kept]
    if not training_set.train_mask.all():
        matrix = matrix[training_set.train_mask]
    labels = training_set.labels[training_set.train_mask]
    # Fit in float32, then in float64 from there.
    problem = Problem(matrix, labels, np.ones((len(labels), 1), bool), penalty, np.ones((matrix.shape[1], 1), bool))
    rough = minimise(problem, c, start_from(of_folds.mean(axis=1, keepdims=True)), tolerance=_FLOAT32_TOLERANCE)
    exact = matrix.astype(np.float64)
    start = minimise(replace(problem, matrix=exact), c, rough, tolerance=_FLOAT64_TOLERANCE).coefficients[:, 0]
    if kernel:
        nystroem = _nystroem(kernel, penalty[:-1, :-1])
        steps.append(("kernel", nystroem))
        # Nystroem multiplies the similarities by its normalization, so the coefficients need the inverse.
        normalization = nystroem.normalization_.T
        start[:-1] = np.linalg.solve(normalization, start[:-1])
        regression, gradient = _regression(exact[:, :-1] @ normalization, labels, c, start)
        coefficients = normalization @ regression.coef_[0]
    else:
        regression, gradient = _regression(exact[:, :-1], labels, c, start)
        if design.basis is not None:
            regression.coef_, regression.n_features_in_ = regression.coef_ @ design.basis.T, N_FEATURES
        coefficients = regression.coef_[0]
    # The regression was fitted on centred rows.
    regression.intercept_ = regression.intercept_ - design.mean[: len(coefficients)] @ coefficients
    classifier = Classifier(transform, coefficients, float(regression.intercept_[0]), kernel)
    return FittedHead(classifier, Pipeline([*steps, ("head", regression)]), gradient)


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


def _nystroem(kernel: Kernel, penalty: NDArray[np.float64]) -> Any:
    """Return scikit-learn's Nystroem of the kernel, normalized with the Cholesky factor of the penalty.

    `Nystroem.fit` computes the inverse square root of the same matrix without the ridge. Up to a rotation that equals
    the inverse of this factor, and takes twenty times as long.
    """
    from scipy.linalg import cholesky, solve_triangular
    from sklearn.kernel_approximation import Nystroem

    count = len(kernel.landmarks)
    nystroem = Nystroem(kernel="rbf", gamma=kernel.gamma, n_components=count)
    nystroem.components_, nystroem.component_indices_ = kernel.landmarks, np.arange(count)
    nystroem.normalization_ = solve_triangular(cholesky(penalty, lower=True), np.eye(count), lower=True)
    nystroem.n_features_in_ = kernel.landmarks.shape[1]
    return nystroem
