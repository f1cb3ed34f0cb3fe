"""Read the rows of one split, and check each against its checksum."""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backbone import N_FEATURES
from ..storage import read_if_there
from . import npy
from .manifest import Provenance, SplitEntry

UNSEEN, READABLE, UNREADABLE = 0, 1, 2
"""What `status.npy` says of a row."""

REASONS = "unreadable.csv"
"""The file of a split that is no array: why images are unreadable."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one split as they lay on the disk.

    Parameters
    ----------
    ids : ndarray of shape (n,), str
    labels : ndarray of shape (n,), int8
    digests : ndarray of shape (n, 16), uint8
    features : dict of str to ndarray of shape (n, 2048), float32
        By view.
    sums : dict of str to ndarray of shape (n,), uint64
        By view.
    reasons : dict of str to str
        Why an image is unreadable, by id; empty where the manifest does not vouch for the file.
    damaged : list of str
        Files that are not what they should be; of arrays, what is left of them stands in the others' places.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int8]
    digests: NDArray[np.uint8]
    features: dict[str, NDArray[np.float32]]
    sums: dict[str, NDArray[np.uint64]]
    reasons: dict[str, str]
    damaged: list[str]


def files(views: Sequence[str]) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
    """Return the shape of a row and the dtype of each array file of a split."""
    small: dict[str, tuple[tuple[int, ...], DTypeLike]] = {
        "ids.npy": ((), np.str_),
        "labels.npy": ((), np.int8),
        "status.npy": ((), np.uint8),
        "digests.npy": ((16,), np.uint8),
    }
    for view in views:
        small |= {f"{view}.npy": ((N_FEATURES,), np.float32), f"{view}.sums.npy": ((), np.uint64)}
    return small


def digest(data: bytes) -> NDArray[np.uint8]:
    """Return the BLAKE2b-128 of `data`, of shape (16,), uint8."""
    return np.frombuffer(hashlib.blake2b(data, digest_size=16).digest(), np.uint8)


def read(folder: Path, entry: SplitEntry, views: Sequence[str], *, ids: NDArray[np.str_] | None = None) -> Rows:
    """Read the rows of a split, held against its entry in the manifest.

    Parameters
    ----------
    folder : Path
        The split's.
    entry : SplitEntry
        What the manifest says of it.
    views : sequence of str
    ids : ndarray of shape (m,), str, optional
        Tried where ids.npy is damaged, if they are as many: the rows' checksums tell whether they are the right ones.
    """
    n, vouched = entry.images, entry.sha256
    arrays: dict[str, NDArray[Any]] = {}
    damaged: list[str] = []
    for name, (row_shape, dtype) in files(views).items():
        try:
            arrays[name] = npy.read(folder / name, (n, *row_shape), dtype)
        except (OSError, ValueError):
            arrays[name] = npy.read_damaged(folder / name, (n, *row_shape), dtype)
            damaged.append(name)
        else:
            # Of what was read, not of the file once more: another run may have put another in its place.
            if name in vouched and hashlib.sha256(npy.to_bytes(arrays[name])).hexdigest() != vouched[name]:
                damaged.append(name)
    reasons: dict[str, str] = {}
    if REASONS in vouched:
        content = read_if_there(folder / REASONS)
        if content is not None and hashlib.sha256(content).hexdigest() == vouched[REASONS]:
            reasons = {row["id"]: row["reason"] for row in csv.DictReader(io.StringIO(content.decode(), newline=""))}
        else:
            damaged.append(REASONS)
    if "ids.npy" in damaged:  # what is left of it need not even be text
        arrays["ids.npy"] = ids if ids is not None and len(ids) == n else np.zeros(n, np.str_)
    return Rows(
        ids=arrays["ids.npy"],
        labels=arrays["labels.npy"],
        digests=arrays["digests.npy"],
        features={view: arrays[f"{view}.npy"] for view in views},
        sums={view: arrays[f"{view}.sums.npy"] for view in views},
        reasons=reasons,
        damaged=damaged,
    )


def check(rows: Rows, provenance: Provenance) -> NDArray[np.uint8]:
    """Return what each row is found to be, of shape (n,), uint8: what `status.npy` should say.

    A row that does not match its checksum in every view is UNSEEN, and so is an unreadable image without a reason:
    the checksum does not cover that. An unreadable image's features are NaN, so nothing else need tell it.
    """
    return status_of(rows, valid(rows, provenance))


def valid(rows: Rows, provenance: Provenance) -> dict[str, NDArray[np.bool_]]:
    """Return by view which rows, of shape (n,), match their checksums and, where they are NaN, have a reason."""
    ids = rows.ids.tolist()
    found = {}
    for view, features in rows.features.items():
        wanted = np.fromiter(sums(provenance, view, ids, rows.digests, features), np.uint64, len(ids))
        found[view] = wanted == rows.sums[view]
        for row in np.flatnonzero(np.isnan(features[:, 0])):
            found[view][row] &= ids[row] in rows.reasons
    return found


def status_of(rows: Rows, valid: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Return the same as `check`, where `valid` is known."""
    nan = np.any([np.isnan(features[:, 0]) for features in rows.features.values()], axis=0)
    return np.where(np.all(list(valid.values()), axis=0), np.where(nan, UNREADABLE, READABLE), UNSEEN).astype(np.uint8)


def sums(
    provenance: Provenance,
    view: str,
    ids: Iterable[str],
    digests: Iterable[NDArray[np.uint8]],
    features: Iterable[NDArray[np.float32]],
) -> Iterator[int]:
    """Yield the BLAKE2b-64 of each row: provenance, view, id, digest and the features' bytes."""
    start = hashlib.blake2b(json.dumps([*provenance.key, view]).encode(), digest_size=8)
    for name, image, row in zip(ids, digests, features, strict=True):
        state = start.copy()
        state.update(name.encode() + b"\0" + image.tobytes())
        state.update(np.ascontiguousarray(row, np.float32).data)
        yield int.from_bytes(state.digest(), "little")
