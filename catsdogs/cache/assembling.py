"""Collect the rows of a split's images, found by the images' digests, from arrays and shards."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES
from ..backbone.precisions import TOLERANCES
from ..errors import CatsDogsError
from ..images.facts import FACTS, FACTS_COLUMN
from ..storage import make_folder, read_or_none, sha256_of, sync_folder, write_file
from . import npy
from .manifest import Provenance, SplitEntry
from .rows import FEATURE_ROW, NO_DIGEST, Rows, row_sums

_NAN_ROW = np.full((1, N_FEATURES), np.nan, np.float32)


RowSource = tuple[int, int]
"""Where a row is stored: the position of its table in `RowIndex.tables`, and the row's position in that table."""


class RowIndex:
    """An index of the valid rows that are stored, by the digests of the images' bytes.

    Parameters
    ----------
    provenance : Provenance
    views : tuple of str
        The requested views.

    Attributes
    ----------
    tables : list of Rows
        The stored splits and shards that have been added.
    sources : dict of bytes to list of RowSource
        By digest; the preferred source first.
    """

    def __init__(self, provenance: Provenance, views: tuple[str, ...]) -> None:
        self.provenance, self.views = provenance, views
        self.tables: list[Rows] = []
        self.sources: dict[bytes, list[RowSource]] = {}

    def add(self, rows: Rows) -> None:
        """Add the valid rows of a split or a shard; rows that were added earlier are preferred."""
        for row in np.flatnonzero(np.any(list(rows.valid.values()), axis=0)).tolist():
            self.sources.setdefault(rows.digests[row].tobytes(), []).append((len(self.tables), row))
        self.sources.pop(NO_DIGEST, None)
        self.tables.append(rows)

    def find(self, digest: bytes) -> tuple[dict[str, list[RowSource]], str]:
        """Return the sources of an image's rows, by view, and of its facts; and why it is unreadable, or "".

        An image that was readable in some views only is readable if all requested views are among them.
        """
        readable: dict[str, list[RowSource]] = {}
        unreadable: dict[str, list[RowSource]] = {}
        for table, row in self.sources.get(digest, ()):
            rows = self.tables[table]
            for column in [column for column, valid in rows.valid.items() if valid[row]]:
                (unreadable if rows.reasons[row] else readable).setdefault(column, []).append((table, row))
        if unreadable and not all(view in readable for view in self.views):
            table, row = next(iter(unreadable.values()))[0]
            return unreadable, self.tables[table].reasons[row]
        return readable, ""

    def missing(self, digest: bytes) -> tuple[tuple[str, ...], str]:
        """Return which views, and facts, of an image must be computed; and why it is unreadable, or "".

        An unreadable image is tried again in all views if there is a requested view in which it has not been tried.
        """
        sources, reason = self.find(digest)
        missing = [view for view in self.views if view not in sources]
        if reason:
            return ((*self.views, FACTS_COLUMN) if missing else ()), reason
        return (*missing, *(() if FACTS_COLUMN in sources else (FACTS_COLUMN,))), ""


class SplitAssembly:
    """The new contents of one split, put together from stored rows.

    Parameters
    ----------
    folder : Path
        The split's folder.
    index : RowIndex
    wanted : (ids, labels)
    digests : ndarray of shape (n, 16), uint8
        Zeros if a file could not be read.
    unreadable : sequence of str, length n
        Why a file could not be read, or "".

    Attributes
    ----------
    rows : Rows
    differing : int
        Number of rows that are stored more than once, with different values.

    Raises
    ------
    CatsDogsError
        Two stored values of a row differ by more than the precision allows, or a row has been damaged since it was
        added to the index.
    """

    def __init__(
        self,
        folder: Path,
        index: RowIndex,
        wanted: tuple[Sequence[str], NDArray[np.int8]],
        digests: NDArray[np.uint8],
        unreadable: Sequence[str],
    ) -> None:
        (ids, labels), n = wanted, len(digests)
        self._folder, self._index, self._provenance = folder, index, index.provenance
        self.differing = 0
        self._sources = {view: np.full((n, 2), -1) for view in index.views}
        sums = {column: np.zeros(n, np.uint64) for column in (*index.views, FACTS_COLUMN)}
        reasons, facts = [], np.full(n, np.nan, FACTS)
        for row, digest in enumerate(digests):
            sources, reason = index.find(digest.tobytes())
            reasons.append(unreadable[row] or reason)
            for table, there in sources.get(FACTS_COLUMN, ())[:1]:
                facts[row] = index.tables[table].facts[there]
            for view in index.views:
                if reasons[row]:
                    (sums[view][row],) = row_sums(self._provenance, view, [digest], reasons[row:], _NAN_ROW)
                else:
                    table, there = self._sources[view][row] = self._choose(view, sources.get(view, []), ids[row])
                    sums[view][row] = index.tables[table].sums[view][there]
        sums[FACTS_COLUMN] = row_sums(self._provenance, FACTS_COLUMN, digests, reasons, facts)
        self.rows = Rows(np.array(ids, np.str_), np.asarray(labels, np.int8), digests, reasons, facts, sums)
        self._contents = self.rows.contents()

    def entry(self) -> SplitEntry:
        """Return the split's entry in the manifest."""
        return SplitEntry(
            images=len(self.rows.ids),
            labelled=int(np.sum(self.rows.labels >= 0)),
            unreadable=len(self.rows.unreadable),
            views=self._index.views,
            sha256={name: sha256_of(content) for name, content in self._contents.items()},
        )

    def write(self, stored: Rows | None) -> list[str]:
        """Write each file that differs from the one on the disk, as ``X.new``; return their names with the folder."""
        small = {name: new for name, new in self._contents.items() if read_or_none(self._folder / name) != new}
        views = [view for view in self._index.views if not (stored and self._is_stored(view, stored))]
        if small or views:
            make_folder(self._folder, self._folder.parent.parent)
            for name, content in small.items():
                write_file(self._folder / f"{name}.new", [content])
            for view in views:
                path = self._folder / f"{view}.npy.new"
                npy.write_blocks(path, len(self.rows.ids), FEATURE_ROW, self._blocks(view))
            sync_folder(self._folder)
        return [f"{self._folder.name}/{name}" for name in (*small, *(f"{view}.npy" for view in views))]

    def _is_stored(self, view: str, stored: Rows) -> bool:
        intact = view in stored.valid and stored.valid[view].all() and f"{view}.npy" not in stored.damaged
        return bool(intact) and np.array_equal(stored.sums[view], self.rows.sums[view])

    def _choose(self, view: str, sources: Sequence[RowSource], name: str) -> RowSource:
        """Return the first source of a row, after comparing it with the sources that have other values."""
        tables = self._index.tables
        different: dict[int, RowSource] = {}
        for table, row in sources:
            different.setdefault(int(tables[table].sums[view][row]), (table, row))
        if len(different) > 1:
            self.differing += 1
            first, *others = (tables[table].read(view, row, 1)[0] for table, row in different.values())
            limit = TOLERANCES[self._provenance.precision] * float(np.linalg.norm(first))
            if not all(float(np.linalg.norm(first - other)) <= limit for other in others):
                paths = " and ".join(sorted({str(tables[table].files[view][0]) for table, _ in sources}))
                message = f"the features of {name} in {paths} differ by more than rounding errors"
                hint = "Remove the file whose features another network computed, and run catsdogs extract again"
                raise CatsDogsError(message, hint)
        if not sources:
            raise self._damaged_error(name)
        return sources[0]

    def _blocks(self, view: str) -> Iterator[NDArray[np.float32]]:
        """Yield the rows of a view in order; rows that are adjacent in their table are read together."""
        sources, n = self._sources[view], len(self.rows.ids)
        breaks = np.flatnonzero((np.diff(sources, axis=0) != (0, 1)).any(axis=1)) + 1
        for run in np.split(np.arange(n), sorted({*breaks.tolist(), *range(npy.BLOCK, n, npy.BLOCK)})):
            (table, first), count, at = sources[run[0]], len(run), slice(run[0], run[-1] + 1)
            block = self._index.tables[table].read(view, first, count) if table >= 0 else _NAN_ROW.repeat(count, axis=0)
            valid = self.rows.check(self._provenance, view, at, block)
            if not valid.all():
                raise self._damaged_error(str(self.rows.ids[at][valid.argmin()]))
            yield block

    def _damaged_error(self, name: Any) -> CatsDogsError:
        return CatsDogsError(f"the features of {name} were damaged during this run", "Run the same command again")
