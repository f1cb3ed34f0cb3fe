"""Fill a cache with rows as they are computed, and reuse those that are valid."""

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES, Int8Similarity
from ..errors import CatsDogsError, printable
from ..sources.classes import CLASSES, Classes
from ..storage import sync_folder
from . import manifest as manifests
from . import rows
from .manifest import IMPORTED, Manifest, Provenance, SplitEntry, differences
from .split import SplitWriter

_ELSEWHERE = "another artifacts folder to keep both"


@dataclass(frozen=True, eq=False)
class KnownRows:
    """Which rows of some images are there already.

    Parameters
    ----------
    digests : ndarray of shape (n, 16), uint8
        Of the bytes that each image had when its row was computed.
    valid : dict of str to ndarray of shape (n,), bool
        By view, where there is a row that matches its checksum.
    """

    digests: NDArray[np.uint8]
    valid: dict[str, NDArray[np.bool_]]

    def missing_views(self, position: int, digest: NDArray[np.uint8]) -> list[str]:
        """Return the views in which the image at a position has no row that was computed from these bytes."""
        same = np.array_equal(self.digests[position], digest)
        return [view for view, valid in self.valid.items() if not (same and valid[position])]


class CacheWriter:
    """A cache being filled; nothing is written before the first row, or `close` where something else is to do.

    Its folder must be held for writing (`locks.write_lock`). Images are told apart by their positions: they count
    through all splits of `wanted`, in its order.

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
        Whether rows may be dropped that `wanted` has not, or that something else made, or with labels of other classes.
    classes : pair of str, optional
        What the labels 0 and 1 are called; by default as in what is there, or cat and dog.

    Attributes
    ----------
    int8_similarity : Int8Similarity or None
        What the manifest says of how near to float32 the features are; None once something is written.

    Raises
    ------
    CatsDogsError
        Rows would be dropped and `prune` is not set, there is not room enough, or the manifest is damaged.
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
    ) -> None:
        self._folder, self._views, self._provenance = folder, views, provenance
        self._entries: dict[str, SplitEntry] = {}
        self._replaced: Manifest | None = None
        before = manifests.roll_forward(folder)
        self._classes = classes or (before.classes if before else CLASSES)
        self.int8_similarity: Int8Similarity | None = None
        if before:
            self._take_over(before, wanted, prune=prune)
        self.splits = {
            split: SplitWriter(folder / split, ids, labels, self._provenance, views)
            for split, (ids, labels) in wanted.items()
        }
        for split, writer in self.splits.items():
            if split in self._entries:
                writer.reuse_rows(self._entries[split])
        dropped = {split: writer.dropped for split, writer in self.splits.items() if writer.dropped}
        if dropped and not prune:
            counts = " and ".join(f"{count:,} of the {split} split" for split, count in dropped.items())
            raise CatsDogsError(
                f"{folder} holds images that are not among those given and would be dropped: {counts}",
                f"Give those too, or {'' if provenance.engine == IMPORTED else '--prune, or '}{_ELSEWHERE}",
            )
        self._check_disk_space()
        self._begun = False

    def _take_over(self, before: Manifest, wanted: Collection[str], *, prune: bool) -> None:
        """Take over what the cache has of the same provenance, views and classes; the rest goes, if it may."""
        old, new = before.provenance, self._provenance
        same_provenance = old.key == new.key and old.engine == new.engine
        same_rows = same_provenance and set(before.views) <= set(self._views)
        same_labels = before.classes == self._classes or not before.has_labels
        if not prune and not (same_rows and same_labels):
            if same_rows:
                made, now = f"with the labels {' and '.join(before.classes)}", " and ".join(self._classes)
            else:
                now, made = _describe(new, self._views, old), f"made by {_describe(old, before.views, new)}"
            raise CatsDogsError(
                f"{self._folder} holds {sum(entry.images for entry in before.splits.values()):,} rows {made}; "
                f"{now} would replace them",
                f"Give {'' if new.engine == IMPORTED else '--prune to replace them, or '}{_ELSEWHERE}",
            )
        if same_rows:
            # What it says of versions stays what made the first row.
            self._provenance, self.int8_similarity = old, before.int8_similarity
            # Labels that stay as they are would be taken for those of the other classes.
            kept = [name for name, of in before.splits.items() if same_labels or name in wanted or not of.labelled]
            self._entries = {name: before.splits[name] for name in kept}
            if added := {view: 0 for view in self._views if view not in before.views}:
                # The splits that are not given now have the new views still to come.
                for name in set(kept) - set(wanted):
                    entry = self._entries[name]
                    self._entries[name] = replace(entry, complete=False, done=entry.done | added)
        gone = {name: of for name, of in before.splits.items() if name not in self._entries}
        if gone or before.classes != self._classes:
            self._replaced = replace(before, splits=gone)

    def __enter__(self) -> "CacheWriter":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self.close()
            elif self._begun:
                # Rows may be there that nobody has compared with their images: only a run that ends well completes.
                entries = {split: writer.finish() for split, writer in self.splits.items()}
                self._commit({split: replace(entry, complete=False) for split, entry in entries.items()})
        finally:
            for writer in self.splits.values():
                writer.close()

    @property
    def unreadable(self) -> dict[str, dict[str, str]]:
        """Why images are unreadable, by split and id."""
        return {split: dict(writer.reasons) for split, writer in self.splits.items()}

    def known(self) -> KnownRows:
        """Return which rows are there, as they were when the cache was opened or are now."""
        splits = self.splits.values()
        return KnownRows(
            digests=np.concatenate([writer.digests for writer in splits]),
            valid={view: np.concatenate([writer.valid[view] for writer in splits]) for view in self._views},
        )

    def reason(self, position: int) -> str | None:
        """Why an image is unreadable, or None where it is not known to be."""
        writer, row = self._find(position)
        return writer.reasons.get(str(writer.ids[row]))

    def put(self, position: int, digest: NDArray[np.uint8], features: Mapping[str, NDArray[np.float32]]) -> None:
        """Write the row of a readable image, in those views that are given.

        Parameters
        ----------
        position : int
        digest : ndarray of shape (16,), uint8
            Of the image's bytes; where they have changed, all views must be given.
        features : dict of str to ndarray of shape (2048,), float32
            By view.

        Raises
        ------
        CatsDogsError
            They are not finite: NaN stands for images that cannot be read.
        """
        writer, row = self._find(position)
        if not all(np.isfinite(of_view).all() for of_view in features.values()):
            raise CatsDogsError(
                f"the features of {writer.ids[row]} are not finite", "Try other --weights: these overflow on it"
            )
        self._begin()
        writer.write(row, digest, features, rows.READABLE)

    def put_unreadable(self, position: int, digest: NDArray[np.uint8], reason: str) -> None:
        """Write the row of an image that cannot be read: NaN, and the reason."""
        (writer, row), reason = self._find(position), printable(reason)
        name = str(writer.ids[row])
        there = np.array_equal(writer.digests[row], digest) and all(of_view[row] for of_view in writer.valid.values())
        if there and writer.reasons.get(name) == reason:
            return
        self._begin()
        writer.reasons[name] = reason
        nothing = np.full(N_FEATURES, np.nan, np.float32)
        writer.write(row, digest, dict.fromkeys(self._views, nothing), rows.UNREADABLE)

    def _find(self, position: int) -> tuple[SplitWriter, int]:
        for writer in self.splits.values():
            if position < len(writer.ids):
                return writer, position
            position -= len(writer.ids)
        raise IndexError("there are no so many images")

    def sync(self) -> None:
        """Make every row written so far outlast a power cut."""
        for writer in self.splits.values():
            writer.sync()

    def close(self) -> None:
        """End the writing: what is complete is marked so, what is not can be gone on with."""
        settled = all(writer.is_settled(self._entries.get(split)) for split, writer in self.splits.items())
        if self._replaced or not settled:
            self._begin()
        if self._begun:
            self._commit({split: writer.finish() for split, writer in self.splits.items()})

    def _check_disk_space(self) -> None:
        there = next(path for path in (self._folder.absolute(), *self._folder.absolute().parents) if path.exists())
        needed, free = sum(writer.bytes_needed() for writer in self.splits.values()), shutil.disk_usage(there).free
        if needed > free:
            raise CatsDogsError(
                f"the features need {needed:,} bytes more, and where {self._folder} lies {free:,} are free",
                "Make room, or give --artifacts DIR on another disk",
            )

    def _begin(self) -> None:
        """Bring the files into the shape that the rows need; from here the manifest says "not complete"."""
        if self._begun:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        sync_folder(self._folder.parent)
        renames = tuple(name for writer in self.splits.values() if writer.changed for name in writer.write_new())
        removals = self._removals(self._replaced) if self._replaced else ()
        self.int8_similarity = None
        self._commit({split: writer.entry_in_progress() for split, writer in self.splits.items()}, renames, removals)
        self._replaced = None
        for writer in self.splits.values():
            writer.open()
        self._begun = True

    def _removals(self, before: Manifest) -> tuple[str, ...]:
        """Return the files that the manifest no longer speaks of, and only those that it spoke of."""
        spoken_of = {f"{split}/{name}" for split in before.splits for name in (*rows.files(before.views), rows.REASONS)}
        spoken_of |= set(manifests.network_files(before.provenance.network))
        kept = {f"{split}/{name}" for split in self.splits for name in rows.files(self._views)}
        return tuple(sorted(spoken_of - kept - set(manifests.network_files(self._provenance.network))))

    def _commit(
        self, entries: Mapping[str, SplitEntry], renames: tuple[str, ...] = (), removals: tuple[str, ...] = ()
    ) -> None:
        self._entries |= entries
        manifest = Manifest(
            self._provenance, self._views, self._entries, renames, removals, self._classes, self.int8_similarity
        )
        manifests.write(self._folder, manifest)


def _describe(provenance: Provenance, views: Sequence[str], other: Provenance) -> str:
    """Say what made features; of the pixels, only what another says otherwise of its own."""
    precision = " ".join(filter(None, [provenance.precision, provenance.network[:8]]))
    pixels = differences(provenance.pixels, other.pixels)
    made_by = [provenance.sha256[:8], precision, provenance.engine, f"view {', '.join(views)}", pixels]
    return f"{provenance.weights_name} ({', '.join(filter(None, made_by))})"
