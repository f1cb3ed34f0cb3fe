"""Labels and probabilities come in; how good they are goes out."""

import numpy as np
from numpy.typing import NDArray


def score(labels: NDArray[np.int8], probabilities: NDArray[np.float64]) -> dict[str, float]:
    """Return the log loss (natural logarithm, unclipped) and the accuracy at one half.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
        0 or 1.
    probabilities : ndarray of shape (n,), float64
        Of class 1.
    """
    from sklearn.metrics import accuracy_score, log_loss

    return {
        "log_loss": float(log_loss(labels, probabilities, labels=(0, 1))),
        "accuracy": float(accuracy_score(labels, probabilities > 0.5)),
    }
