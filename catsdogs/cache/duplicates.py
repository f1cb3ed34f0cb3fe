"""Find pairs of identical and near-duplicate images, and store them with the cache.

`duplicates.json` is written last. It holds the digests of the features that the pairs belong to, whether they include
near-duplicates, the SHA-256 of `duplicates.npy`, and its own SHA-256. If one of these is wrong, the pairs are searched
for again.
"""

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
from ..storage import read_json, sha256_of, to_sealed_json, unseal, write_atomic
from .components import Matrix
from .groups import connected_groups
from .neighbours import find_pairs
from .reading import Cache, Features
from .rows import Rows

ARRAY, METADATA = "duplicates.npy", "duplicates.json"
"""The two files in the cache's folder."""

_METHOD = 5
"""Version of the method. Increase it if a change makes the program find other pairs: stored pairs are then stale."""


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Pairs of identical and near-duplicate images.

    Parameters
    ----------
    pairs : structured ndarray of shape (pairs,)
        Fields split, id, label and other_split, other_id, other_label; and similarity, float32: 1 if the images are
        byte-identical, otherwise less than 1, as `neighbours.find_pairs` returns it. Splits with missing views, and
        unreadable images, are excluded.
    near : bool
        Whether near-duplicates were searched for, not only identical images.
    """

    pairs: NDArray[Any]
    near: bool

    @property
    def across_classes(self) -> NDArray[np.bool_]:
        """Which pairs have two different labels, of shape (pairs,)."""
        labels, others = self.pairs["label"], self.pairs["other_label"]
        return np.asarray((labels != others) & (labels >= 0) & (others >= 0))

    def counts(self) -> dict[str, int]:
        """Return the numbers of pairs: "pairs", "identical", "across_classes" and "across_splits"; and "near".

        "contradictory" is the number of pairs that are identical and across classes.
        """
        pairs, across = self.pairs, self.across_classes
        identical = pairs["similarity"] == 1
        return {
            "pairs": len(pairs),
            "identical": int(np.sum(identical)),
            "across_classes": int(np.sum(across)),
            "contradictory": int(np.sum(identical & across)),
            "across_splits": int(np.sum(pairs["split"] != pairs["other_split"])),
            "near": self.near,
        }


def load_duplicates(cache: Cache, *, near: bool = True, progress: Progress | None = None) -> Duplicates:
    """Load the stored pairs of a cache; if there are none for its features, find and store them.

    Parameters
    ----------
    cache : Cache
    near : bool
        Whether to find near-duplicates too, which takes a minute for 400,000 images. Otherwise only identical images
        are returned, whose search takes a second and reads no features; stored near-duplicates stay stored.
    progress : callable, optional
        Called with the progress.

    Raises
    ------
    CatsDogsError
        The features are damaged, or the folder cannot be written.
    """
    near, stored = bool(near), read_duplicates(cache)  # what else is true or false cannot be written to head.json
    if stored and stored.near >= near:
        identical = stored.pairs[stored.pairs["similarity"] == 1]
        return stored if near else Duplicates(identical, near=False)
    digests = cache.digests()
    loaded = [cache.load(split) for split in digests] if near else []
    images = [*map(_readable, loaded if near else [cache.list(split) for split in digests])]
    found = Duplicates(_find([*digests], images, _StackedFeatures(loaded) if near else None, progress), near)
    file = io.BytesIO()
    np.save(file, found.pairs, allow_pickle=False)
    with suppress(LockedError), write_lock(cache.folder.parent, FEATURES):  # a process that writes now finds them too
        write_atomic(cache.folder / ARRAY, file.getvalue())
        write_atomic(cache.folder / METADATA, to_sealed_json(_metadata(file.getvalue(), near, digests)))
    return found


def read_duplicates(cache: Cache) -> Duplicates | None:
    """Return the stored pairs, or None if there are none or they are damaged or stale; write nothing."""
    try:
        metadata, content = read_json(cache.folder / METADATA, ""), (cache.folder / ARRAY).read_bytes()
    except (CatsDogsError, OSError):  # in all cases, they are searched for again
        return None
    sealed, near = unseal(metadata), metadata.get("near") is True
    if not sealed or metadata != _metadata(content, near, cache.digests()):
        return None
    return Duplicates(np.load(io.BytesIO(content), allow_pickle=False), near)


def _metadata(content: bytes, near: bool, digests: dict[str, str]) -> dict[str, Any]:
    return {"method": _METHOD, "near": near, "of": digests, ARRAY: sha256_of(content)}


def group_images(cache: Cache, features: Features, duplicates: Duplicates) -> NDArray[np.int64]:
    """Return the number of the group of each training image; identical and near-duplicate images share a group.

    Parameters
    ----------
    cache : Cache
    features : Features
        The training features that the cache has loaded.
    duplicates : Duplicates
        The pairs of the cache.

    Returns
    -------
    groups : ndarray of shape (n,), int64
        By row. Which rows share a number does not depend on their order.

    Raises
    ------
    CatsDogsError
        The cache has changed since `features` were loaded.
    """
    if cache.digests().get("train") != features.digest:
        raise cache.changed_error()
    pairs = duplicates.pairs
    pairs = pairs[(pairs["split"] == "train") & (pairs["other_split"] == "train")]
    row = {name: number for number, name in enumerate(features.ids.tolist())}
    first, second = (np.array([row[name] for name in pairs[end].tolist()], int) for end in ("id", "other_id"))
    return connected_groups(len(features.ids), first, second)


_Images = tuple[NDArray[Any], ...]
"""The readable images of a split: ids, labels, and digests of shape (n, 16)."""


def _readable(split: Features | Rows) -> _Images:
    return tuple(array[split.readable] for array in (split.ids, split.labels, split.digests))


class _StackedFeatures:
    """The first view of the readable images of several splits, one split after the other, without a copy."""

    def __init__(self, splits: Sequence[Features]) -> None:
        self._splits = splits
        self._split = np.repeat(np.arange(len(splits)), [int(split.readable.sum()) for split in splits])
        self._row = np.concatenate([np.empty(0, int), *(np.flatnonzero(split.readable) for split in splits)])

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        features = np.empty((len(rows), N_FEATURES), np.float32)
        for number, split in enumerate(self._splits):
            in_split = self._split[rows] == number
            features[in_split] = split.features[self._row[rows[in_split]], :N_FEATURES]
        return features


def _find(
    splits: Sequence[str], images: Sequence[_Images], features: Matrix | None, progress: Progress | None
) -> NDArray[Any]:
    """Find the pairs among the images of all splits; `features` has their rows in the same order."""
    empty = np.empty(0, "<U1"), np.empty(0, np.int8), np.empty((0, 16), np.uint8)
    ids, labels, digests = (np.concatenate(arrays) for arrays in zip(empty, *images, strict=True))
    split = np.repeat(np.array(splits, "<U5"), [len(ids) for ids, _, _ in images])
    *ends, similarity = find_pairs(digests, features, progress=progress)
    names = np.array(ids[np.stack(ends)].tolist(), np.str_)  # as wide as the longest of these ids
    columns: dict[str, NDArray[Any]] = {}
    for prefix, end, name in zip(("", "other_"), ends, names, strict=True):
        columns |= {f"{prefix}split": split[end], f"{prefix}id": name, f"{prefix}label": labels[end]}
    columns["similarity"] = similarity
    return np.asarray(
        np.rec.fromarrays([*columns.values()], [(name, column.dtype) for name, column in columns.items()])
    )
