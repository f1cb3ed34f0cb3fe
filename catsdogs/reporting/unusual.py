"""Select unusual images, by their measured properties and by their distance from all others.

Each kind has a scale of its own. There is no common score, and an unusual image is not an error.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES
from ..cache import Features, find_farthest

FARTHEST = "farthest from all others"


def choose_unusual(features: Features, rows: NDArray[np.intp], count: int) -> dict[str, dict[int, str]]:
    """Select the most extreme images of each kind.

    Parameters
    ----------
    features : Features
    rows : ndarray of shape (m,), int
        The rows to select from.
    count : int
        Images of each kind, at most: an image whose value is the median is never selected, so a kind in which the
        images do not differ is empty.

    Returns
    -------
    dict of str to dict of int to str
        By kind and row, the measured value, such as "brightness 3 of 255"; the most extreme first. The kinds are
        "darkest" and "brightest" (mean luma), "least contrast" (standard deviation of the luma), "blurred" (variance of
        the Laplacian), "most elongated" (ratio of the sides), "tiniest" (number of pixels), as in
        `images.facts.measure`; and "farthest from all others" (`cache.nearest.find_farthest`).
    """
    facts = features.facts[rows]
    width, height = facts["width"], facts["height"]
    kinds: dict[str, tuple[NDArray[Any], str]] = {
        "darkest": (facts["brightness"], "brightness {brightness:.0f} of 255"),
        "brightest": (-facts["brightness"], "brightness {brightness:.0f} of 255"),
        "least contrast": (facts["contrast"], "contrast {contrast:.1f}"),
        "blurred": (facts["sharpness"], "sharpness {sharpness:.0f}"),
        "most elongated": (np.minimum(width, height) / np.maximum(width, height), "{width:.0f} x {height:.0f} pixels"),
        "tiniest": (width * height, "{width:.0f} x {height:.0f} pixels"),
    }
    found: dict[str, dict[int, str]] = {}
    for kind, (values, text) in kinds.items():
        known = np.flatnonzero(np.isfinite(values))
        extreme = known[values[known] < np.median(values[known])] if len(known) else known
        first = extreme[np.argsort(values[extreme], kind="stable")[:count]]
        found[kind] = {int(rows[at]): text.format(**_by_name(facts[at])) for at in first}
    far, distances = find_farthest(features.features[:, :N_FEATURES], rows, count)
    pairs = zip(far.tolist(), distances.tolist(), strict=True)
    found[FARTHEST] = {row: f"mean distance {distance:.2g}" for row, distance in pairs}
    return found


def describe_facts(facts: np.void) -> str:
    """Return all measured properties of an image as text, or "" if they are not known."""
    if not np.isfinite(facts["width"]):
        return ""
    parts = "{width:.0f} x {height:.0f} pixels", "{bytes:,.0f} bytes", "brightness {brightness:.0f}"
    sharpness = ("sharpness {sharpness:.0f}",) if np.isfinite(facts["sharpness"]) else ()
    return ", ".join((*parts, "contrast {contrast:.0f}", *sharpness)).format(**_by_name(facts))


def _by_name(facts: np.void) -> dict[str, float]:
    return dict(zip(facts.dtype.names or (), facts.tolist(), strict=True))
