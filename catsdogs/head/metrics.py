"""Score logits against labels, with confidence intervals."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..threads import single_threaded_blas
from .logits import log_losses, to_probabilities
from .results import Interval, Intervals, Metrics, Scores

BINS = 15
"""Of the calibration error, as in Guo et al., On Calibration of Modern Neural Networks (ICML 2017), section 2."""

_DRAWS, _LEVEL = 1000, 0.95

_BLOCK = 2**17
"""Number of images, over several draws, whose scores one thread computes together."""

_CLIPS = np.logspace(-6, -1.301, 95)

_Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]

CLIP_2017 = 0.05
"""The clip of the project of 2017."""


def score(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> Scores:
    """Score probabilities against labels.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
        0 or 1.
    logits : ndarray of shape (n,), float64
        Log-odds of class 1.

    Returns
    -------
    Scores
    """
    ((_, auc, brier, calibration_error),) = _weighted_scores(labels, logits)(np.ones((1, len(labels)))).tolist()
    return Scores(
        log_loss=log_loss(labels, logits),
        accuracy=float(_are_correct(labels, logits).mean()),
        auc=None if np.isnan(auc) else auc,
        brier=brier,
        calibration_error=calibration_error,
    )


def intervals(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> Intervals:
    """Return the 95 % interval of each value of `score`: percentiles of a bootstrap over the images.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; 1,000 draws. The accuracy has Wilson's
    interval: if all predictions are correct, they are correct in every draw, and the bootstrap's has no width. The
    calibration errors of the draws are shifted so that their median is the value itself: a draw repeats images, and has
    larger errors for that reason alone.

    Parameters
    ----------
    labels, logits
        As for `score`.

    Returns
    -------
    Intervals
    """
    n, scores = len(labels), _weighted_scores(labels, logits)
    log_loss, auc, brier, calibration_error = _bootstrap(n, scores).T
    low, high = wilson(_are_correct(labels, logits).sum(), np.float64(n))
    bias = np.median(calibration_error) - scores(np.ones((1, n)))[0, -1]
    return Intervals(
        log_loss=_percentiles(log_loss),
        accuracy=(float(low), float(high)),
        # A draw of few images may have one class only, and then has no AUC.
        auc=None if np.isnan(auc).all() else _percentiles(auc[~np.isnan(auc)]),
        brier=_percentiles(brier),
        calibration_error=_percentiles(np.maximum(calibration_error - bias, 0)),
    )


def mean_interval(values: NDArray[np.float64]) -> Interval:
    """Return the 95 % interval of a mean: percentiles of a bootstrap, as for `intervals`."""
    return _percentiles(_bootstrap(len(values), lambda counts: counts @ values / len(values)))


def _bootstrap(n: int, statistic: _Statistic) -> NDArray[np.float64]:
    """Return a statistic of each draw of n images, by how often each image is in the draw; of shape (draws, ...)."""
    starts = range(0, _DRAWS, max(1, _BLOCK // n))

    def draw(start: int, generator: np.random.Generator) -> NDArray[np.float64]:
        drawn = generator.integers(n, size=(min(starts.step, _DRAWS - start), n))
        drawn += n * np.arange(len(drawn))[:, np.newaxis]
        counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        return statistic(counts.astype(np.float64))

    with single_threaded_blas() as threads:
        return np.concatenate(list(threads.map(draw, starts, np.random.default_rng(0).spawn(len(starts)))))


def _percentiles(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, (50 * (1 - _LEVEL), 50 * (1 + _LEVEL))).tolist()
    return low, high


def score_with_intervals(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> Metrics:
    """Return the values of `score` and of `intervals`."""
    return Metrics(**vars(score(labels, logits)), intervals=intervals(labels, logits))


def wilson(correct: Any, n: Any) -> tuple[Any, Any]:
    """Return the lower and upper ends of the 95 % intervals of `correct` / `n` (Wilson, JASA 22, 1927)."""
    z = 1.959964
    fraction, weight = correct / n, z**2 / n
    half = z * np.sqrt(fraction * (1 - fraction) / n + z**2 / (4 * n**2))
    return (fraction + weight / 2 - half) / (1 + weight), (fraction + weight / 2 + half) / (1 + weight)


def log_loss(labels: NDArray[np.int8], logits: NDArray[np.float64], *, clip: float = 0.0) -> float:
    """Return the mean log loss of probabilities clipped to ``[clip, 1 - clip]``."""
    return float(log_losses(labels, logits, clip=clip).mean())


def best_clip(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> float:
    """Return the clip with the lowest log loss of held-out probabilities.

    A tenth of a misclassified image with full confidence is added: if all images are classified correctly, the best
    clip would otherwise be 0, with which one wrong prediction costs without limit.

    Parameters
    ----------
    labels, logits
        As for `score`; each logit by a head that was not trained on the image.

    Returns
    -------
    float
        From 1e-6 to 0.05.
    """
    costs = [log_losses(labels, logits, clip=clip).sum() - np.log(clip) / 10 for clip in _CLIPS]
    return float(f"{_CLIPS[int(np.argmin(costs))]:.2g}")


def _are_correct(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((to_probabilities(logits) > 0.5) == labels)


def bins_of(probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the calibration error's bin of each probability, (n,)."""
    return np.minimum((probabilities * BINS).astype(np.intp), BINS - 1)


def _weighted_scores(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> _Statistic:
    """Return a function that scores the images by how often each counts in each draw, of shape (draws, n).

    It returns log loss, AUC (NaN if a class is missing), Brier score and calibration error, of shape (draws, 4). The
    rows are sorted by logit. The AUC is then how often a positive is above a negative, with ties counted half.
    """
    order = np.argsort(logits, kind="stable")
    labels, logits = labels[order], logits[order]
    starts = np.flatnonzero(np.append(True, logits[1:] != logits[:-1]))  # of runs of equal logits
    probabilities = to_probabilities(logits)
    bins = bins_of(probabilities)
    bin_starts = np.flatnonzero(np.append(True, bins[1:] != bins[:-1]))
    excess = probabilities - labels
    losses = np.stack([log_losses(labels, logits), np.square(excess)]).T

    def scores(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        log_loss, brier = (counts @ losses / len(labels)).T
        of_class_1 = counts * labels
        above = np.add.reduceat(of_class_1, starts, axis=1)
        below = np.add.reduceat(counts - of_class_1, starts, axis=1)
        pairs, wins = above.sum(axis=1) * below.sum(axis=1), (above * (below.cumsum(axis=1) - below / 2)).sum(axis=1)
        auc = np.divide(wins, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)
        error = np.abs(np.add.reduceat(counts * excess, bin_starts, axis=1)).sum(axis=1) / len(labels)
        return np.stack([log_loss, auc, brier, error], axis=1)

    return scores
