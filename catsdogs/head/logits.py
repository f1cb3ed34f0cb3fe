"""Turn logits, the log-odds of class 1, into probabilities and log losses.

Losses are computed from logits: above 37 the probability is 1 in float64, and one wrong label there would make the log
loss infinite, whatever the others say.
"""

import numpy as np
from numpy.typing import NDArray

_LEAST, _MOST = float(np.finfo(np.float64).tiny), float(np.nextafter(1, 0))


def to_probabilities(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the probability of class 1, above 0 and below 1.

    No finite logit is certain. What would round to 1 is the largest double below it, and what would round to 0 the
    smallest normal one: who computes a log loss from the probabilities gets a finite one too.

    Parameters
    ----------
    logits : ndarray
        NaN stays NaN.
    """
    from scipy.special import expit

    return np.asarray(np.clip(expit(np.asarray(logits, np.float64)), _LEAST, _MOST))


def log_losses(labels: NDArray[np.int8], logits: NDArray[np.float64], *, clip: float = 0.0) -> NDArray[np.float64]:
    """Return each image's log loss, by the natural logarithm.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
        0 or 1.
    logits : ndarray of shape (n,), float64
    clip : float
        Probabilities are clipped to ``[clip, 1 - clip]`` first.
    """
    losses = np.logaddexp(0, np.where(labels == 1, -logits, logits))
    return np.clip(losses, -np.log1p(-clip), -np.log(clip)) if clip else losses
