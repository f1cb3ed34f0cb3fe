"""Find the images whose label is most likely wrong, by confident learning.

The method is confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021): an image is suspect where its probability
of the other class is at least what images of that class have on average, and suspects are ranked by the probability of
their own label, the lowest first ("self-confidence").
"""

import numpy as np
from numpy.typing import NDArray

from .logits import to_probabilities


def find_suspects(labels: NDArray[np.int8], logits: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the suspect rows, the most suspect first.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
        0 or 1, both among them.
    logits : ndarray of shape (n,), float64
        Log-odds of class 1, by heads that have not seen the image.
    """
    probabilities = to_probabilities(logits)
    usual_0 = (1 - probabilities[labels == 0]).mean()
    usual_1 = probabilities[labels == 1].mean()
    suspect = np.where(labels == 0, probabilities >= usual_1, 1 - probabilities >= usual_0)
    rows = np.flatnonzero(suspect)
    return rows[np.argsort(np.where(labels == 1, logits, -logits)[rows], kind="stable")]
