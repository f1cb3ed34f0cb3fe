"""Find the pairs of images that are the same, or nearly so, and keep them with the cache.

`duplicates.json` is written last. It says which features the pairs are of, whether near duplicates are among them, and
holds the SHA-256 of `duplicates.npy` and of itself: what does not agree is looked for anew.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Artifacts, ArtifactsPath
from ..backbone import N_FEATURES
from ..errors import CatsDogsError
from ..locks import write_lock
from ..progress import Progress
from ..storage import read_json, to_sealed_json, unseal, write_atomic
from . import manifest as manifests
from . import rows
from .groups import connected_groups
from .manifest import SPLITS
from .neighbours import Matrix, find_pairs
from .reading import Features, digests, load_features

ARRAY, METADATA = "duplicates.npy", "duplicates.json"
"""The files in the cache's folder."""

_METHOD = 2
"""How pairs are found. Raise it when the program would find others, and those that are kept are looked for anew."""


def load_duplicates(
    artifacts: ArtifactsPath = "artifacts", *, near: bool = True, progress: Progress | None = None
) -> NDArray[Any]:
    """Load the pairs of a cache; where they are not there, or not of its features, look for them and keep them.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder.
    near : bool
        Look for near duplicates as well, which takes a minute for 400,000 images. Without it images of equal bytes
        are looked for, which takes a second and reads no features; near duplicates that are kept already are loaded.
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
    folder = artifacts.features
    kept = read_pairs(folder, digests(artifacts))
    if kept is not None and kept.near >= near:
        return kept.pairs
    with write_lock(artifacts):
        of = digests(artifacts)
        splits = [split for split in SPLITS if split in of]
        if near:
            loaded = {split: load_features(artifacts, split) for split in splits}
            images = {split: readable_images(features) for split, features in loaded.items()}
            pairs = find_named_pairs(images, StackedFeatures([*loaded.values()]), progress=progress)
        else:
            pairs = find_named_pairs({split: _listed_images(artifacts, split) for split in splits})
        write_pairs(folder, KeptPairs(pairs, near), of)
    return pairs


def read_duplicates(artifacts: ArtifactsPath = "artifacts") -> NDArray[Any] | None:
    """Return the pairs that are kept, or None where there are none, or none that can be believed; write nothing."""
    artifacts = Artifacts.at(artifacts)
    kept = read_pairs(artifacts.features, digests(artifacts))
    return None if kept is None else kept.pairs


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
    artifacts: ArtifactsPath,
    features: Features,
    *,
    split: str = "train",
    near: bool = True,
    progress: Progress | None = None,
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
    near : bool
        As `load_duplicates` has it.
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
        pairs = load_duplicates(artifacts, near=near, progress=progress)
    else:
        pairs = find_named_pairs(
            {split: readable_images(features)}, StackedFeatures([features]) if near else None, progress=progress
        )
    pairs = pairs[(pairs["split"] == split) & (pairs["other_split"] == split)]
    row = {name: number for number, name in enumerate(features.ids.tolist())}
    first, second = (np.array([row[name] for name in pairs[end].tolist()], int) for end in ("id", "other_id"))
    return connected_groups(len(features.ids), first, second)


class KeptPairs(NamedTuple):
    """Pairs, and whether near duplicates were looked for."""

    pairs: NDArray[Any]
    near: bool


def read_pairs(folder: Path, of: Mapping[str, str]) -> KeptPairs | None:
    """Return the pairs kept in the cache's folder; None where they are missing, damaged, or not of these digests."""
    try:
        metadata, content = read_json(folder / METADATA, ""), (folder / ARRAY).read_bytes()
    except (CatsDogsError, OSError):  # whatever is wrong with them, the remedy is to look for them anew
        return None
    sealed, near = unseal(metadata), metadata.get("near") is True
    if not sealed or metadata != _metadata(content, near, of):
        return None
    return KeptPairs(np.load(io.BytesIO(content), allow_pickle=False), near)


def write_pairs(folder: Path, kept: KeptPairs, of: Mapping[str, str]) -> None:
    """Keep pairs in the cache's folder, with the digests of the splits that they are of."""
    file = io.BytesIO()
    np.save(file, kept.pairs, allow_pickle=False)
    write_atomic(folder / ARRAY, file.getvalue())
    write_atomic(folder / METADATA, to_sealed_json(_metadata(file.getvalue(), kept.near, of)))


def _metadata(content: bytes, near: bool, of: Mapping[str, str]) -> dict[str, Any]:
    return {"method": _METHOD, "near": near, "of": dict(of), ARRAY: hashlib.sha256(content).hexdigest()}


class Images(NamedTuple):
    """The readable images of a split: ids, labels, and digests of shape (n, 16)."""

    ids: NDArray[np.str_]
    labels: NDArray[np.int8]
    digests: NDArray[np.uint8]


def readable_images(features: Features) -> Images:
    """Return what the pairs of a split say of its images."""
    readable = features.readable
    return Images(features.ids[readable], features.labels[readable], features.digests[readable])


def _listed_images(artifacts: Artifacts, split: str) -> Images:
    """Return the same, without reading the features."""
    manifest = manifests.read(artifacts.features)
    stored = manifest and rows.read(artifacts.features / split, manifest.splits[split], ())
    if not stored or stored.damaged:
        return readable_images(load_features(artifacts, split))  # which says what to do about it
    readable = ~np.isin(stored.ids, [*stored.reasons])
    return Images(stored.ids[readable], stored.labels[readable], stored.digests[readable])


class StackedFeatures:
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


def find_named_pairs(
    splits: Mapping[str, Images], features: Matrix | None = None, *, progress: Progress | None = None
) -> NDArray[Any]:
    """Find the pairs among the images of all splits.

    Parameters
    ----------
    splits : dict of str to Images
    features : Matrix, optional
        Their rows in that order. Without them only images of equal bytes are pairs.
    progress : callable, optional
        Told how far it is.

    Returns
    -------
    pairs : structured ndarray of shape (pairs,)
        As `load_duplicates` has them.
    """
    nothing = Images(np.empty(0, "<U1"), np.empty(0, np.int8), np.empty((0, 16), np.uint8))
    ids, labels, digested = (np.concatenate(arrays) for arrays in zip(nothing, *splits.values(), strict=True))
    split = np.repeat(np.array([*splits], "<U5"), [len(images.ids) for images in splits.values()])
    *ends, similarity = find_pairs(digested, features, progress=progress)
    width = np.strings.str_len(ids[np.concatenate(ends)]).max(initial=1)
    fields = [("split", "<U5"), ("id", f"<U{width}"), ("label", "i1")]
    others = [(f"other_{name}", kind) for name, kind in fields]
    pairs = np.empty(len(similarity), np.dtype([*fields, *others, ("similarity", "<f4")]))
    for prefix, end in zip(("", "other_"), ends, strict=True):
        pairs[f"{prefix}split"], pairs[f"{prefix}id"], pairs[f"{prefix}label"] = split[end], ids[end], labels[end]
    pairs["similarity"] = similarity
    return pairs
