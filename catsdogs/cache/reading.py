"""Load the features of one split, every row checked."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError
from ..locks import FEATURES, require_unlocked
from ..paths import user_path
from ..sources.classes import Classes
from ..storage import to_json
from . import manifest as manifests
from . import rows
from .manifest import IMPORTED, Manifest, Provenance, SplitEntry

_MEND = "Run catsdogs extract with the same images: it computes again what is damaged, and only that"
_GO_ON = "Run catsdogs extract with the same images: it goes on where it stopped"
_AGAIN = "Run the same command again"
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


class Cache:
    """The cache of one artifacts folder, read once: its manifest when it is first asked for, and each split as well.

    Parameters
    ----------
    folder : Path
        ``artifacts/features``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loaded: dict[str, Features] = {}

    @cached_property
    def manifest(self) -> Manifest | None:
        """What the cache says of itself, or None where there is none."""
        return manifests.read(self.folder)

    @property
    def splits(self) -> dict[str, SplitEntry]:
        """What the manifest says of each split; nothing where there is no cache."""
        return self.manifest.splits if self.manifest else {}

    def reload(self) -> None:
        """Forget what was read: the cache has been written since."""
        self.__dict__.pop("manifest", None)
        self._loaded = {}

    def digests(self) -> dict[str, str]:
        """Return the `Features.digest` of each complete split, without reading the features."""
        if self.manifest is None:
            return {}
        return {split: _digest(self.manifest, entry) for split, entry in self.splits.items() if entry.complete}

    def labelled(self, split: str) -> bool | None:
        """Whether all images of a split have labels; None where there is no such split."""
        entry = self.splits.get(split)
        return None if entry is None else entry.labelled == entry.images

    def load(self, split: str = "train") -> Features:
        """Load one split, every row checked against its checksum.

        Raises
        ------
        CatsDogsError
            There is no such split, it is not complete, something in it is damaged (`DamagedError`), or the cache has
            changed since another split was loaded.
        """
        if split not in self._loaded:
            try:
                self._loaded[split] = _load(self.folder, self.manifest, split)
            except DamagedError:
                # Not damaged, if it is another run that has changed it since the manifest was read.
                require_unlocked(self.folder.parent, FEATURES)
                if manifests.read(self.folder) == self.manifest:
                    raise
                if self._loaded:  # what is read now would not belong to that
                    raise CatsDogsError(f"{self.folder} has changed while it was read", _AGAIN) from None
                self.reload()
                return self.load(split)
        return self._loaded[split]


def features_folder(artifacts: str | Path) -> Path:
    """Return the folder of the cache in an artifacts folder."""
    return user_path(artifacts) / "features"


def load_features(artifacts: str | Path = "artifacts", split: str = "train") -> Features:
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
    return Cache(features_folder(artifacts)).load(split)


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
    if not entry.complete:
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


def _digest(manifest: Manifest, entry: SplitEntry) -> str:
    return hashlib.sha256(to_json([manifest.provenance.key, manifest.views, entry.sha256])).hexdigest()
