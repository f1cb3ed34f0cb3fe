"""Load the features of one split, every row checked."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Artifacts, ArtifactsPath
from ..errors import CatsDogsError
from ..locks import require_unlocked
from ..sources.classes import Classes
from ..storage import to_json
from . import manifest as manifests
from . import rows
from .manifest import IMPORTED, Manifest, Provenance

_MEND = "Run catsdogs extract with the same images: it computes again what is damaged, and only that"
_GO_ON = "Run catsdogs extract with the same images: it goes on where it stopped"
_IMPORT = "Import the same features again: it mends what is missing or damaged"


@dataclass(frozen=True, eq=False)
class Features:
    """One split in natural order of ids.

    Parameters
    ----------
    ids : ndarray of shape (n,), str
    labels : ndarray of shape (n,), int8
        A position in the classes, -1 unknown.
    digests : ndarray of shape (n, 16), uint8
        BLAKE2b-128 of each image's bytes.
    readable : ndarray of shape (n,), bool
    features : ndarray of shape (n, views * 2048), float32
        The views side by side; NaN where the image is unreadable.
    unreadable : dict of str to str
        Why an image is unreadable, by id.
    views : tuple of str
    provenance : Provenance
        What made them.
    digest : str
        SHA-256 of what made them and of all that the split holds; changes when anything of that does.
    classes : pair of str
        What the labels 0 and 1 are called.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int8]
    digests: NDArray[np.uint8]
    readable: NDArray[np.bool_]
    features: NDArray[np.float32]
    unreadable: dict[str, str]
    views: tuple[str, ...]
    provenance: Provenance
    digest: str
    classes: Classes


def digests(artifacts: ArtifactsPath = "artifacts") -> dict[str, str]:
    """Return the `Features.digest` of each complete split, without reading the features."""
    manifest = manifests.read(Artifacts.at(artifacts).features)
    entries = manifest.splits if manifest else {}
    return {split: _digest(manifest, entry) for split, entry in entries.items() if manifest and entry["complete"]}


def labelled_splits(artifacts: ArtifactsPath = "artifacts") -> dict[str, bool]:
    """Return which of "train" and "test" the cache holds, and whether all images of it have labels."""
    manifest = manifests.read(Artifacts.at(artifacts).features)
    entries = manifest.splits if manifest else {}
    return {split: entry["labelled"] == entry["images"] for split, entry in entries.items()}


def load_features(artifacts: ArtifactsPath = "artifacts", split: str = "train") -> Features:
    """Load one split of the cache, every row checked against its checksum.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder.
    split : str
        "train" or "test".

    Returns
    -------
    Features

    Raises
    ------
    CatsDogsError
        There is no such split, it is not complete, or something in it is damaged (`DamagedError`).
    """
    artifacts = Artifacts.at(artifacts)
    folder = artifacts.features
    manifest = manifests.read(folder)
    try:
        return _load(folder, manifest, split)
    except DamagedError:
        # Not damaged, if it is another run that has changed it since the manifest was read.
        require_unlocked(artifacts)
        if manifests.read(folder) != manifest:
            return load_features(artifacts, split)
        raise


class DamagedError(CatsDogsError):
    """Files do not match the manifest."""


def _load(folder: Path, manifest: Manifest | None, split: str) -> Features:
    imported = manifest is not None and manifest.provenance.engine == IMPORTED
    if manifest is None or split not in manifest.splits:
        raise CatsDogsError(
            f"there are no {split} features in {folder}",
            f'Call import_features(..., split="{split}") first' if imported else "Run catsdogs extract DATA first",
        )
    entry = manifest.splits[split]
    if not entry["complete"]:
        raise CatsDogsError(f"the {split} features in {folder} are not complete", _IMPORT if imported else _GO_ON)
    mend = _IMPORT if imported else _MEND
    stored = rows.read(folder / split, entry, manifest.views)
    if stored.damaged:
        raise DamagedError(f"{folder / split / stored.damaged[0]} is missing or damaged", mend)
    # What is checked is what is handed out, whatever becomes of the files meanwhile.
    arrays = list(stored.features.values())
    features = np.concatenate(arrays, axis=1) if len(arrays) > 1 else arrays[0]
    of_views = np.split(features, len(manifest.views), axis=1)
    status = rows.check(replace(stored, features=dict(zip(manifest.views, of_views, strict=True))), manifest.provenance)
    if damaged := int(np.sum(status == rows.UNSEEN)):
        raise DamagedError(
            f"{damaged:,} of {len(status):,} rows in {folder / split} are damaged, the first of them "
            f"{stored.ids[status.argmin()]}: they do not match their checksums",
            mend,
        )
    return Features(
        ids=stored.ids,
        labels=stored.labels,
        digests=stored.digests,
        readable=status == rows.READABLE,
        features=features,
        unreadable={name: stored.reasons[name] for name in stored.ids[status == rows.UNREADABLE].tolist()},
        views=manifest.views,
        provenance=manifest.provenance,
        digest=_digest(manifest, entry),
        classes=manifest.classes,
    )


def _digest(manifest: Manifest, entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json([manifest.provenance.key, manifest.views, entry["sha256"]])).hexdigest()
