"""Gather rows by the bytes they are of, from arrays and shards, into the arrays of a split."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES
from ..backbone.precisions import TOLERANCES
from ..errors import CatsDogsError
from ..images.facts import FACTS, FACTS_COLUMN
from ..storage import make_folder, read_if_there, sync_folder, write_file
from . import npy
from .manifest import Provenance, SplitEntry
from .rows import FEATURE_ROW, NO_DIGEST, Rows, row_sums

_NOTHING = np.full((1, N_FEATURES), np.nan, np.float32)


Place = tuple[int, int]
"""Where a row is: which part, and which row of it."""


class Copies:
    """Where the valid rows of images are, by the digests of their bytes.

    Parameters
    ----------
    provenance : Provenance
    views : tuple of str
        Those that are wanted.

    Attributes
    ----------
    parts : list of Rows
        What has been added.
    places : dict of bytes to list of Place
        By digest.
    """

    def __init__(self, provenance: Provenance, views: tuple[str, ...]) -> None:
        self.provenance, self.views = provenance, views
        self.parts: list[Rows] = []
        self.places: dict[bytes, list[Place]] = {}

    def add(self, part: Rows) -> None:
        """Take over the valid rows of a part; those of parts that were added before are preferred."""
        for row in np.flatnonzero(np.any(list(part.valid.values()), axis=0)).tolist():
            self.places.setdefault(part.digests[row].tobytes(), []).append((len(self.parts), row))
        self.places.pop(NO_DIGEST, None)
        self.parts.append(part)

    def find(self, digest: bytes) -> tuple[dict[str, list[Place]], str]:
        """Return where the rows of an image are, by view, and those of its facts; and why it is unreadable, or "".

        An image that was readable in some views alone is readable if these are all that are wanted.
        """
        readable: dict[str, list[Place]] = {}
        unreadable: dict[str, list[Place]] = {}
        for part, row in self.places.get(digest, ()):
            rows = self.parts[part]
            for column in [column for column, valid in rows.valid.items() if valid[row]]:
                (unreadable if rows.reasons[row] else readable).setdefault(column, []).append((part, row))
        if unreadable and not all(view in readable for view in self.views):
            part, row = next(iter(unreadable.values()))[0]
            return unreadable, self.parts[part].reasons[row]
        return readable, ""

    def missing(self, digest: bytes) -> tuple[tuple[str, ...], str]:
        """Return what must be computed of an image, views and its facts, and why it is unreadable, or "".

        One that was unreadable is tried again, in all views, where there is a view in which it has not been tried.
        """
        places, reason = self.find(digest)
        missing = [view for view in self.views if view not in places]
        if reason:
            return ((*self.views, FACTS_COLUMN) if missing else ()), reason
        return (*missing, *(() if FACTS_COLUMN in places else (FACTS_COLUMN,))), ""


class SplitAssembly:
    """One split as it is to be.

    Parameters
    ----------
    folder : Path
        The split's.
    copies : Copies
    wanted : (ids, labels)
    digests : ndarray of shape (n, 16), uint8
        Zeros where a file could not be read.
    unreadable : sequence of str, length n
        Why such files could not be read, or "".

    Attributes
    ----------
    rows : Rows
    differing : int
        Rows of which there are copies that are not the same.

    Raises
    ------
    CatsDogsError
        Copies of a row differ by more than the precision lets them, or one that was there is damaged now.
    """

    def __init__(
        self,
        folder: Path,
        copies: Copies,
        wanted: tuple[Sequence[str], NDArray[np.int8]],
        digests: NDArray[np.uint8],
        unreadable: Sequence[str],
    ) -> None:
        (ids, labels), n = wanted, len(digests)
        self._folder, self._copies, self._provenance = folder, copies, copies.provenance
        self.differing = 0
        self._places = {view: np.full((n, 2), -1) for view in copies.views}
        sums = {column: np.zeros(n, np.uint64) for column in (*copies.views, FACTS_COLUMN)}
        reasons, facts = [], np.full(n, np.nan, FACTS)
        for row, digest in enumerate(digests):
            places, reason = copies.find(digest.tobytes())
            reasons.append(unreadable[row] or reason)
            for part, there in places.get(FACTS_COLUMN, ())[:1]:
                facts[row] = copies.parts[part].facts[there]
            for view in copies.views:
                if reasons[row]:
                    (sums[view][row],) = row_sums(self._provenance, view, [digest], reasons[row:], _NOTHING)
                else:
                    part, there = self._places[view][row] = self._choose(view, places.get(view, []), ids[row])
                    sums[view][row] = copies.parts[part].sums[view][there]
        sums[FACTS_COLUMN] = row_sums(self._provenance, FACTS_COLUMN, digests, reasons, facts)
        self.rows = Rows(np.array(ids, np.str_), np.asarray(labels, np.int8), digests, reasons, facts, sums)
        self._contents = self.rows.contents()

    def entry(self) -> SplitEntry:
        """Return what the manifest says of the split."""
        return SplitEntry(
            images=len(self.rows.ids),
            labelled=int(np.sum(self.rows.labels >= 0)),
            unreadable=len(self.rows.unreadable),
            views=self._copies.views,
            sha256={name: hashlib.sha256(content).hexdigest() for name, content in self._contents.items()},
        )

    def write(self, stored: Rows | None) -> list[str]:
        """Write what is not on the disk already beside it, as ``X.new``, and return the names, with the folder's."""
        small = {name: of for name, of in self._contents.items() if read_if_there(self._folder / name) != of}
        views = [view for view in self._copies.views if not (stored and self._is_stored(view, stored))]
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
        whole = view in stored.valid and stored.valid[view].all() and f"{view}.npy" not in stored.damaged
        return bool(whole) and np.array_equal(stored.sums[view], self.rows.sums[view])

    def _choose(self, view: str, places: Sequence[Place], name: str) -> Place:
        """Return which copy of a row is taken, the first, held against those that are not the same."""
        parts = self._copies.parts
        different: dict[int, Place] = {}
        for part, row in places:
            different.setdefault(int(parts[part].sums[view][row]), (part, row))
        if len(different) > 1:
            self.differing += 1
            first, *others = (parts[part].read(view, row, 1)[0] for part, row in different.values())
            limit = TOLERANCES[self._provenance.precision] * float(np.linalg.norm(first))
            if not all(float(np.linalg.norm(first - other)) <= limit for other in others):
                paths = " and ".join(sorted({str(parts[part].files[view][0]) for part, _ in places}))
                what = f"the features of {name} in {paths} differ by more than rounding, as from other networks"
                raise CatsDogsError(what, "Remove those that are wrong, and run catsdogs extract again")
        if not places:
            raise self._damaged_error(name)
        return places[0]

    def _blocks(self, view: str) -> Iterator[NDArray[np.float32]]:
        """Yield the rows of a view in order, as many together as lie side by side where they come from."""
        places, n = self._places[view], len(self.rows.ids)
        breaks = np.flatnonzero((np.diff(places, axis=0) != (0, 1)).any(axis=1)) + 1
        for run in np.split(np.arange(n), sorted({*breaks.tolist(), *range(npy.BLOCK, n, npy.BLOCK)})):
            (part, first), count, at = places[run[0]], len(run), slice(run[0], run[-1] + 1)
            block = self._copies.parts[part].read(view, first, count) if part >= 0 else _NOTHING.repeat(count, axis=0)
            right = self.rows.check(self._provenance, view, at, block)
            if not right.all():
                raise self._damaged_error(str(self.rows.ids[at][right.argmin()]))
            yield block

    def _damaged_error(self, name: Any) -> CatsDogsError:
        return CatsDogsError(f"the features of {name} have just been damaged", "Run the same command again")
