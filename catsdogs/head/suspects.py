"""Find training images whose label may be wrong, by confident learning.

The method is confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021). An image is suspect if its probability of
the other class is at least the average of that probability over the images of the other class. Suspects are ranked by
the probability of their own label ("self-confidence"), lowest first.
"""

import numpy as np
from numpy.typing import NDArray

from .logits import to_probabilities


def find_suspects(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the rows of the suspects, the most suspect first.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
        0 or 1; both must occur.
    logits : ndarray of shape (n,), float64
        Log-odds of class 1, out of fold.

    Returns
    -------
    rows : ndarray of shape (m,), int
    """
    probabilities = to_probabilities(logits)
    average_0 = (1 - probabilities[labels == 0]).mean()
    average_1 = probabilities[labels == 1].mean()
    suspect = np.where(labels == 0, probabilities >= average_1, 1 - probabilities >= average_0)
    rows = np.flatnonzero(suspect)
    return rows[np.argsort(np.where(labels == 1, logits, -logits)[rows], kind="stable")]
