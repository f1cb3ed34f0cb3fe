"""Add rows to a cache as they are computed, and commit them together.

What is computed goes to shards; the cache stays as it was until `CacheWriter.assemble` replaces it.
"""

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES, Int8Similarity, Quantized
from ..errors import CatsDogsError
from ..images.facts import FACTS_COLUMN
from ..sources.classes import CLASSES, Classes
from ..storage import write_if_changed
from . import manifest as manifests
from . import npy, shards
from .assembling import RowIndex, SplitAssembly
from .manifest import IMPORTED, SPLITS, Manifest, Provenance, SplitEntry, describe, network_content
from .rows import FEATURE_ROW, KnownRows, Rows, read_split


class CacheWriter:
    """A cache to which rows are added; a context manager, which keeps on every way out what was added.

    Its folder must be held for writing (`locks.write_lock`). Nothing of the cache changes before `assemble`.

    Parameters
    ----------
    folder : Path
        The cache: ``artifacts/features``.
    provenance : Provenance
        What makes the features.
    views : tuple of str
    wanted : dict of str to (ids, labels)
        The splits to fill, ids in natural order. Other splits of the cache stay as they are.
    prune : bool
        Whether rows of something else, views, splits and most of the images may go.
    classes : pair of str, optional
        What the labels 0 and 1 are called; by default as in what is there, or cat and dog.
    network : Quantized, optional
        The quantized network that computes the features.

    Attributes
    ----------
    int8_similarity : Int8Similarity or None
        How near the quantized network is to float32, where that is known.
    differing : int
        Rows of which there were copies that are not the same, within what the precision lets them; after `assemble`.

    Raises
    ------
    CatsDogsError
        Rows of something else, views or splits would go and `prune` is not set, there is not room enough, or the
        manifest is damaged.
    """

    def __init__(
        self,
        folder: Path,
        provenance: Provenance,
        views: tuple[str, ...],
        wanted: Mapping[str, tuple[Sequence[str], NDArray[np.int8]]],
        *,
        prune: bool = False,
        classes: Classes | None = None,
        network: Quantized | None = None,
    ) -> None:
        self._folder, self._views, self._wanted, self._prune = folder, views, wanted, prune
        self._network, self._provenance = network, provenance
        self._before = manifests.roll_forward(folder)
        self._classes = classes or (self._before.classes if self._before else CLASSES)
        self._kept: dict[str, SplitEntry] = {}
        self.differing = 0
        self.int8_similarity: Int8Similarity | None = None
        if self._before:
            self._keep_compatible(self._before)
        self._shards = shards.ShardWriter(folder, self._provenance, network)
        for beside in shards.read_provenances(folder):
            if beside.provenance.key == provenance.key:
                self.int8_similarity = beside.int8_similarity or self.int8_similarity
        self._stored = {split: self._read_stored(split) for split in SPLITS if (folder / split).exists()}
        self._index, _ = self._index_rows()
        self._check_disk_space()

    def __enter__(self) -> "CacheWriter":
        return self

    def __exit__(self, *raised: object) -> None:
        self._flush()

    def known(self) -> KnownRows:
        """Return which rows are there, as they were when the cache was opened."""
        found = [(digest, *self._index.missing(digest)) for digest in self._index.sources]
        missing = {digest: columns for digest, columns, _ in found}
        return KnownRows((*self._views, FACTS_COLUMN), missing, {digest: why for digest, _, why in found if why})

    def check_losses(self, digest_all: Callable[[], NDArray[np.uint8]]) -> None:
        """Refuse to drop half of the images of a split, or all of a class, where that is not asked for.

        Parameters
        ----------
        digest_all : callable
            Returns the digests of all images that are wanted, of shape (n, 16), uint8: what has another id now is not
            dropped. Called only where so many ids are gone.

        Raises
        ------
        CatsDogsError
            They are not among those that are wanted.
        """
        if self._prune or not self._find_losses(set()):
            return
        if lost := self._find_losses({digest.tobytes() for digest in digest_all()}):
            raise CatsDogsError(f"{self._folder} would lose {lost}", self._hint)

    def _find_losses(self, digests: Collection[bytes], unread: Collection[tuple[str, str]] = ()) -> str:
        """Say what would be lost if there were these bytes, and files by split and id that cannot be read; or ""."""
        lost = []
        for split in [split for split in self._stored if split in self._kept and split in self._wanted]:
            (ids, labels), stored = self._wanted[split], self._stored[split]
            # What is damaged as a whole is lost already, and so is what could not be read before either.
            there = np.any(list(stored.valid.values()), axis=0) & (stored.readable | (not unread))
            moved = np.array([digest.tobytes() in digests for digest in stored.digests], bool)
            gone = there & ~np.isin(stored.ids, [name for name in ids if (split, name) not in unread]) & ~moved
            if gone.any() and 2 * gone.sum() >= there.sum():
                lost.append(f"{gone.sum():,} of the {there.sum():,} {split} images")
            known = self._before.classes if self._before and "labels.npy" not in stored.damaged else ()
            for label, name in enumerate(known):
                of_class = there & (stored.labels == label)
                if of_class.any() and (gone[of_class].all() or not np.any(labels == label)):
                    lost.append(f"all {of_class.sum():,} {split} images of class {name}")
        return " and ".join(lost)

    def add(
        self,
        digest: NDArray[np.uint8],
        features: Mapping[str, NDArray[np.float32]],
        facts: np.void | None = None,
        reason: str | None = None,
    ) -> None:
        """Add what an image's bytes give; it is on the disk within seconds, and in the cache after `assemble`.

        Parameters
        ----------
        digest : ndarray of shape (16,), uint8
            Of the bytes.
        features : dict of str to ndarray of shape (2048,), float32
            By view, finite.
        facts : record of FACTS, optional
        reason : str, optional
            Why there are no features, of a file that cannot be decoded.
        """
        if reason is not None:
            features = dict.fromkeys(self._views, np.full(N_FEATURES, np.nan, np.float32))
        self._shards.add(digest, features, facts, shards.canonical_reason(reason or ""))
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write what waits if it has waited long enough, as where no image that comes need be added."""
        if self._shards.due:
            self._flush()

    def assemble(self, digests: NDArray[np.uint8], unreadable: Mapping[int, str] = {}) -> dict[str, dict[str, str]]:
        """Put the rows of all wanted images into the arrays, and commit them together.

        Parameters
        ----------
        digests : ndarray of shape (n, 16), uint8
            Of the images of all wanted splits, one after the other; zeros where a file could not be read.
        unreadable : dict of int to str
            Why such files could not be read, by position.

        Returns
        -------
        unreadable : dict of str to dict
            Why images are unreadable, by split and id.

        Raises
        ------
        CatsDogsError
            Copies of a row differ by more than the precision lets them; or so many files cannot be read that half of a
            split or a whole class would be lost, as where a drive is not there.
        """
        self._flush()
        now = {digest.tobytes() for digest in digests}
        names = [(split, name) for split, (ids, _) in self._wanted.items() for name in ids]
        unread = {names[position] for position in unreadable}
        if unread and not self._prune and (lost := self._find_losses(now, unread)):
            raise CatsDogsError(f"{self._folder} would lose {lost}, as their files cannot be read", self._hint)
        index, read = self._index_rows()
        assemblies: dict[str, SplitAssembly] = {}
        reasons = [shards.canonical_reason(unreadable.get(position, "")) for position in range(len(digests))]
        first = 0
        for split, wanted in self._wanted.items():
            here = slice(first, first := first + len(wanted[0]))
            assemblies[split] = SplitAssembly(self._folder / split, index, wanted, digests[here], reasons[here])
        self.differing = sum(assembly.differing for assembly in assemblies.values())
        self._commit(assemblies)
        used = [path for path, shard in read.items() if self._is_used(shard, now)]
        others = shards.find_shards(self._folder / "shards") if self._prune else []
        used += [path for path in others if path.parent != self._shards.folder]
        shards.remove_shards(used, self._shards.folder)
        return {split: assembly.rows.unreadable for split, assembly in assemblies.items()}

    def _is_used(self, shard: Rows, digests: Collection[bytes]) -> bool:
        """Whether nothing in a shard waits any more: no view, and no image of a split that was not given."""
        rows = shard.digests[np.any(list(shard.valid.values()), axis=0)]
        everything = len(self._wanted) == len(SPLITS) or all(digest.tobytes() in digests for digest in rows)
        return self._prune or (everything and set(shard.files) <= set(self._views))

    def _commit(self, assemblies: Mapping[str, SplitAssembly]) -> None:
        entries = self._kept | {split: assembly.entry() for split, assembly in assemblies.items()}
        manifest = Manifest(
            provenance=self._provenance,
            views=self._views,
            splits={split: entries[split] for split in SPLITS if split in entries},
            classes=self._classes,
            int8_similarity=self.int8_similarity,
        )
        try:
            renames = tuple(chain(*(of.write(self._stored.get(split)) for split, of in assemblies.items())))
        except BaseException:
            with suppress(OSError):  # it must not hide the error
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
        """Take over what the cache has of the same provenance, views and classes; the rest goes, if it may."""
        old, new = before.provenance, self._provenance
        if old.key == new.key:
            # What it says of versions stays what made the first row.
            self._provenance, self.int8_similarity = old, before.int8_similarity
            # Labels that stay as they are would be taken for those of the other classes.
            same = before.classes == self._classes
            self._kept = {
                name: of for name, of in before.splits.items() if same or name in self._wanted or not of.labelled
            }
        gone = sum(entry.images for name, entry in before.splits.items() if name not in self._kept)
        what, now = f"with the labels {' and '.join(before.classes)}", " and ".join(self._classes)
        if old.key != new.key or not set(before.views) <= set(self._views):
            gone = sum(entry.images for entry in before.splits.values())
            what, now = f"made by {describe(old, before.views, new)}", describe(new, self._views, old)
        if gone and not self._prune:
            what = f"{self._folder} holds {gone:,} rows {what}; {now} would replace them"
            raise CatsDogsError(what, self._hint)

    @property
    def _hint(self) -> str:
        prune = "" if self._provenance.engine == IMPORTED else "--prune to replace what is there, or "
        return f"Check what was given, or give {prune}another artifacts folder to keep both"

    def _read_stored(self, split: str) -> Rows:
        """Read a split that is there; without a manifest, as many rows as there is room for in its files."""
        folder, entry = self._folder / split, self._before and self._before.splits.get(split)
        n = entry.images if entry else npy.count_rows(folder / "digests.npy", np.dtype((np.uint8, (16,))))
        views, sha256 = (entry.views, entry.sha256) if entry else (self._views, {})
        return read_split(folder.joinpath, n, views, sha256, self._provenance)

    def _index_rows(self) -> tuple[RowIndex, dict[Path, Rows]]:
        """Find the rows that there are now, in the arrays first; return the shards that were read as well."""
        index = RowIndex(self._provenance, self._views)
        read = {path: shards.read_shard(path, self._provenance) for path in shards.find_shards(self._shards.folder)}
        for rows in (*self._stored.values(), *read.values()):
            index.add(rows)
        return index, read

    def _check_disk_space(self) -> None:
        disk = next(path for path in (self._folder.absolute(), *self._folder.absolute().parents) if path.exists())
        stored, wanted = self._stored, sum(len(ids) for ids, _ in self._wanted.values())
        listed = {split: of.ids for split, of in stored.items()}
        same = all(np.array_equal(listed.get(split, ()), ids) for split, (ids, _) in self._wanted.items())
        tables = [stored[split] for split in stored.keys() & self._wanted] + self._index.tables[len(stored) :]
        there = [sum(table.valid[view].sum() for table in tables if view in table.valid) for view in self._views]
        # Rows lie in shards first. Beside the features there are ids, digests, checksums and facts.
        rows = sum(0 if same and count >= wanted else max(0, wanted - count) + wanted for count in there)
        needed, free = int(1.05 * rows * FEATURE_ROW.itemsize), shutil.disk_usage(disk).free
        if needed > free:
            what = f"the features need {needed:,} bytes more, and where {self._folder} lies {free:,} are free"
            raise CatsDogsError(what, "Make room, or give --artifacts DIR on another disk")
