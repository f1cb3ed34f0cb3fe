"""Convert logits, the log-odds of class 1, to probabilities and log losses.

Losses are computed from logits, because above 37 the probability rounds to 1 in float64, and one wrong label there
would make the mean log loss infinite.
"""

import numpy as np
from numpy.typing import NDArray

_MIN_PROBABILITY, _MAX_PROBABILITY = float(np.finfo(np.float64).tiny), float(np.nextafter(1, 0))


def to_probabilities(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the probability of class 1, above 0 and below 1.

    Values that would round to 1 become the largest float64 below 1, and values that would round to 0 become the
    smallest normal float64, so that a log loss computed from the probabilities is finite, too.

    Parameters
    ----------
    logits : ndarray
        NaN gives NaN.
    """
    with np.errstate(over="ignore"):
        probabilities = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    return np.asarray(np.clip(probabilities, _MIN_PROBABILITY, _MAX_PROBABILITY))


def log_losses(labels: NDArray[np.int8], logits: NDArray[np.float64], *, clip: float = 0.0) -> NDArray[np.float64]:
    """Return the log loss of each image, with the natural logarithm.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
        0 or 1.
    logits : ndarray of shape (n,), float64
    clip : float
        Clip the probabilities to ``[clip, 1 - clip]`` first.
    """
    losses = np.logaddexp(0, np.where(labels == 1, -logits, logits))
    return np.clip(losses, -np.log1p(-clip), -np.log(clip)) if clip else losses
