"""Write the rows of one split, so that a kill at any moment leaves every row usable."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES
from ..storage import read_if_there, sync_folder, to_csv, write_atomic, write_synced
from . import npy, rows
from .manifest import Provenance, SplitEntry

_BLOCK = 4096
"""Bytes of which file systems give out no less."""

_FIXED = ("ids.npy", "labels.npy")
"""Files that do not change while rows are written."""


class SplitWriter:
    """One split: all but the features in memory, and every file on the disk.

    Attributes
    ----------
    status : ndarray of shape (n,), uint8
        UNSEEN where a row is not there, or not valid, in any view.
    valid : dict of str to ndarray of shape (n,), bool
        By view, where its row is there.
    dropped : int
        Valid rows that the cache had and that are not wanted any more.
    changed : bool
        Whether the files on the disk are damaged, or have another shape, or other ids or labels, than is wanted.
    reasons : dict of str to str
        Why images are unreadable, by id.
    """

    def __init__(
        self,
        folder: Path,
        ids: Sequence[str],
        labels: NDArray[np.int8],
        provenance: Provenance,
        views: tuple[str, ...],
    ) -> None:
        n = len(ids)
        self._folder, self._provenance, self._views = folder, provenance, views
        self.ids, self.labels = np.array(ids, np.str_), np.asarray(labels, np.int8)
        self.status, self.digests = np.zeros(n, np.uint8), np.zeros((n, 16), np.uint8)
        self.sums = {view: np.zeros(n, np.uint64) for view in views}
        self.valid = {view: np.zeros(n, bool) for view in views}
        self.reasons: dict[str, str] = {}
        self.dropped = 0
        self.changed = True
        self._stored: rows.Rows | None = None
        self._from = np.full(n, -1)
        self._open: dict[str, npy.RowFile] = {}

    def reuse_rows(self, entry: SplitEntry) -> None:
        """Take over the valid rows that lie on the disk, by id."""
        stored = rows.read(self._folder, entry, self._views, ids=self.ids)
        valid = rows.valid(stored, self._provenance)
        found = rows.status_of(stored, valid)
        for view, of_view in valid.items():
            # An image that was unreadable for the views that were there is tried again for a new one.
            of_view &= (found != rows.UNSEEN) | ~np.isnan(stored.features[view][:, 0])
        usable = np.flatnonzero(np.any(list(valid.values()), axis=0))
        _, here, kept = np.intersect1d(self.ids, stored.ids[usable], return_indices=True)
        there = usable[kept]
        self._from[here] = there
        self.dropped = len(usable) - len(here)
        self.status[here], self.digests[here] = found[there], stored.digests[there]
        for view in self._views:
            self.valid[view][here] = valid[view][there]
            self.sums[view][here] = np.where(self.valid[view][here], stored.sums[view][there], 0)
        self.reasons = {name: stored.reasons[name] for name in self.ids[self.status == rows.UNREADABLE].tolist()}
        same = np.array_equal(stored.ids, self.ids) and np.array_equal(stored.labels, self.labels)
        self.changed = bool(stored.damaged) or not same
        self._stored = stored if self.changed else None

    def write_new(self) -> list[str]:
        """Write every array in its new shape beside the old one; return the names, the split's folder with them."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, array in self._small().items():
            write_synced(self._folder / f"{name}.new", npy.to_bytes(array))
        for view in self._views:
            path = self._folder / f"{view}.npy.new"
            npy.create(path, (len(self.ids), N_FEATURES), np.float32)
            with closing(npy.RowFile(path, (N_FEATURES,), np.float32)) as file:
                if self._stored is not None:
                    for row in np.flatnonzero(self.valid[view]).tolist():
                        file.write(row, self._stored.features[view][self._from[row]])
                file.sync()
        sync_folder(self._folder)
        self._stored = None
        self.changed = False
        return [f"{self._folder.name}/{name}" for name in rows.files(self._views)]

    def bytes_needed(self) -> int:
        """Return how much room on the disk the rows will take that do not have any yet, about."""
        paths = [self._folder / name for name in rows.files(self._views)]
        size = sum(npy.HEADER + of_file.nbytes for of_file in self._small().values())
        size += len(self._views) * (npy.HEADER + len(self.ids) * N_FEATURES * np.dtype(np.float32).itemsize)
        # New files are written beside those that are there; in these, rows that were never written take no room.
        taken = 0 if self.changed else sum(path.stat().st_blocks * 512 for path in paths)
        # Files end on whole blocks, and the small ones are written twice.
        return size + size // 100 + 2 * _BLOCK * len(paths) - taken if size > taken else 0

    def open(self) -> None:
        """Open the files that change row by row."""
        kinds = {name: kind for name, kind in rows.files(self._views).items() if name not in _FIXED}
        self._open = {name: npy.RowFile(self._folder / name, *kind) for name, kind in kinds.items()}

    def write(
        self, row: int, digest: NDArray[np.uint8], features: Mapping[str, NDArray[np.float32]], status: int
    ) -> None:
        """Write one row in the views that are given; its checksums make it valid, whatever the disk takes first."""
        name = str(self.ids[row])
        self.status[row] = rows.UNSEEN  # if this is broken off, the row is neither the old one nor the new one
        if status != rows.UNREADABLE:
            self.reasons.pop(name, None)
        for view, of_view in features.items():
            self.valid[view][row] = False
            (self.sums[view][row],) = rows.sums(self._provenance, view, [name], [digest], [of_view])
            self._open[f"{view}.npy"].write(row, of_view)
            self._open[f"{view}.sums.npy"].write(row, self.sums[view][row])
            self.valid[view][row] = True
        self._open["digests.npy"].write(row, digest)
        self._open["status.npy"].write(row, status)
        self.digests[row], self.status[row] = digest, status

    def sync(self) -> None:
        """Make every row written so far outlast a power cut."""
        for file in self._open.values():
            file.sync()

    def close(self) -> None:
        """Close the files; they are not synced."""
        for file in self._open.values():
            file.close()
        self._open = {}

    def finish(self) -> SplitEntry:
        """Sync and close the files, and return the entry that the manifest may have now."""
        self.sync()
        self.close()
        for name, content in self._contents().items():
            if read_if_there(self._folder / name) != content:
                write_atomic(self._folder / name, content)
        return self.entry()

    def is_settled(self, entry: SplitEntry | None) -> bool:
        """Whether the manifest and the files say already what `finish` would have them say."""
        if self.changed or entry != self.entry():
            return False
        return all(read_if_there(self._folder / name) == content for name, content in self._contents().items())

    def entry(self) -> SplitEntry:
        """Return what the manifest says of the split once its files are written."""
        return SplitEntry(
            images=len(self.ids),
            labelled=int(np.sum(self.labels >= 0)),
            complete=bool(np.all(self.status != rows.UNSEEN)),
            done={view: int(np.count_nonzero(self.valid[view])) for view in self._views},
            unreadable=int(np.sum(self.status == rows.UNREADABLE)),
            sha256={name: hashlib.sha256(content).hexdigest() for name, content in self._contents().items()},
        )

    def entry_in_progress(self) -> SplitEntry:
        """Return what the manifest says while rows are written, each of which vouches for itself."""
        entry = self.entry()
        return replace(entry, complete=False, sha256={name: entry.sha256[name] for name in _FIXED})

    def _contents(self) -> dict[str, bytes]:
        reasons = [(name, self.reasons[name]) for name in self.ids[self.status == rows.UNREADABLE].tolist()]
        arrays = {name: npy.to_bytes(array) for name, array in self._small().items()}
        return {**arrays, rows.REASONS: to_csv(("id", "reason"), reasons)}

    def _small(self) -> dict[str, NDArray[Any]]:
        return {
            "ids.npy": self.ids,
            "labels.npy": self.labels,
            "status.npy": self.status,
            "digests.npy": self.digests,
            **{f"{view}.sums.npy": self.sums[view] for view in self._views},
        }
