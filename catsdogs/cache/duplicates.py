"""Find the pairs of images that are the same, or nearly so, and keep them with the cache.

`duplicates.json` is written last. It says which features the pairs are of and holds the SHA-256 of `duplicates.npy`
and of itself: what does not agree is looked for anew.
"""

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Artifacts, ArtifactsPath
from ..backbone import N_FEATURES
from ..errors import CatsDogsError
from ..locks import write_lock
from ..progress import Progress
from ..storage import read_json, to_sealed_json, unseal, write_atomic
from .groups import connected_groups
from .manifest import SPLITS
from .neighbours import Pairs, find_pairs
from .reading import Features, digests, load_features

_METHOD = 1
"""How pairs are found. Raise it when the program would find others, and those that are kept are looked for anew."""


def load_duplicates(artifacts: ArtifactsPath = "artifacts", *, progress: Progress | None = None) -> NDArray[Any]:
    """Load the pairs of a cache; where they are not there, or not of its features, look for them and keep them.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder.
    progress : callable, optional
        Told how far it is.

    Returns
    -------
    pairs : structured ndarray of shape (pairs,)
        Fields split, id, label and other_split, other_id, other_label; and similarity, float32: 1 where the images
        are byte for byte the same, otherwise below it, as `neighbours.find_pairs` has it. Splits that are not
        complete, and images that cannot be read, are left out.

    Raises
    ------
    CatsDogsError
        Features that have to be read are damaged, or the folder cannot be written.
    """
    artifacts = Artifacts.at(artifacts)
    kept = read_duplicates(artifacts)
    if kept is not None:
        return kept
    with write_lock(artifacts):
        of = digests(artifacts)
        pairs = _find(artifacts, [split for split in SPLITS if split in of], progress)
        file = io.BytesIO()
        np.save(file, pairs, allow_pickle=False)
        write_atomic(artifacts.duplicates, file.getvalue())
        metadata = {"method": _METHOD, "of": of, "duplicates.npy": hashlib.sha256(file.getvalue()).hexdigest()}
        write_atomic(artifacts.duplicates_metadata, to_sealed_json(metadata))
    return pairs


def read_duplicates(artifacts: ArtifactsPath = "artifacts") -> NDArray[Any] | None:
    """Return the pairs that are kept, or None where there are none, or none that can be believed; write nothing."""
    artifacts = Artifacts.at(artifacts)
    try:
        metadata, content = read_json(artifacts.duplicates_metadata, ""), artifacts.duplicates.read_bytes()
    except (CatsDogsError, OSError):  # whatever is wrong with them, the remedy is to look for them anew
        return None
    now = {"method": _METHOD, "of": digests(artifacts), "duplicates.npy": hashlib.sha256(content).hexdigest()}
    if not unseal(metadata) or metadata != now:
        return None
    pairs: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return pairs


def count_duplicates(pairs: NDArray[Any]) -> dict[str, int]:
    """Return how many pairs there are: "pairs", "identical", "across_classes", "across_splits"."""
    labels, other_labels = pairs["label"], pairs["other_label"]
    return {
        "pairs": len(pairs),
        "identical": int(np.sum(pairs["similarity"] == 1)),
        "across_classes": int(np.sum((labels != other_labels) & (labels >= 0) & (other_labels >= 0))),
        "across_splits": int(np.sum(pairs["split"] != pairs["other_split"])),
    }


def group_images(
    artifacts: ArtifactsPath, features: Features, *, split: str = "train", progress: Progress | None = None
) -> NDArray[np.int64]:
    """Return a number for each image of a split; those that are the same, or nearly so, share one.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder.
    features : Features
        What `load_features` gave for the split. Where the cache has changed since, its pairs are found anew and not
        kept.
    split : str
        "train" or "test".
    progress : callable, optional
        Told how far it is.

    Returns
    -------
    groups : ndarray of shape (n,), int64
        Of each row. Which rows share a number does not depend on their order.

    Raises
    ------
    CatsDogsError
        As `load_duplicates`.
    """
    if digests(artifacts).get(split) == features.digest:
        pairs = load_duplicates(artifacts, progress=progress)
        pairs = pairs[(pairs["split"] == split) & (pairs["other_split"] == split)]
        row = {name: number for number, name in enumerate(features.ids.tolist())}
        first, second = (np.array([row[name] for name in pairs[end].tolist()], int) for end in ("id", "other_id"))
    else:
        rows = np.flatnonzero(features.readable)
        found, other, _ = _pairs_among([features], progress)
        first, second = rows[found], rows[other]
    return connected_groups(len(features.ids), first, second)


class _Stacked:
    """The first view of several splits' readable images, one below the other, and no copy of them."""

    def __init__(self, splits: Sequence[Features]) -> None:
        self._splits = splits
        self._split = np.repeat(np.arange(len(splits)), [int(split.readable.sum()) for split in splits])
        self._row = np.concatenate([np.empty(0, int), *(np.flatnonzero(split.readable) for split in splits)])
        self.shape: tuple[int, ...] = (len(self._row), N_FEATURES)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        taken = np.empty((len(rows), N_FEATURES), np.float32)
        for number, split in enumerate(self._splits):
            here = self._split[rows] == number
            taken[here] = split.features[self._row[rows[here]], :N_FEATURES]
        return taken


def _find(artifacts: ArtifactsPath, splits: list[str], progress: Progress | None) -> NDArray[Any]:
    loaded = {split: load_features(artifacts, split) for split in splits}
    names = [
        (split, name, label)
        for split, of in loaded.items()
        for name, label in zip(of.ids[of.readable].tolist(), of.labels[of.readable].tolist(), strict=True)
    ]
    first, second, similarity = _pairs_among([*loaded.values()], progress)
    of_pairs = [
        (*names[a], *names[b], alike)
        for a, b, alike in zip(first.tolist(), second.tolist(), similarity.tolist(), strict=True)
    ]
    width = max((len(name) for row in of_pairs for name in (row[1], row[4])), default=1)
    one = [("split", "<U5"), ("id", f"<U{width}"), ("label", "i1")]
    other = [(f"other_{name}", kind) for name, kind in one]
    return np.array(of_pairs, np.dtype([*one, *other, ("similarity", "<f4")]))


def _pairs_among(splits: Sequence[Features], progress: Progress | None) -> Pairs:
    """Return the pairs of their readable images, which count through all splits."""
    digested = np.concatenate([np.empty((0, 16), np.uint8), *(split.digests[split.readable] for split in splits)])
    return find_pairs(digested, _Stacked(splits), progress=progress)
