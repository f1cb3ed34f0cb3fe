"""Find the images whose label is most likely wrong, by confident learning.

The method is confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021): an image is suspect where its probability
of the other class is at least what images of that class have on average, and suspects are ranked by the probability of
their own label, the lowest first ("self-confidence").
"""

import numpy as np
from numpy.typing import NDArray


def find_suspects(labels: NDArray[np.int8], probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the suspect rows, the most suspect first.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
        0 or 1, both among them.
    probabilities : ndarray of shape (n,), float64
        Of class 1, by heads that have not seen the image.
    """
    usual_0 = (1 - probabilities[labels == 0]).mean()
    usual_1 = probabilities[labels == 1].mean()
    suspect = np.where(labels == 0, probabilities >= usual_1, 1 - probabilities >= usual_0)
    own = np.where(labels == 1, probabilities, 1 - probabilities)
    rows = np.flatnonzero(suspect)
    return rows[np.argsort(own[rows], kind="stable")]
