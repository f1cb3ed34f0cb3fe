"""The content of head.json: the features that a head was trained on, and the selected settings."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..cache import Provenance
from ..sources.classes import Classes

FORMAT = 5
"""Version of head.npz and head.json. Increase it if earlier versions of the program would misread new files."""

METHOD = 4
"""Version of the training method and of metrics.json. Increase it if the same features give another head or other keys:
existing heads are then stale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadMetadata:
    """How a head was trained, and which files were written with it.

    Parameters
    ----------
    method : int
        `METHOD` at the time of training.
    classes : pair of str
        Probabilities are those of the second class.
    provenance : Provenance
        How the features were computed.
    views : tuple of str
    features : dict of str to str
        `Features.digest` of the split "train" that the head was trained on and, if labelled, of the split "test".
    transform : str
    C : float
    clip : float
        Probabilities in a submission are clipped to ``[clip, 1 - clip]``.
    positive_share : float
        Fraction of the second class among the training images.
    excluded, dropped : tuple of str
        Ids of training images that were excluded from training, by the user or by a correction.
    near_duplicates : bool
        Whether near-duplicates were kept in the same fold, in addition to identical images.
    corrections : str
        SHA-256 of the corrections that were applied; empty if there were none.
    versions : dict of str to str
        Versions of the packages used for training, for information only.
    files : dict of str to str
        SHA-256 of the files written with the head, by name.
    """

    method: int
    classes: Classes
    provenance: Provenance
    views: tuple[str, ...]
    features: dict[str, str]
    transform: str
    C: float
    clip: float
    positive_share: float
    excluded: tuple[str, ...]
    near_duplicates: bool
    versions: dict[str, str]
    dropped: tuple[str, ...] = ()
    corrections: str = ""
    files: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of head.json, without its own SHA-256."""
        return {"format": FORMAT, **msgspec.to_builtins(self)}
