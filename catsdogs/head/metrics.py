"""Score logits against labels, with confidence intervals."""

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
    order = np.argsort(logits, kind="stable")
    ties = _ties(logits[order])
    auc = _weighted_auc(labels[order].astype(np.float64), 1 - labels[order].astype(np.float64), ties)
    probabilities = to_probabilities(logits)
    means = _of_images(labels, logits, probabilities).mean(axis=0)
    excess = np.bincount(bins_of(probabilities), probabilities - labels, BINS)
    return {
        "log_loss": float(means[0]),
        "accuracy": float(means[1]),
        "auc": None if np.isnan(auc) else auc,
        "brier": float(means[2]),
        "calibration_error": float(np.abs(excess).sum() / len(labels)),
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
    order = np.argsort(logits, kind="stable")
    labels, logits = labels[order], logits[order]
    n, ties, probabilities = len(labels), _ties(logits), to_probabilities(logits)
    of_images, bins = _of_images(labels, logits, probabilities), bins_of(probabilities)
    losses, excess = of_images[:, [0, 2]], probabilities - labels

    def draw(generator: np.random.Generator) -> list[float]:
        counts = np.bincount(generator.integers(n, size=n), minlength=n).astype(np.float64)
        log_loss, brier = counts @ losses / n
        auc = _weighted_auc(counts * labels, counts * (1 - labels), ties)
        return [log_loss, auc, brier, np.abs(np.bincount(bins, counts * excess, BINS)).sum() / n]

    with single_threaded_blas() as threads:
        drawn = list(threads.map(draw, np.random.default_rng(seed).spawn(_DRAWS)))
    tails = 50 * (1 - _LEVEL), 50 * (1 + _LEVEL)
    names = ("log_loss", "auc", "brier", "calibration_error")
    # A draw of few images may lack a class, and so have no AUC.
    columns = zip(names, np.transpose(drawn), strict=True)
    known = {name: values[~np.isnan(values)] for name, values in columns}
    ends = {name: np.percentile(values, tails).tolist() if len(values) else None for name, values in known.items()}
    low, high = wilson(of_images[:, 1].sum(), np.float64(n))
    return {"log_loss": ends.pop("log_loss"), "accuracy": [float(low), float(high)], **ends}


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


def _of_images(
    labels: NDArray[np.int8], logits: NDArray[np.float64], probabilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return each image's log loss, whether it is right, and its squared error, (n, 3)."""
    right = (probabilities > 0.5) == labels
    return np.column_stack([log_losses(labels, logits), right, np.square(probabilities - labels)])


def bins_of(probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the calibration error's bin of each probability, (n,)."""
    return np.minimum((probabilities * BINS).astype(np.intp), BINS - 1)


def _ties(ascending: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return where each run of equal values starts."""
    return np.flatnonzero(np.append(True, ascending[1:] != ascending[:-1]))


def _weighted_auc(positive: NDArray[np.float64], negative: NDArray[np.float64], ties: NDArray[np.intp]) -> float:
    """Return how often a positive is above a negative, ties counted half, in rows that ascend; NaN without either."""
    above, below = np.add.reduceat(positive, ties), np.add.reduceat(negative, ties)
    pairs = above.sum() * below.sum()
    return float(np.sum(above * (below.cumsum() - below / 2)) / pairs) if pairs else np.nan
