"""Load the features of one split, every row checked."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES
from ..errors import CatsDogsError
from ..paths import user_path
from ..sources.classes import Classes
from . import manifest as manifests
from . import rows, shards
from .manifest import Manifest, Provenance

_MEND = "Run catsdogs extract with the same images, or import the same features again: only that is made anew"

_ATTEMPTS = 10
"""How often a cache is read that another run replaces meanwhile."""


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
    facts : structured ndarray of shape (n,), float64
        Width, height, bytes, brightness, contrast and sharpness of each image, as `images.facts` has them; NaN where
        that is not known.
    unreadable : dict of str to str
        Why an image is unreadable, by id.
    views : tuple of str
    provenance : Provenance
        What made them.
    digest : str
        SHA-256 of what made them and of all that the split holds but the facts; changes when anything of that does.
    classes : pair of str
        What the labels 0 and 1 are called.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int8]
    digests: NDArray[np.uint8]
    readable: NDArray[np.bool_]
    features: NDArray[np.float32]
    facts: NDArray[Any]
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
    def shard_rows(self) -> int:
        """How many rows wait in shards, of a run that has not ended, or not well."""
        return shards.count_rows(self.folder)

    def reload(self) -> None:
        """Forget what was read: the cache has been written since."""
        self.__dict__.pop("manifest", None)
        self._loaded = {}

    def digests(self) -> dict[str, str]:
        """Return the `Features.digest` of each split that has all views, without reading the features."""
        return self.manifest.digests() if self.manifest else {}

    def labelled(self, split: str) -> bool | None:
        """Whether all images of a split have labels; None where there is no such split."""
        entry = self.manifest.splits.get(split) if self.manifest else None
        return None if entry is None else entry.labelled == entry.images

    def list(self, split: str) -> Features | rows.Rows:
        """Return a split without its features; where it is damaged, loading them says what to do about it."""
        manifest = cast(Manifest, self.manifest)
        entry, where = manifest.splits[split], (self.folder / split).joinpath
        listed = rows.read_split(where, entry.images, (), entry.sha256, manifest.provenance)
        return self.load(split) if listed.damaged else listed

    def load(self, split: str = "train") -> Features:
        """Load one split, every row checked against its checksum.

        Raises
        ------
        CatsDogsError
            There is no such split, it lacks a view, something in it is damaged (`DamagedError`), or the cache has
            changed since another split was loaded.
        """
        attempt = 0
        while split not in self._loaded:
            try:
                self._loaded[split] = _load(self.folder, self.manifest, split)
            except DamagedError:
                # Not damaged, if another run has replaced it since the manifest was read, or has put it back as well.
                before, self.manifest = self.manifest, manifests.read(self.folder)
                attempt += 1
                pending = self.manifest and self.manifest.renames
                if attempt == _ATTEMPTS or (attempt > 1 and self.manifest == before and not pending):
                    raise
                if any(of.digest != self.digests().get(name) for name, of in self._loaded.items()):
                    changed = f"{self.folder} has changed while it was read"
                    raise CatsDogsError(changed, "Run the same command again") from None
        return self._loaded[split]


def features_folder(artifacts: str | Path) -> Path:
    """Return the folder of the cache in an artifacts folder."""
    return user_path(artifacts) / "features"


def load_features(artifacts: str | Path = "artifacts", *, split: str = "train") -> Features:
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
        There is no such split, it lacks a view, or something in it is damaged (`DamagedError`).
    """
    return Cache(features_folder(artifacts)).load(split)


class DamagedError(CatsDogsError):
    """Files do not match the manifest."""


def _load(folder: Path, manifest: Manifest | None, split: str) -> Features:
    if manifest is None or split not in manifest.splits:
        waiting = f" yet; {count:,} rows wait in shards" if (count := shards.count_rows(folder)) else ""
        raise CatsDogsError(f"there are no {split} features in {folder}{waiting}", "Run catsdogs extract DATA first")
    if missing := manifest.missing_views(split):
        what = f"the {split} features in {folder} lack view {', '.join(missing)}"
        raise CatsDogsError(what, f"Run catsdogs extract with the {split} images: it computes that, and only that")
    entry, views = manifest.splits[split], manifest.views

    def where(name: str) -> Path:
        """Return where a file lies: what a run that was killed has committed may still be beside it."""
        path = folder / split / name
        beside = path.with_name(f"{name}.new")
        return beside if f"{split}/{name}" in manifest.renames and beside.exists() else path

    features = np.empty((entry.images, N_FEATURES * len(views)), np.float32)
    stored = rows.read_split(where, entry.images, views, entry.sha256, manifest.provenance, into=features)
    if stored.damaged:
        raise DamagedError(f"{folder / split / stored.damaged[0]} is missing or damaged", _MEND)
    valid = np.all([stored.valid[view] for view in views], axis=0)
    if not valid.all():
        what = f"{np.sum(~valid):,} of {entry.images:,} rows in {folder / split} are damaged"
        first = f"the first of them {stored.ids[valid.argmin()]}: they do not match their checksums"
        raise DamagedError(f"{what}, {first}", _MEND)
    return Features(
        ids=stored.ids,
        labels=stored.labels,
        digests=stored.digests,
        readable=stored.readable,
        features=features,
        facts=stored.facts,
        unreadable=stored.unreadable,
        views=views,
        provenance=manifest.provenance,
        digest=manifest.digests()[split],
        classes=manifest.classes,
    )
