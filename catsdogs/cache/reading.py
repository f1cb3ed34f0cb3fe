"""A cache's folder comes in; out go the features of one split, every row checked."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError
from . import manifest as manifests
from . import rows
from .manifest import Origin

_MEND = "Run catsdogs extract with the same images: it computes again what is damaged, and only that"


@dataclass(frozen=True)
class Features:
    """One split in natural order of ids.

    Parameters
    ----------
    ids : ndarray of shape (n,), str
    labels : ndarray of shape (n,), int8
        1 dog, 0 cat, -1 unknown.
    digests : ndarray of shape (n, 16), uint8
        BLAKE2b-128 of each image's bytes.
    readable : ndarray of shape (n,), bool
    features : ndarray of shape (n, views * 2048), float32
        The views side by side; NaN where the image is unreadable.
    unreadable : dict of str to str
        Why an image is unreadable, by id.
    views : tuple of str
    origin : Origin
        What made them.
    digest : str
        SHA-256 of all that a head depends on: origin, views, ids, labels, and the checksums of the rows.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int8]
    digests: NDArray[np.uint8]
    readable: NDArray[np.bool_]
    features: NDArray[np.float32]
    unreadable: dict[str, str]
    views: tuple[str, ...]
    origin: Origin
    digest: str


def labelled_splits(artifacts: str | Path = "artifacts") -> dict[str, bool]:
    """Return which of "train" and "test" the cache holds, and whether all images of it have labels."""
    manifest = manifests.read(Path(artifacts) / "features")
    entries = manifest.splits if manifest else {}
    return {split: entry["labelled"] == entry["images"] for split, entry in entries.items()}


def load_features(artifacts: str | Path = "artifacts", split: str = "train", *, partial: bool = False) -> Features:
    """Load one split of the cache, every row checked against its checksum.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder.
    split : str
        "train" or "test".
    partial : bool
        Take the rows that are there from a cache that is not complete.

    Returns
    -------
    Features

    Raises
    ------
    CatsDogsError
        There is no such split, it is not complete, or something in it is damaged.
    """
    folder = Path(artifacts) / "features"
    manifest = manifests.read(folder)
    if manifest is None or split not in manifest.splits:
        raise CatsDogsError(f"there are no {split} features in {folder}", "Run catsdogs extract DATA first")
    entry, origin = manifest.splits[split], manifest.origin
    if not entry["complete"] and not partial:
        raise CatsDogsError(
            f"the {split} features in {folder} are not complete",
            "Run catsdogs extract with the same images: it goes on where it stopped",
        )
    for name, expected in entry["sha256"].items():
        path = folder / split / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise CatsDogsError(f"{path} is missing or damaged: it does not match the manifest", _MEND)
    stored = rows.read(folder / split, entry["images"], manifest.views)
    valid = rows.sound(stored, origin)
    if not partial and not valid.all():
        raise CatsDogsError(
            f"{np.sum(~valid):,} of {len(valid):,} rows in {folder / split} are damaged, the first of them "
            f"{stored.ids[valid.argmin()]}: they do not match their checksums",
            _MEND,
        )
    keep = valid if partial else slice(None)
    return Features(
        ids=np.array(stored.ids[keep]),
        labels=np.array(stored.labels[keep]),
        digests=np.array(stored.digests[keep]),
        readable=stored.status[keep] == rows.READABLE,
        features=np.concatenate([stored.features[view][keep] for view in manifest.views], axis=1),
        unreadable=stored.reasons,
        views=manifest.views,
        origin=origin,
        digest=_digest(stored, manifest, keep),
    )


def _digest(stored: rows.Rows, manifest: manifests.Manifest, keep: NDArray[np.bool_] | slice) -> str:
    state = hashlib.sha256(repr((manifest.origin.key, manifest.views, stored.ids[keep].tolist())).encode())
    arrays: list[NDArray[Any]] = [stored.labels, stored.status, stored.digests, *stored.sums.values()]
    for array in arrays:
        state.update(array[keep].tobytes())
    return state.hexdigest()
