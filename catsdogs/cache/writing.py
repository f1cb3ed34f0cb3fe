"""Rows come in as they are computed; files go out that a kill at any moment leaves valid."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import to_csv, write_atomically
from ..errors import CatsDogsError
from . import manifest as manifests
from . import npy, rows
from .manifest import Manifest, Origin


class CacheWriter:
    """A cache being filled; nothing is written before the first row, or `close` where only labels changed.

    Parameters
    ----------
    folder : Path
        The cache: ``artifacts/features``.
    origin : Origin
        What makes the features.
    views : tuple of str
    wanted : dict of str to (ids, labels)
        The splits to fill, ids in natural order. Other splits of the cache stay as they are.
    prune : bool
        Whether rows may be dropped that `wanted` has not, or that something else made.

    Raises
    ------
    CatsDogsError
        Rows would be dropped and `prune` is not set, or the manifest is damaged.
    """

    def __init__(
        self,
        folder: Path,
        origin: Origin,
        views: tuple[str, ...],
        wanted: Mapping[str, tuple[Sequence[str], NDArray[np.int8]]],
        *,
        prune: bool = False,
    ) -> None:
        self._folder, self._views, self._origin = folder, views, origin
        self._entries: dict[str, dict[str, Any]] = {}
        before = manifests.read(folder)
        self._replaced = None
        if before and before.origin.key == origin.key and before.views == views:
            # What it says of versions stays what made the first row.
            self._origin, self._entries = before.origin, dict(before.splits)
        elif before and prune:
            self._replaced = before
        elif before:
            count = sum(entry["images"] for entry in before.splits.values())
            raise CatsDogsError(
                f"{folder} holds {count:,} rows made by {_describe(before.origin, before.views)}; "
                f"{_describe(origin, views)} would replace them",
                "Give --prune to replace them, or --artifacts DIR to keep both",
            )
        self.splits = {
            split: SplitWriter(folder / split, ids, labels, self._origin, views)
            for split, (ids, labels) in wanted.items()
        }
        for split, writer in self.splits.items():
            if split in self._entries:
                writer.carry_over(self._entries[split])
        dropped = {split: writer.dropped for split, writer in self.splits.items() if writer.dropped}
        if dropped and not prune:
            counts = " and ".join(f"{count:,} {split}" for split, count in dropped.items())
            raise CatsDogsError(
                f"{folder} holds {counts} images that are not among those given and would be dropped",
                "Give --prune to drop them, or --artifacts DIR for a cache of their own",
            )
        self._begun = False

    def __enter__(self) -> "CacheWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or self._begun:
            self.close()

    @property
    def unreadable(self) -> dict[str, dict[str, str]]:
        """Why images are unreadable, by split and id."""
        return {split: dict(writer.reasons) for split, writer in self.splits.items()}

    def has(self, split: str, row: int, digest: NDArray[np.uint8]) -> bool:
        """Whether this row is there, sound, and made from an image of these bytes."""
        writer = self.splits[split]
        return bool(writer.valid[row]) and np.array_equal(writer.digests[row], digest)

    def put(self, split: str, row: int, digest: NDArray[np.uint8], features: NDArray[np.float32]) -> None:
        """Write the row of a readable image; `features` is of shape (views, 2048), float32."""
        self._begin()
        self.splits[split].write(row, digest, features, rows.READABLE)

    def put_unreadable(self, split: str, row: int, digest: NDArray[np.uint8], reason: str) -> None:
        """Write the row of an image that cannot be read: NaN, and the reason."""
        writer = self.splits[split]
        if self.has(split, row, digest) and writer.reasons.get(writer.ids[row]) == reason:
            return
        self._begin()
        writer.reasons[writer.ids[row]] = reason
        writer.write(row, digest, np.full((len(self._views), rows.WIDTH), np.nan, np.float32), rows.UNREADABLE)

    def sync(self) -> None:
        """Make every row written so far outlast a power cut."""
        for writer in self.splits.values():
            writer.sync()

    def close(self) -> None:
        """End the writing: what is complete is marked so, what is not can be gone on with."""
        if any(writer.changed for writer in self.splits.values()):
            self._begin()
        if self._begun:
            self._commit({split: writer.finish() for split, writer in self.splits.items()})
            self._begun = False

    def _begin(self) -> None:
        """Bring the files into the shape that the rows need; from here the manifest says "not complete"."""
        if self._begun:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        before = manifests.read(self._folder)
        if before and before.renames:  # of a run that was killed: done by now, and to be forgotten
            manifests.write(self._folder, Manifest(before.origin, before.views, before.splits))
        renames = [name for writer in self.splits.values() if writer.changed for name in writer.write_new()]
        self._commit({split: writer.entry() for split, writer in self.splits.items()}, renames)
        if self._replaced:
            self._remove_replaced(self._replaced)
        for writer in self.splits.values():
            writer.open()
        self._begun = True

    def _remove_replaced(self, before: Manifest) -> None:
        """Remove the files that the manifest no longer speaks of, and only those that it spoke of."""
        for split in before.splits:
            mine = set(rows.files(self._views)) if split in self.splits else set()
            for name in {*rows.files(before.views), "unreadable.csv"} - mine:
                (self._folder / split / name).unlink(missing_ok=True)
        self._replaced = None

    def _commit(self, entries: dict[str, dict[str, Any]], renames: Sequence[str] = ()) -> None:
        self._entries |= entries
        manifests.write(self._folder, Manifest(self._origin, self._views, self._entries, tuple(renames)))


class SplitWriter:
    """One split: all but the features in memory, and every file on the disk.

    Attributes
    ----------
    valid : ndarray of shape (n,), bool
        Rows that are there and sound.
    dropped : int
        Sound rows that the cache had and that are not wanted any more.
    changed : bool
        Whether the files on the disk have another shape, or other ids or labels, than is wanted.
    """

    def __init__(
        self,
        folder: Path,
        ids: Sequence[str],
        labels: NDArray[np.int8],
        origin: Origin,
        views: tuple[str, ...],
    ) -> None:
        n = len(ids)
        self._folder, self._origin, self._views = folder, origin, views
        self.ids, self.labels = np.array(ids, np.str_), np.asarray(labels, np.int8)
        self.status, self.digests = np.zeros(n, np.uint8), np.zeros((n, 16), np.uint8)
        self.sums = {view: np.zeros(n, np.uint64) for view in views}
        self.valid = np.zeros(n, bool)
        self.reasons: dict[str, str] = {}
        self.dropped = 0
        self.changed = True
        self._stored: rows.Rows | None = None
        self._from = np.full(n, -1)
        self._open: dict[str, npy.RowFile] = {}

    def carry_over(self, entry: Mapping[str, Any]) -> None:
        """Take over the sound rows that lie on the disk, by id."""
        stored = rows.read(self._folder, entry["images"], self._views)
        sound = rows.sound(stored, self._origin)
        sound &= (stored.status != rows.UNREADABLE) | np.isin(stored.ids, list(stored.reasons))
        place = {name: row for row, name in enumerate(self.ids.tolist())}
        for old, name in enumerate(stored.ids.tolist()):
            if name not in place:
                self.dropped += 1
            elif sound[old]:
                self._from[place[name]] = old
        self.valid = self._from >= 0
        kept = self._from[self.valid]
        self.status[self.valid], self.digests[self.valid] = stored.status[kept], stored.digests[kept]
        for view in self._views:
            self.sums[view][self.valid] = stored.sums[view][kept]
        self.reasons = {name: stored.reasons[name] for name in self.ids[self.status == rows.UNREADABLE].tolist()}
        self._stored = stored
        self.changed = bool(
            stored.damaged
            or not np.array_equal(stored.ids, self.ids)
            or not np.array_equal(stored.labels, self.labels)
            or any(_sha256(self._folder / name) != expected for name, expected in entry["sha256"].items())
        )

    def write_new(self) -> list[str]:
        """Write every array in its new shape beside the old one; return the names, the split's folder with them."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, array in self._small().items():
            npy.save(self._folder / f"{name}.new", array)
        for view in self._views:
            path = self._folder / f"{view}.npy.new"
            npy.create(path, (len(self.ids), rows.WIDTH), np.float32)
            file = npy.RowFile(path)
            if self._stored is not None:
                for row in np.flatnonzero(self.valid).tolist():
                    file.write(row, self._stored.features[view][self._from[row]])
            file.sync()
            file.close()
        self._stored = None
        self.changed = False
        return [f"{self._folder.name}/{name}" for name in rows.files(self._views)]

    def open(self) -> None:
        """Open the files that change row by row."""
        names = [name for name in rows.files(self._views) if name not in ("ids.npy", "labels.npy")]
        self._open = {name: npy.RowFile(self._folder / name) for name in names}

    def write(self, row: int, digest: NDArray[np.uint8], features: NDArray[np.float32], status: int) -> None:
        """Write one row; its checksum makes it valid, in whatever order the disk takes the parts."""
        name = self.ids[row]
        if status != rows.UNREADABLE:
            self.reasons.pop(name, None)
        for view, of_view in zip(self._views, features, strict=True):
            (self.sums[view][row],) = rows.sums(self._origin, view, [name], [digest], [of_view])
            self._open[f"{view}.npy"].write(row, of_view)
            self._open[f"{view}.sums.npy"].write(row, self.sums[view][row])
        self.digests[row], self.status[row], self.valid[row] = digest, status, True
        self._open["digests.npy"].write(row, digest)
        self._open["status.npy"].write(row, status)

    def sync(self) -> None:
        """Make every row written so far outlast a power cut."""
        for file in self._open.values():
            file.sync()

    def entry(self) -> dict[str, Any]:
        """Return what the manifest says of the split while it is being filled."""
        done = int(self.valid.sum())
        return {
            "images": len(self.ids),
            "labelled": int(np.sum(self.labels >= 0)),
            "complete": False,
            "done": dict.fromkeys(self._views, done),
            "unreadable": int(np.sum(self.status[self.valid] == rows.UNREADABLE)),
            "sha256": {},
        }

    def finish(self) -> dict[str, Any]:
        """Sync and close the files, and return what the manifest says of them now."""
        self.sync()
        for file in self._open.values():
            file.close()
        self._open = {}
        reasons = [(name, self.reasons[name]) for name in self.ids.tolist() if name in self.reasons]
        write_atomically(self._folder / "unreadable.csv", to_csv(("id", "reason"), reasons))
        complete = bool(self.valid.all())
        names = [*self._small(), "unreadable.csv"] if complete else []
        return self.entry() | {
            "complete": complete,
            "sha256": {name: _sha256(self._folder / name) for name in names},
        }

    def _small(self) -> dict[str, NDArray[np.generic]]:
        return {
            "ids.npy": self.ids,
            "labels.npy": self.labels,
            "status.npy": self.status,
            "digests.npy": self.digests,
            **{f"{view}.sums.npy": self.sums[view] for view in self._views},
        }


def _describe(origin: Origin, views: Sequence[str]) -> str:
    return f"{origin.form} ({origin.sha256[:8]}, {origin.precision}, view {', '.join(views)})"


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "unreadable"
