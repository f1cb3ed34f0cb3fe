"""Features and labels come in; out goes the head, a logistic regression that gives the probability of class 1.

It is scikit-learn's, by L-BFGS along the path over C and by Newton's method with conjugate gradients for the head that
is kept. Two changes of units make that quick without moving the optimum: the mean feature is taken off, which only
shifts the intercept, and all features are divided by one number, which only rescales C. Every C in what goes in or out
is that of the features as they are in the cache.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .artifacts import Artifacts, must_be_at_rest, read_json, to_sealed_json, unseal, write_atomically
from .cache import Origin
from .errors import CatsDogsError
from .folds import FOLDS
from .metrics import score
from .progress import Progress

FORMAT = 1
"""Version of head.npz and head.json. Raise it when the program before would misread what is written now."""

_START = 10.0
"""The first C of the path, over the number of images and the features' mean variance: the best of the data sets that
were tried lies one to two decades above."""

_STEP = 10**0.5
_RISES, _CLEARLY = 2, 1.01
"""The path ends when the loss has risen so often in a row, or once by this factor above the lowest."""

_WIDEST = 20
_PATH, _KEPT = ("lbfgs", 3e-5), ("newton-cg", 1e-8)
"""Solver, and how small the largest component of the gradient of the mean loss must be: along the path, where log
losses are compared in their fourth digit, and for the head that is kept, where L-BFGS would take hundreds of steps."""

TRAIN = "Run catsdogs train: it writes the head anew"


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The path over C, and where it is lowest.

    Parameters
    ----------
    path : tuple of (float, float)
        C, and the out-of-fold log loss with it, in ascending order of C.
    c : float
        The C of the lowest log loss.
    probabilities : ndarray of shape (n,), float64
        Of class 1, out of fold, with that C.
    """

    path: tuple[tuple[float, float], ...]
    c: float
    probabilities: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Head:
    """A head as it lies on the disk.

    Parameters
    ----------
    coefficients : ndarray of shape (views * 2048,), float64
    intercept : float
    facts : dict
        What made it: the content of head.json.
    """

    coefficients: NDArray[np.float64]
    intercept: float
    facts: dict[str, Any]

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability of class 1, of shape (n,); NaN where the features are NaN.

        Parameters
        ----------
        features : ndarray of shape (n, views * 2048), float32
        """
        from scipy.special import expit

        return np.asarray(expit(features @ self.coefficients + self.intercept))


class _Problem:
    """Features in the units that the solver likes, once for all folds and every C."""

    def __init__(self, features: NDArray[np.float32], labels: NDArray[np.int8]) -> None:
        self.mean = features.mean(axis=0, dtype=np.float64)
        self.scaled = features - self.mean
        self.scale = float(np.sqrt(np.square(self.scaled).mean())) or 1.0
        self.scaled /= self.scale
        self.labels = labels

    def fit(self, estimator: Any, c: float, rows: NDArray[np.bool_] | None = None) -> None:
        """Fit on `rows`, or on all; a weight of 0 leaves a row out without a copy of the others."""
        estimator.set_params(C=c * self.scale**2)
        estimator.fit(self.scaled, self.labels, sample_weight=None if rows is None else rows.astype(np.float64))


def _estimator(solver: str, tolerance: float) -> Any:
    """Return an estimator that starts each fit where its last one ended."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(solver=solver, warm_start=True, tol=tolerance, max_iter=10_000)


def cross_validate(
    features: NDArray[np.float32],
    labels: NDArray[np.int8],
    folds: NDArray[np.int8],
    *,
    progress: Progress | None = None,
) -> CrossValidation:
    """Choose C by the out-of-fold log loss.

    The path goes from strong regularisation to weak until the loss has turned upwards, and where it was lowest at
    the start, on to the stronger side as well: the best is at no edge, unless the features tell nothing at all.

    Parameters
    ----------
    features : ndarray of shape (n, views * 2048), float32
    labels, folds : ndarray of shape (n,), int8
    progress : callable, optional
        Told how many fits are done.

    Returns
    -------
    CrossValidation
    """
    from joblib import cpu_count
    from threadpoolctl import threadpool_limits

    problem = _Problem(features, labels)
    start = _START / len(labels) / problem.scale**2
    tried: dict[float, NDArray[np.float64]] = {}
    losses: dict[float, float] = {}

    # Made before the limit below, which holds for the libraries that are loaded by then.
    upwards, downwards = ([_estimator(*_PATH) for _ in range(FOLDS)] for _ in range(2))

    def walk(c: float, step: float, estimators: Sequence[Any]) -> None:
        def out_of_fold(fold: int) -> None:
            problem.fit(estimators[fold], c, folds != fold)
            held_out = folds == fold
            tried[c][held_out] = estimators[fold].predict_proba(problem.scaled[held_out])[:, 1]

        risen = 0
        while risen < _RISES and len(tried) < _WIDEST:
            if progress:
                progress("choosing C", len(tried) * FOLDS, 0)
            tried[c] = np.empty(len(labels))
            list(threads.map(out_of_fold, range(FOLDS)))
            losses[c] = score(labels, tried[c])["log_loss"]
            lowest = min(losses.values())
            risen = 0 if losses[c] == lowest else _RISES if losses[c] > _CLEARLY * lowest else risen + 1
            c *= step

    # Each fold is fitted by one thread: two that share so small a product take five times as long as one.
    with threadpool_limits(1), ThreadPoolExecutor(cpu_count()) as threads:
        walk(start, _STEP, upwards)
        if min(losses, key=losses.__getitem__) == start:
            walk(start / _STEP, 1 / _STEP, downwards)
    best = min(losses, key=losses.__getitem__)
    return CrossValidation(tuple(sorted(losses.items())), best, tried[best])


def fit(features: NDArray[np.float32], labels: NDArray[np.int8], c: float) -> Any:
    """Fit a head on all rows.

    Parameters
    ----------
    features : ndarray of shape (n, views * 2048), float32
    labels : ndarray of shape (n,), int8
    c : float
        Inverse of the strength of the L2 penalty, as scikit-learn has it.

    Returns
    -------
    sklearn.linear_model.LogisticRegression
        For features as they are in the cache.
    """
    from threadpoolctl import threadpool_limits

    problem, estimator = _Problem(features, labels), _estimator(*_KEPT)
    with threadpool_limits(1):
        problem.fit(estimator, c)
    estimator.set_params(C=c, warm_start=False)
    estimator.coef_ = estimator.coef_ / problem.scale
    estimator.intercept_ = estimator.intercept_ - estimator.coef_ @ problem.mean
    return estimator


def save(
    artifacts: Artifacts, estimator: Any, facts: dict[str, Any], *, beside: Mapping[Path, bytes] | None = None
) -> None:
    """Write head.npz, head.joblib and the files `beside` them, and last head.json, which vouches for all of them."""
    import joblib

    arrays, pickled = io.BytesIO(), io.BytesIO()
    np.savez(arrays, coefficients=estimator.coef_[0], intercept=estimator.intercept_[0])
    joblib.dump(estimator, pickled)
    files = {artifacts.head: arrays.getvalue(), artifacts.estimator: pickled.getvalue(), **(beside or {})}
    for path, content in files.items():
        write_atomically(path, content)
    sums = {path.name: _sha256(content) for path, content in files.items()}
    facts = {"format": FORMAT, **facts, "files": sums}
    write_atomically(artifacts.head_facts, to_sealed_json(facts))


def load(artifacts: Artifacts) -> Head:
    """Read the head; the pickle beside it is for others.

    Raises
    ------
    CatsDogsError
        There is none, or it is damaged.
    """
    facts = read_json(artifacts.head_facts, TRAIN)
    if not facts and not artifacts.head_facts.exists():
        raise CatsDogsError(f"there is no head in {artifacts.root}", "Run catsdogs train first")
    if "format" in facts and facts["format"] != FORMAT:
        raise CatsDogsError(
            f"{artifacts.head_facts} is of format {facts['format']}, and this version reads {FORMAT}", TRAIN
        )
    if not unseal(facts):
        raise CatsDogsError(f"{artifacts.head_facts} is damaged: it does not match its own SHA-256", TRAIN)
    content = _read(artifacts.head)
    if _sha256(content) != facts["files"][artifacts.head.name]:
        must_be_at_rest(artifacts)
        if read_json(artifacts.head_facts, TRAIN).get("files") != facts["files"]:
            return load(artifacts)  # another run has written it since head.json was read
        raise CatsDogsError(f"{artifacts.head} is missing or damaged: it does not match head.json", TRAIN)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return Head(arrays["coefficients"], float(arrays["intercept"]), facts)


def damaged_files(artifacts: Artifacts, head: Head) -> list[str]:
    """Return which of the files that were written with the head are missing, or are not what they were."""
    sums = head.facts["files"].items()
    return [name for name, expected in sums if _sha256(_read(artifacts.root / name)) != expected]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def must_match(head: Head, origin: Origin, views: Sequence[str], hint: str) -> None:
    """Refuse a head that was trained on features of another kind.

    Raises
    ------
    CatsDogsError
        Backbone, pixels, precision or views differ; `hint` says what to do.
    """
    facts = head.facts
    trained_on = (facts["backbone"]["sha256"], facts["pixels"], facts["precision"], facts["views"])
    if trained_on != (origin.sha256, origin.pixels, origin.precision, list(views)):
        raise CatsDogsError(
            f"the head was trained on features of {facts['backbone']['form']}, view {', '.join(facts['views'])}; "
            f"these are of {origin.form}, view {', '.join(views)}, and of another kind",
            hint,
        )
