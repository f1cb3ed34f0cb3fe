"""What head.json holds: what a head was trained on, and what was chosen."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..sources.classes import Classes

FORMAT = 4
"""Version of head.npz and head.json. Raise it when the program before would misread what is written now."""

METHOD = 1
"""How a head is trained. Raise it when the same features would give another head: those from before are then stale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneIdentity:
    """The backbone that computed the features.

    Parameters
    ----------
    weights_name : str
        What its weights are called; says nothing of what they are.
    sha256 : str
    network : str
        SHA-256 of the quantized network; empty where nothing is quantized.
    """

    weights_name: str
    sha256: str
    network: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadMetadata:
    """What made a head, and which files belong to it.

    Parameters
    ----------
    method : int
        How it was trained: `METHOD` of that time.
    classes : pair of str
        The probabilities are those of the second.
    backbone : BackboneIdentity
    pixels, precision : str
        Of the features, as `Provenance` has them.
    views : tuple of str
    features : dict of str to str
        `Features.digest` of the splits that it was trained on and, as "test", scored on.
    transform : str
    C : float
    clip : float
        How near to 0 or 1 a probability in a submission may be.
    positive_share : float
        Share of the second class among the training images.
    excluded : tuple of str
        Ids of training images that it was not trained on.
    near_duplicates : bool
        Whether near duplicates shared a fold, and not images of equal bytes alone.
    versions : dict of str to str
        Of the packages that took part. Nothing depends on them.
    files : dict of str to str
        SHA-256 of the files that were written with it, by name.
    """

    method: int
    classes: Classes
    backbone: BackboneIdentity
    pixels: str
    precision: str
    views: tuple[str, ...]
    features: dict[str, str]
    transform: str
    C: float
    clip: float
    positive_share: float
    excluded: tuple[str, ...]
    near_duplicates: bool
    versions: dict[str, str]
    files: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of head.json, without its own SHA-256."""
        return {"format": FORMAT, **msgspec.to_builtins(self)}
