"""Read the rows of a cache, and compute their checksums.

A row is the features of one image in one view. The facts of an image, which do not depend on the view, are stored like
a view, in a column of their own.
"""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES
from ..images.facts import FACTS, FACTS_COLUMN
from ..storage import read_or_none, sha256_of, to_csv
from . import npy
from .manifest import Provenance

READABLE, UNREADABLE = 1, 2
"""The values in `status.npy`."""

REASONS = "unreadable.csv"
"""The only file of a split that is not an array: why images are unreadable."""

FEATURE_ROW = np.dtype((np.float32, (N_FEATURES,)))
"""The dtype of a row of one view."""

NO_DIGEST = bytes(16)
"""The digest of a file that could not be read."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a split, or of a shard, which has neither ids nor labels.

    Parameters
    ----------
    ids : ndarray of shape (n,), str
    labels : ndarray of shape (n,), int8
    digests : ndarray of shape (n, 16), uint8
    reasons : list of str, length n
        Why an image is unreadable, or "".
    facts : ndarray of shape (n,), FACTS
    sums : dict of str to ndarray of shape (n,), uint64
        The checksums of the rows of each view, and of the facts.
    valid : dict of str to ndarray of shape (n,), bool
        Which rows of each view, and which facts, match their checksums.
    files : dict of str to (Path, dtype)
        The file with the rows of each view, and the dtype of its rows: `FEATURE_ROW`, or a record with the view as a
        field.
    damaged : list of str
        Names of the split's files that are missing or damaged.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int8]
    digests: NDArray[np.uint8]
    reasons: list[str]
    facts: NDArray[Any]
    sums: dict[str, NDArray[np.uint64]]
    valid: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    files: Mapping[str, tuple[Path, np.dtype[Any]]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which images could be read, of shape (n,), bool."""
        return np.array([not reason for reason in self.reasons], bool)

    @property
    def unreadable(self) -> dict[str, str]:
        """Why images are unreadable, by id."""
        return {name: reason for name, reason in zip(self.ids.tolist(), self.reasons, strict=True) if reason}

    def contents(self) -> dict[str, bytes]:
        """Return the content of each small file of the split."""
        status = np.where(self.readable, READABLE, UNREADABLE).astype(np.uint8)
        arrays: dict[str, NDArray[Any]] = {"ids": self.ids, "labels": self.labels, "status": status}
        arrays |= {"digests": self.digests, FACTS_COLUMN: self.facts}
        arrays |= {f"{column}.sums": sums for column, sums in self.sums.items()}
        content = {f"{name}.npy": npy.to_bytes(array) for name, array in arrays.items()}
        return content | {REASONS: to_csv(("id", "reason"), self.unreadable.items())}

    def read(self, view: str, first: int, count: int) -> NDArray[np.float32]:
        """Read `count` rows of a view from its file, from row `first` on; of shape (count, 2048), float32."""
        path, dtype = self.files[view]
        block = npy.read_rows(path, first, count, dtype)
        return block[view] if dtype.names else block

    def check(self, provenance: Provenance, column: str, at: slice, block: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of the rows in `block`, at the positions `at`, match their checksums."""
        sums = row_sums(provenance, column, self.digests[at], self.reasons[at], block)
        return np.asarray(sums == self.sums[column][at])


@dataclass(frozen=True, eq=False)
class KnownRows:
    """The images that have rows in a cache or its shards.

    Parameters
    ----------
    columns : tuple of str
        The requested views, and the facts.
    missing : dict of bytes to tuple of str
        The columns that must still be computed for an image, by its digest. An image without rows has no entry.
    reasons : dict of bytes to str
        Why images are unreadable, by digest.
    share_copies : bool
        Whether identical files share a row, which is computed for the first of them.
    """

    columns: tuple[str, ...]
    missing: dict[bytes, tuple[str, ...]]
    reasons: dict[bytes, str]
    share_copies: bool = True


def read_split(
    path_of: Callable[[str], Path],
    n: int,
    views: Sequence[str],
    sha256: Mapping[str, str],
    provenance: Provenance,
    *,
    into: NDArray[np.float32] | None = None,
) -> Rows:
    """Read a split; check each small file against its SHA-256 and each row against its checksum.

    Parameters
    ----------
    path_of : callable
        Returns the path of a file of the split, given its name.
    n : int
        Number of images.
    views : sequence of str
    sha256 : dict of str to str
        By file name; a file without an entry counts as damaged.
    provenance : Provenance
    into : ndarray of shape (n, views * 2048), float32, optional
        Filled with the features; without it they are only checked, `npy.BLOCK` rows at a time.

    Returns
    -------
    rows : Rows
        Includes the content of damaged files, because the rows' checksums show which rows are valid; but damaged ids
        and reasons are empty.
    """
    columns = (*views, FACTS_COLUMN)
    kinds: dict[str, np.dtype[Any]] = {"labels": np.dtype(np.int8), "status": np.dtype(np.uint8)}
    kinds |= {"digests": np.dtype((np.uint8, (16,))), FACTS_COLUMN: FACTS}
    kinds |= {f"{column}.sums": np.dtype(np.uint64) for column in columns}
    names = ["ids.npy", *(f"{name}.npy" for name in kinds), REASONS]
    damaged = [f"{view}.npy" for view in views if not npy.is_intact(path_of(f"{view}.npy"), n, FEATURE_ROW)]
    # Each file is read once and then checked, also for the width of the ids: another process may replace it.
    content = {name: read_or_none(path_of(name)) or b"" for name in names}
    damaged += [name for name in names if sha256_of(content[name]) != sha256.get(name)]
    width = (len(content["ids.npy"]) - npy.header_size(np.dtype("<U1"))) // max(1, 4 * n)
    kinds["ids"] = np.dtype(f"<U{min(max(1, width), 1 << 16)}")
    arrays = {name: npy.from_bytes(content[f"{name}.npy"], n, dtype) for name, dtype in kinds.items()}
    if "ids.npy" in damaged:  # its content may not be text
        arrays["ids"] = np.zeros(n, np.str_)
    intact = not {"ids.npy", REASONS} & {*damaged}
    reasons = dict([*csv.reader(io.StringIO(content[REASONS].decode(), newline=""))][1:]) if intact else {}
    rows = Rows(
        ids=arrays["ids"],
        labels=arrays["labels"],
        digests=arrays["digests"],
        reasons=[reasons.get(name, "") for name in arrays["ids"].tolist()],
        facts=arrays[FACTS_COLUMN],
        sums={column: arrays[f"{column}.sums"] for column in columns},
        valid={column: np.zeros(n, bool) for column in columns},
        files={view: (path_of(f"{view}.npy"), FEATURE_ROW) for view in views},
        damaged=damaged,
    )
    rows.valid[FACTS_COLUMN][:] = rows.check(provenance, FACTS_COLUMN, slice(n), rows.facts)
    for number, view in enumerate(views):
        for at in npy.blocks(n):
            block = rows.read(view, at.start, at.stop - at.start)
            rows.valid[view][at] = rows.check(provenance, view, at, block)
            if into is not None:  # return the bytes that were checked: another process may replace the file
                into[at, number * N_FEATURES : (number + 1) * N_FEATURES] = block
    return rows


def digest(data: bytes) -> NDArray[np.uint8]:
    """Return the BLAKE2b-128 of `data`, of shape (16,), uint8."""
    return np.frombuffer(hashlib.blake2b(data, digest_size=16).digest(), np.uint8)


def row_sums(
    provenance: Provenance,
    column: str,
    digests: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    reasons: Sequence[str],
    rows: NDArray[Any],
) -> NDArray[np.uint64]:
    """Return the BLAKE2b-64 of each row: of the provenance, the view, the digest, the reason and the row's bytes."""
    start = hashlib.blake2b(json.dumps([*provenance.key, column]).encode(), digest_size=8)
    sums = []
    for image, reason, row in zip(digests, reasons, rows, strict=True):
        state = start.copy()
        state.update(image.tobytes() + reason.encode() + b"\0")
        state.update(row if row.flags.c_contiguous else row.tobytes())
        sums.append(state.digest())
    return np.frombuffer(b"".join(sums), "<u8")
