"""Score logits against labels, with confidence intervals."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..threads import single_threaded_blas
from .logits import log_losses, to_probabilities

BINS = 15
"""Of the calibration error, as in Guo et al., On Calibration of Modern Neural Networks (ICML 2017), section 2."""

_DRAWS, _LEVEL = 1000, 0.95

_CLIPS = np.logspace(-6, -1.301, 95)

CLIP_2017 = 0.05
"""What the project of 2017 clipped to."""


def score(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> dict[str, Any]:
    """Return how good the probabilities are.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
        0 or 1.
    logits : ndarray of shape (n,), float64
        Log-odds of class 1.

    Returns
    -------
    dict
        "log_loss", by the natural logarithm and unclipped; "accuracy", at one half; "auc", the area under the ROC
        curve, None where one class is missing; "brier", the mean squared error; "calibration_error", the expected
        calibration error of class 1 over 15 bins of equal width.
    """
    _, auc, brier, calibration_error = _figures(labels, logits)(np.ones(len(labels)))
    return {
        "log_loss": log_loss(labels, logits),
        "accuracy": float(_are_right(labels, logits).mean()),
        "auc": None if np.isnan(auc) else auc,
        "brier": brier,
        "calibration_error": calibration_error,
    }


def intervals(labels: NDArray[np.int8], logits: NDArray[np.float64], *, seed: int = 0) -> dict[str, Any]:
    """Return the 95 % interval of each figure that `score` gives, by the bootstrap's percentiles over the images.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; 1,000 draws. The accuracy's is Wilson's:
    where all are right, so are all of every draw.

    Parameters
    ----------
    labels, logits
        As for `score`.
    seed : int

    Returns
    -------
    dict of str to list of float
        Lower and upper end; None where `score` gives None.
    """
    n, figures = len(labels), _figures(labels, logits)

    def draw(generator: np.random.Generator) -> list[float]:
        return figures(np.bincount(generator.integers(n, size=n), minlength=n).astype(np.float64))

    with single_threaded_blas() as threads:
        drawn = np.array(list(threads.map(draw, np.random.default_rng(seed).spawn(_DRAWS))))
    low, high = wilson(_are_right(labels, logits).sum(), np.float64(n))
    ends: dict[str, list[float] | None] = {"log_loss": None, "accuracy": [float(low), float(high)]}
    for name, values in zip(("log_loss", "auc", "brier", "calibration_error"), drawn.T, strict=True):
        known = values[~np.isnan(values)]  # a draw of few images may lack a class, and so have no AUC
        ends[name] = np.percentile(known, (50 * (1 - _LEVEL), 50 * (1 + _LEVEL))).tolist() if len(known) else None
    return ends


def score_with_intervals(labels: NDArray[np.int8], logits: NDArray[np.float64], *, seed: int = 0) -> dict[str, Any]:
    """Return what `score` does, and as "intervals" what `intervals` does."""
    return {**score(labels, logits), "intervals": intervals(labels, logits, seed=seed)}


def wilson(right: Any, n: Any) -> tuple[Any, Any]:
    """Return the 95 % intervals of shares `right` of `n` (Wilson, JASA 22, 1927): their lower and upper ends."""
    z = 1.959964
    share, weight = right / n, z**2 / n
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (share + weight / 2 - half) / (1 + weight), (share + weight / 2 + half) / (1 + weight)


def log_loss(labels: NDArray[np.int8], logits: NDArray[np.float64], *, clip: float = 0.0) -> float:
    """Return the mean log loss, as `score` does, of probabilities that are clipped to ``[clip, 1 - clip]``."""
    return float(log_losses(labels, logits, clip=clip).mean())


def best_clip(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> float:
    """Return the clip with which held-out probabilities have the lowest log loss.

    A tenth of an image more is counted, of which the opposite is certain: where all were right, no clip at all would be
    best, and one wrong answer would cost without limit.

    Parameters
    ----------
    labels, logits
        As for `score`; each logit by a head that has not seen the image.

    Returns
    -------
    float
        From 1e-6 to 0.05.
    """
    costs = [log_losses(labels, logits, clip=clip).sum() - np.log(clip) / 10 for clip in _CLIPS]
    return float(f"{_CLIPS[int(np.argmin(costs))]:.2g}")


def _are_right(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((to_probabilities(logits) > 0.5) == labels)


def bins_of(probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the calibration error's bin of each probability, (n,)."""
    return np.minimum((probabilities * BINS).astype(np.intp), BINS - 1)


def _figures(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], list[float]]:
    """Return a function of how often each image counts: log loss, AUC (NaN without a class), Brier, calibration error.

    In rows whose logits ascend, the AUC is how often a positive is above a negative, ties counted half.
    """
    order = np.argsort(logits, kind="stable")
    labels, logits = labels[order], logits[order]
    starts = np.flatnonzero(np.append(True, logits[1:] != logits[:-1]))  # of runs of equal logits
    probabilities = to_probabilities(logits)
    excess, bins = probabilities - labels, bins_of(probabilities)
    losses = np.stack([log_losses(labels, logits), np.square(excess)]).T

    def figures(counts: NDArray[np.float64]) -> list[float]:
        log_loss, brier = (counts @ losses / len(labels)).tolist()
        above, below = np.add.reduceat(counts * labels, starts), np.add.reduceat(counts * (1 - labels), starts)
        pairs = above.sum() * below.sum()
        auc = float(np.sum(above * (below.cumsum() - below / 2)) / pairs) if pairs else np.nan
        error = np.abs(np.bincount(bins, counts * excess, BINS)).sum() / len(labels)
        return [log_loss, auc, brier, float(error)]

    return figures
