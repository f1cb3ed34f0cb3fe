"""Add computed rows to a cache, and commit them together.

Computed rows are written to shards; the cache does not change until `CacheWriter.assemble` replaces it.
"""

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone import Int8Similarity, Quantized
from ..errors import CatsDogsError
from ..images.facts import FACTS_COLUMN
from ..storage import write_if_changed
from . import manifest as manifests
from . import npy, shards
from .assembling import RowIndex, SplitAssembly
from .manifest import IMPORTED, SPLITS, Manifest, SplitEntry, describe, network_content
from .remote import RemoteParts
from .rows import FEATURE_ROW, KnownRows, Rows, read_split


class CacheWriter(AbstractContextManager["CacheWriter"]):
    """A cache to which rows are added; a context manager, which writes all added rows to shards on exit.

    The caller must hold the folder's lock (`locks.write_lock`). The cache does not change before `assemble`.

    Parameters
    ----------
    folder : Path
        The cache's folder, ``artifacts/features``.
    made : Manifest
        How the new features are computed, their views, and the classes; without splits.
    wanted : dict of str to (ids, labels)
        The splits to write, ids in natural order. Other splits of the cache do not change.
    prune : bool
        Whether rows of another provenance, views, splits, and half of the images or more may be removed.
    network : Quantized, optional
        The quantized network that computes the features.
    parts : sequence of Path
        Other caches whose shards are read too; they do not change.
    is_part : bool
        Whether the rows stay in shards, and `assemble` is not called.
    remote : RemoteParts, optional
        Where shards are put, of which the folder has a copy.

    Attributes
    ----------
    int8_similarity : Int8Similarity or None
        Similarity of the quantized network's features to those in float32, if known.
    images : int
        Number of images in `wanted`.
    differing : int
        Number of rows that were stored more than once with different values, within the tolerance of the precision;
        set by `assemble`.

    Raises
    ------
    CatsDogsError
        Rows of another provenance, views or splits would be removed and `prune` is not set, there is not enough disk
        space, or the manifest is damaged.
    """

    def __init__(
        self,
        folder: Path,
        made: Manifest,
        wanted: Mapping[str, tuple[Sequence[str], NDArray[np.int8]]],
        *,
        prune: bool = False,
        network: Quantized | None = None,
        parts: Sequence[Path] = (),
        is_part: bool = False,
        remote: RemoteParts | None = None,
    ) -> None:
        provenance, self._views, self._classes = made.provenance, made.views, made.classes
        self._folder, self._wanted, self._prune = folder, wanted, prune
        self._network, self._provenance, self._remote = network, provenance, remote
        self._before = manifests.roll_forward(folder)
        self._kept: dict[str, SplitEntry] = {}
        self.images, self.differing = sum(len(ids) for ids, _ in wanted.values()), 0
        self.int8_similarity: Int8Similarity | None = None
        if self._before:
            self._keep_compatible(self._before)
        self._shards = shards.ShardWriter(folder, self._provenance, network, remote)
        self._shard_folders = [shards.shards_folder(cache, provenance) for cache in (folder, *parts)]
        for manifest in chain(*map(shards.read_provenances, (folder, *parts))):
            if manifest.provenance.key == provenance.key:
                self.int8_similarity = manifest.int8_similarity or self.int8_similarity
        self._stored = {split: self._read_stored(split) for split in SPLITS if (folder / split).exists()}
        self._index, self._read = self._index_rows()
        self._check_disk_space(is_part=is_part)

    def __exit__(self, *raised: object) -> None:
        self._flush()

    @property
    def manifest(self) -> Manifest:
        """The manifest of the added rows, without splits."""
        return Manifest(self._provenance, self._views, {}, self._classes, self.int8_similarity)

    def known(self) -> KnownRows:
        """Return which rows existed when the cache was opened."""
        return self._known(self._index.sources)

    def known_since(self) -> KnownRows:
        """Return which rows other processes have written to shards since the cache was opened, or the last call."""
        if self._remote:
            self._remote.fetch(self._folder)
        new = [path for path in shards.find_shards(self._shard_folders[0]) if path not in self._read]
        self._read |= {path: shards.read_shard(path, self._provenance) for path in new}
        for path in new:
            self._index.add(self._read[path])
        return self._known({digest.tobytes() for path in new for digest in self._read[path].digests})

    def _known(self, digests: Iterable[bytes]) -> KnownRows:
        found = [(digest, *self._index.missing(digest)) for digest in digests]
        missing = {digest: columns for digest, columns, _ in found}
        return KnownRows((*self._views, FACTS_COLUMN), missing, {digest: why for digest, _, why in found if why})

    def check_losses(self, digest_all: Callable[[], NDArray[np.uint8]]) -> None:
        """Raise an error if half of a split's images, or all images of a class, would be removed without `prune`.

        Parameters
        ----------
        digest_all : callable
            Returns the digests of all images in `wanted`, of shape (n, 16), uint8: an image with a new id is not
            removed. Called only if so many ids are missing.

        Raises
        ------
        CatsDogsError
            The images are not in `wanted`.
        """
        if self._prune or not self._find_losses(set()):
            return
        if lost := self._find_losses({digest.tobytes() for digest in digest_all()}):
            raise CatsDogsError(f"{self._folder} would lose {lost}", self._hint)

    def _find_losses(self, digests: Collection[bytes], unread: Collection[tuple[str, str]] = ()) -> str:
        """Describe what would be removed, given all new digests and the split and id of unreadable files; or ""."""
        lost = []
        for split in [split for split in self._stored if split in self._kept and split in self._wanted]:
            (ids, labels), stored = self._wanted[split], self._stored[split]
            # Images whose rows are all damaged do not count, nor do images that were unreadable before.
            existing = np.any(list(stored.valid.values()), axis=0) & (stored.readable | (not unread))
            moved = np.array([digest.tobytes() in digests for digest in stored.digests], bool)
            removed = existing & ~np.isin(stored.ids, [name for name in ids if (split, name) not in unread]) & ~moved
            if removed.any() and 2 * removed.sum() >= existing.sum():
                lost.append(f"{removed.sum():,} of the {existing.sum():,} {split} images")
            known = self._before.classes if self._before and "labels.npy" not in stored.damaged else ()
            for label, name in enumerate(known):
                of_class = existing & (stored.labels == label)
                if of_class.any() and (removed[of_class].all() or not np.any(labels == label)):
                    lost.append(f"all {of_class.sum():,} {split} images of class {name}")
        return " and ".join(lost)

    def add_rows(
        self,
        digests: NDArray[np.uint8],
        features: Mapping[str, NDArray[np.float32]],
        facts: NDArray[Any] | None = None,
        reason: str = "",
    ) -> None:
        """Add the features of n images; they are in a shard within seconds, and in the cache after `assemble`.

        Parameters
        ----------
        digests : ndarray of shape (n, 16), uint8
            Digests of the images' bytes.
        features : dict of str to ndarray of shape (n, 2048), float32
            Finite features by view, or what `no_features` returns.
        facts : ndarray of shape (n,), FACTS, optional
            NaN where an image was not measured.
        reason : str
            Why these images cannot be decoded; empty if they have features.
        """
        self._shards.add(digests, features, facts, reason)
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write the waiting rows to a shard if they are due; also called for images that are not added."""
        if self._shards.due:
            self._flush()

    def assemble(self, digests: NDArray[np.uint8], unreadable: Mapping[int, str] = {}) -> dict[str, dict[str, str]]:
        """Write the rows of all images in `wanted` to the arrays, and commit them together.

        Parameters
        ----------
        digests : ndarray of shape (n, 16), uint8
            Digests of the images of all splits in `wanted`, in this order; zeros if a file could not be read.
        unreadable : dict of int to str
            Why a file could not be read, by position.

        Returns
        -------
        unreadable : dict of str to dict
            Why images are unreadable, by split and id.

        Raises
        ------
        CatsDogsError
            Two stored values of a row differ by more than the precision allows; or so many files cannot be read that
            half of a split or all of a class would be removed, for example because a drive is missing.
        """
        self._flush()
        now = {digest.tobytes() for digest in digests}
        names = [(split, name) for split, (ids, _) in self._wanted.items() for name in ids]
        unread = {names[position] for position in unreadable}
        if unread and not self._prune and (lost := self._find_losses(now, unread)):
            raise CatsDogsError(f"{self._folder} would lose {lost}: their files cannot be read", self._hint)
        index, read = self._index_rows()
        assemblies: dict[str, SplitAssembly] = {}
        reasons = [shards.canonical_reason(unreadable.get(position, "")) for position in range(len(digests))]
        first = 0
        for split, wanted in self._wanted.items():
            here = slice(first, first := first + len(wanted[0]))
            assemblies[split] = SplitAssembly(self._folder / split, index, wanted, digests[here], reasons[here])
        self.differing = sum(assembly.differing for assembly in assemblies.values())
        self._commit(assemblies)
        own = {path: shard for path, shard in read.items() if path.is_relative_to(self._shard_folders[0])}
        used = [path for path, shard in own.items() if self._is_used(shard, now)]
        others = shards.find_shards(self._folder / "shards") if self._prune else []
        used += [path for path in others if path.parent != self._shard_folders[0]]
        shards.remove_shards(used, self._shard_folders[0])
        for table in shards.find_parts(self._folder):  # the rows of such a part are in the cache now
            table.unlink(missing_ok=True)
        return {split: assembly.rows.unreadable for split, assembly in assemblies.items()}

    def list_unreadable(
        self, digests: NDArray[np.uint8], unreadable: Mapping[int, str]
    ) -> tuple[list[str], dict[str, dict[str, str]]]:
        """Write the added rows to shards, and return what `assemble` would return, without assembling.

        Parameters
        ----------
        digests, unreadable
            As for `assemble`.

        Returns
        -------
        reasons : list of str, length n
            Why an image is unreadable, or "".
        unreadable : dict of str to dict
            The same by split and id.
        """
        self._flush()
        index, _ = self._index_rows()
        reasons = [
            shards.canonical_reason(unreadable.get(position, "")) or index.find(digest.tobytes())[1]
            for position, digest in enumerate(digests)
        ]
        rest = iter(reasons)
        by_id = {split: {name: why for name in ids if (why := next(rest))} for split, (ids, _) in self._wanted.items()}
        return reasons, by_id

    def invalid_shards(self) -> list[Path]:
        """Return the shards, read when the cache was opened, in which no row matches its checksum."""
        return [path for path, rows in self._read.items() if rows.files and not np.any(list(rows.valid.values()))]

    def _is_used(self, shard: Rows, digests: Collection[bytes]) -> bool:
        """Whether all rows of a shard are in the cache now: no other views, and no images of other splits."""
        rows = shard.digests[np.any(list(shard.valid.values()), axis=0)]
        all_images = len(self._wanted) == len(SPLITS) or all(digest.tobytes() in digests for digest in rows)
        return self._prune or (all_images and set(shard.files) <= set(self._views))

    def _commit(self, assemblies: Mapping[str, SplitAssembly]) -> None:
        entries = self._kept | {split: assembly.entry() for split, assembly in assemblies.items()}
        manifest = replace(self.manifest, splits={split: entries[split] for split in SPLITS if split in entries})
        try:
            renames = tuple(chain(*(new.write(self._stored.get(split)) for split, new in assemblies.items())))
        except BaseException:
            with suppress(OSError):  # the original error is the one to report
                manifests.remove_uncommitted(self._folder, self._before)
            raise
        removals = tuple(sorted(self._before.files() - manifest.files())) if self._before else ()
        for name, content in network_content(self._network).items():
            write_if_changed(self._folder / name, content)
        if renames or manifest != self._before:
            manifests.commit(self._folder, replace(manifest, renames=renames, removals=removals))

    def _flush(self) -> None:
        self._shards.int8_similarity = self.int8_similarity
        self._shards.flush()

    def _keep_compatible(self, before: Manifest) -> None:
        """Keep the splits of the same provenance, views and classes; raise an error if others may not be removed."""
        old, new = before.provenance, self._provenance
        if old.key == new.key:
            # The recorded versions stay those that computed the first rows.
            self._provenance, self.int8_similarity = old, before.int8_similarity
            # A labelled split that is not rewritten is kept only if the classes are the same.
            same = before.classes == self._classes
            self._kept = {
                name: entry
                for name, entry in before.splits.items()
                if same or name in self._wanted or not entry.labelled
            }
        removed = sum(entry.images for split, entry in before.splits.items() if split not in self._kept)
        old_rows, replacement = f"with the labels {' and '.join(before.classes)}", " and ".join(self._classes)
        if old.key != new.key or not set(before.views) <= set(self._views):
            removed = sum(entry.images for entry in before.splits.values())
            old_rows, replacement = f"computed by {describe(old, before.views, new)}", describe(new, self._views, old)
        if removed and not self._prune:
            message = f"{self._folder} has {removed:,} rows {old_rows}; {replacement} would replace them"
            raise CatsDogsError(message, self._hint)

    @property
    def _hint(self) -> str:
        prune = "" if self._provenance.engine == IMPORTED else "rerun with --prune to replace the cache, or "
        return f"Check the given path and options, or {prune}give another artifacts folder to keep both"

    def _read_stored(self, split: str) -> Rows:
        """Read an existing split; without a manifest, the files' sizes give the number of rows."""
        folder, entry = self._folder / split, self._before and self._before.splits.get(split)
        n = entry.images if entry else npy.count_rows(folder / "digests.npy", np.dtype((np.uint8, (16,))))
        views, sha256 = (entry.views, entry.sha256) if entry else (self._views, {})
        return read_split(folder.joinpath, n, views, sha256, self._provenance)

    def _index_rows(self) -> tuple[RowIndex, dict[Path, Rows]]:
        """Return an index of all stored rows, in which arrays precede shards, and the shards that it covers."""
        if self._remote:
            self._remote.fetch(self._folder)
        index = RowIndex(self._provenance, self._views)
        found = chain(*map(shards.find_shards, self._shard_folders))
        read = {path: shards.read_shard(path, self._provenance) for path in found}
        for rows in (*self._stored.values(), *read.values()):
            index.add(rows)
        return index, read

    def _check_disk_space(self, *, is_part: bool) -> None:
        disk = next(path for path in (self._folder.absolute(), *self._folder.absolute().parents) if path.exists())
        stored, wanted = self._stored, self.images
        listed = {split: rows.ids for split, rows in stored.items()}
        same = all(np.array_equal(listed.get(split, ()), ids) for split, (ids, _) in self._wanted.items())
        tables = [stored[split] for split in stored.keys() & self._wanted] + self._index.tables[len(stored) :]
        counts = [sum(table.valid[view].sum() for table in tables if view in table.valid) for view in self._views]
        # New rows are in shards first, and then all in the arrays too. Ids, digests, checksums and facts add 5 %.
        arrays = 0 if is_part else wanted
        rows = sum(0 if same and count >= wanted else max(0, wanted - count) + arrays for count in counts)
        needed, free = int(1.05 * rows * FEATURE_ROW.itemsize), shutil.disk_usage(disk).free
        if needed > free:
            message = (
                f"the features need {needed:,} more bytes on the disk of {self._folder}, but only {free:,} are free"
            )
            hint = "Free disk space, or give --artifacts DIR, or with a URI TMPDIR, on another disk"
            raise CatsDogsError(message, hint)
