"""Load the features of a split, and check every row."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES
from ..choices import Split
from ..errors import CatsDogsError
from ..paths import user_path
from ..sources.classes import Classes
from . import manifest as manifests
from . import rows, shards
from .manifest import Manifest, Provenance, require_split

_REPAIR_HINT = (
    "Run catsdogs extract with the same images, or import the same features again: this repairs only the damage"
)

_ATTEMPTS = 10
"""How often a cache is read again if another process replaces it at the same time."""


@dataclass(frozen=True, eq=False)
class Features:
    """The features of one split, in natural order of the ids.

    Parameters
    ----------
    ids : ndarray of shape (n,), str
    labels : ndarray of shape (n,), int8
        Position in the classes; -1 means unknown.
    digests : ndarray of shape (n, 16), uint8
        BLAKE2b-128 of each image's bytes.
    readable : ndarray of shape (n,), bool
    features : ndarray of shape (n, views * 2048), float32
        The views side by side; NaN if the image is unreadable.
    facts : structured ndarray of shape (n,), float64
        Width, height, bytes, brightness, contrast and sharpness of each image, as `images.facts.measure` returns them;
        NaN if they are not known.
    unreadable : dict of str to str
        Why an image is unreadable, by id.
    views : tuple of str
    provenance : Provenance
        How the features were computed.
    digest : str
        SHA-256 of the provenance and of everything in the split except the facts; changes if any of these changes.
    classes : pair of str
        Names of the labels 0 and 1.
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
    """The cache of one artifacts folder. The manifest, and each split, is read when it is first used, and kept.

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
        """The cache's manifest, or None if there is no cache."""
        return manifests.read(self.folder)

    def require_manifest(self) -> Manifest:
        """Return the manifest.

        Raises
        ------
        CatsDogsError
            There is no cache, perhaps only parts of one or rows in shards; or it is damaged.
        """
        if self.manifest:
            return self.manifest
        root = self.folder.parent
        if parts := shards.find_parts(self.folder):
            message = f"{root} has no cache, but only {', '.join(path.stem.replace('-', ' ') for path in parts)}"
            raise CatsDogsError(message, "Run catsdogs merge ARTIFACTS FROM... with the folders of all parts")
        message = f"there are no features in {root}{shards.waiting_note(self.folder)}"
        raise CatsDogsError(message, "Run catsdogs run DATA, catsdogs extract DATA, or catsdogs demo")

    @property
    def shard_rows(self) -> int:
        """Number of rows in shards, from a run that has not finished or was interrupted."""
        return shards.count_rows(self.folder)

    def reload(self) -> None:
        """Discard what was read, because the cache has been written since."""
        self.__dict__.pop("manifest", None)
        self._loaded = {}

    def digests(self) -> dict[str, str]:
        """Return `Features.digest` for each split that has all views, without reading the features."""
        return self.manifest.digests() if self.manifest else {}

    def labelled(self, split: str) -> bool | None:
        """Whether all images of a split have labels; None if there is no such split."""
        entry = self.manifest.splits.get(split) if self.manifest else None
        return None if entry is None else entry.labelled == entry.images

    def list(self, split: str) -> Features | rows.Rows:
        """Return a split without its features; if it is damaged, `load` raises the error, or reads a newer cache."""
        manifest = cast(Manifest, self.manifest)
        entry, path_of = manifest.splits[split], (self.folder / split).joinpath
        listed = rows.read_split(path_of, entry.images, (), entry.sha256, manifest.provenance)
        return self.load(split) if listed.damaged else listed

    def load(self, split: str = "train") -> Features:
        """Load one split, and check every row against its checksum.

        Raises
        ------
        CatsDogsError
            There is no such split, a view is missing from it, a file or row is damaged (`DamagedError`), or the cache
            has changed since another split was loaded.
        """
        attempt = 0
        while split not in self._loaded:
            try:
                self._loaded[split] = _load(self.folder, self.require_manifest(), split)
            except DamagedError:
                # Not damaged if another process has replaced the cache since the manifest was read, or restored it too.
                before, self.manifest = self.manifest, manifests.read(self.folder)
                attempt += 1
                pending = self.manifest and self.manifest.renames
                if attempt == _ATTEMPTS or (attempt > 1 and self.manifest == before and not pending):
                    raise
                if any(loaded.digest != self.digests().get(name) for name, loaded in self._loaded.items()):
                    raise self.changed_error() from None
        return self._loaded[split]

    def changed_error(self) -> CatsDogsError:
        """Return the error for a cache that another process has changed while this one was reading it."""
        return CatsDogsError(f"{self.folder} has changed while it was read", "Run the same command again")


def features_folder(artifacts: str | Path) -> Path:
    """Return the folder of the cache in an artifacts folder."""
    return user_path(artifacts) / "features"


def load_features(artifacts: str | Path = "artifacts", *, split: Split = "train") -> Features:
    """Load one split of the cache, and check every row against its checksum.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder.
    split : {"train", "test"}

    Returns
    -------
    Features

    Raises
    ------
    CatsDogsError
        There is no such split, a view is missing from it, or a file or row is damaged (`DamagedError`).
    """
    require_split(split)
    return Cache(features_folder(artifacts)).load(split)


class DamagedError(CatsDogsError):
    """Files of the cache do not match its manifest or their checksums."""


def _load(folder: Path, manifest: Manifest, split: str) -> Features:
    if split not in manifest.splits:
        message = f"there are no {split} features in {folder}{shards.waiting_note(folder)}"
        which = "labelled images" if split == "train" else "unlabelled images, such as in a folder test/"
        raise CatsDogsError(message, f"Run catsdogs extract DATA first, where DATA has {which}")
    if missing := manifest.missing_views(split):
        message = f"the {split} features in {folder} do not have view {', '.join(missing)}"
        raise CatsDogsError(message, f"Run catsdogs extract with the {split} images: it computes only the missing view")
    entry, views = manifest.splits[split], manifest.views

    def path_of(name: str) -> Path:
        """Return the path of a file: if it is committed but not yet renamed, that of ``name.new``."""
        path = folder / split / name
        new = path.with_name(f"{name}.new")
        return new if f"{split}/{name}" in manifest.renames and new.exists() else path

    features = np.empty((entry.images, N_FEATURES * len(views)), np.float32)
    stored = rows.read_split(path_of, entry.images, views, entry.sha256, manifest.provenance, into=features)
    if stored.damaged:
        raise DamagedError(f"{folder / split / stored.damaged[0]} is missing or damaged", _REPAIR_HINT)
    valid = np.all([stored.valid[view] for view in views], axis=0)
    if not valid.all():
        message = f"{np.sum(~valid):,} of {entry.images:,} rows in {folder / split} are damaged (wrong checksum)"
        raise DamagedError(f"{message}; the first is {stored.ids[valid.argmin()]}", _REPAIR_HINT)
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
