"""Find the pairs of images that are the same, or nearly so, and keep them with the cache.

`duplicates.json` is written last. It says which features the pairs are of, whether near duplicates are among them, and
holds the SHA-256 of `duplicates.npy` and of itself: what does not agree is looked for anew.
"""

import hashlib
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES
from ..errors import CatsDogsError
from ..locks import FEATURES, LockedError, write_lock
from ..progress import Progress
from ..storage import read_json, to_sealed_json, unseal, write_atomic
from .neighbours import Matrix, connected_groups, find_pairs
from .reading import Cache, Features
from .rows import Rows

ARRAY, METADATA = "duplicates.npy", "duplicates.json"
"""The files in the cache's folder."""

_METHOD = 2
"""How pairs are found. Raise it when the program would find others, and those that are kept are looked for anew."""


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Pairs of images that are the same, or nearly so.

    Parameters
    ----------
    pairs : structured ndarray of shape (pairs,)
        Fields split, id, label and other_split, other_id, other_label; and similarity, float32: 1 where the images
        are byte for byte the same, otherwise below it, as `neighbours.find_pairs` has it. Splits that are not
        complete, and images that cannot be read, are left out.
    near : bool
        Whether near duplicates were looked for, and not images of equal bytes alone.
    """

    pairs: NDArray[Any]
    near: bool

    def counts(self) -> dict[str, int]:
        """Return how many pairs there are: "pairs", "identical", "across_classes", "across_splits"; and "near"."""
        pairs = self.pairs
        labels, other_labels = pairs["label"], pairs["other_label"]
        return {
            "pairs": len(pairs),
            "identical": int(np.sum(pairs["similarity"] == 1)),
            "across_classes": int(np.sum((labels != other_labels) & (labels >= 0) & (other_labels >= 0))),
            "across_splits": int(np.sum(pairs["split"] != pairs["other_split"])),
            "near": self.near,
        }


def load_duplicates(cache: Cache, *, near: bool = True, progress: Progress | None = None) -> Duplicates:
    """Load the pairs of a cache; where they are not there, or not of its features, look for them and keep them.

    Parameters
    ----------
    cache : Cache
    near : bool
        Look for near duplicates as well, which takes a minute for 400,000 images. Without it images of equal bytes
        are looked for, which takes a second and reads no features; near duplicates that are kept already are loaded.
    progress : callable, optional
        Told how far it is.

    Raises
    ------
    CatsDogsError
        Features that have to be read are damaged, or the folder cannot be written.
    """
    kept = read_duplicates(cache)
    if kept and kept.near >= near:
        return kept
    of = cache.digests()
    loaded = [cache.load(split) for split in of] if near else []
    images = [*map(_readable, loaded if near else [cache.list(split) for split in of])]
    found = Duplicates(_find([*of], images, _StackedFeatures(loaded) if near else None, progress), near)
    file = io.BytesIO()
    np.save(file, found.pairs, allow_pickle=False)
    with suppress(LockedError), write_lock(cache.folder.parent, FEATURES):  # who is writing now looks for them as well
        write_atomic(cache.folder / ARRAY, file.getvalue())
        write_atomic(cache.folder / METADATA, to_sealed_json(_metadata(file.getvalue(), near, of)))
    return found


def read_duplicates(cache: Cache) -> Duplicates | None:
    """Return the pairs that are kept, or None where there are none, or none that can be believed; write nothing."""
    try:
        metadata, content = read_json(cache.folder / METADATA, ""), (cache.folder / ARRAY).read_bytes()
    except (CatsDogsError, OSError):  # whatever is wrong with them, the remedy is to look for them anew
        return None
    sealed, near = unseal(metadata), metadata.get("near") is True
    if not sealed or metadata != _metadata(content, near, cache.digests()):
        return None
    return Duplicates(np.load(io.BytesIO(content), allow_pickle=False), near)


def _metadata(content: bytes, near: bool, of: dict[str, str]) -> dict[str, Any]:
    return {"method": _METHOD, "near": near, "of": of, ARRAY: hashlib.sha256(content).hexdigest()}


def group_images(cache: Cache, features: Features, duplicates: Duplicates) -> NDArray[np.int64]:
    """Return a number for each training image; those that are the same, or nearly so, share one.

    Parameters
    ----------
    cache : Cache
    features : Features
        What it has loaded of the training images.
    duplicates : Duplicates
        Its own.

    Returns
    -------
    groups : ndarray of shape (n,), int64
        Of each row. Which rows share a number does not depend on their order.

    Raises
    ------
    CatsDogsError
        The cache has changed since `features` were loaded.
    """
    if cache.digests().get("train") != features.digest:
        raise CatsDogsError(f"{cache.folder} has changed while it was read", "Run the same command again")
    pairs = duplicates.pairs
    pairs = pairs[(pairs["split"] == "train") & (pairs["other_split"] == "train")]
    row = {name: number for number, name in enumerate(features.ids.tolist())}
    first, second = (np.array([row[name] for name in pairs[end].tolist()], int) for end in ("id", "other_id"))
    return connected_groups(len(features.ids), first, second)


_Images = tuple[NDArray[Any], ...]
"""The readable images of a split: ids, labels, and digests of shape (n, 16)."""


def _readable(split: Features | Rows) -> _Images:
    return tuple(of[split.readable] for of in (split.ids, split.labels, split.digests))


class _StackedFeatures:
    """The first view of several splits' readable images, one below the other, and no copy of them."""

    def __init__(self, splits: Sequence[Features]) -> None:
        self._splits = splits
        self._split = np.repeat(np.arange(len(splits)), [int(split.readable.sum()) for split in splits])
        self._row = np.concatenate([np.empty(0, int), *(np.flatnonzero(split.readable) for split in splits)])

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        taken = np.empty((len(rows), N_FEATURES), np.float32)
        for number, split in enumerate(self._splits):
            here = self._split[rows] == number
            taken[here] = split.features[self._row[rows[here]], :N_FEATURES]
        return taken


def _find(
    splits: Sequence[str], images: Sequence[_Images], features: Matrix | None, progress: Progress | None
) -> NDArray[Any]:
    """Find the pairs among the images of all splits, whose rows `features` has in that order."""
    nothing = np.empty(0, "<U1"), np.empty(0, np.int8), np.empty((0, 16), np.uint8)
    ids, labels, digested = (np.concatenate(arrays) for arrays in zip(nothing, *images, strict=True))
    split = np.repeat(np.array(splits, "<U5"), [len(of_split[0]) for of_split in images])
    *ends, similarity = find_pairs(digested, features, progress=progress)
    names = np.array(ids[np.stack(ends)].tolist(), np.str_)  # no wider than the longest of them
    columns: dict[str, NDArray[Any]] = {}
    for prefix, end, name in zip(("", "other_"), ends, names, strict=True):
        columns |= {f"{prefix}split": split[end], f"{prefix}id": name, f"{prefix}label": labels[end]}
    columns["similarity"] = similarity
    return np.asarray(np.rec.fromarrays([*columns.values()], [(name, of.dtype) for name, of in columns.items()]))
