"""One split's files come in; out go its rows, and which of them are sound."""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import npy
from .manifest import Origin

WIDTH = 2048
"""Features of one view of one image."""

UNSEEN, READABLE, UNREADABLE = 0, 1, 2
"""What `status.npy` says of a row."""


@dataclass
class Rows:
    """The rows of one split as they lie on the disk; the features stay there until they are asked for.

    Parameters
    ----------
    ids : ndarray of shape (n,), str
    labels : ndarray of shape (n,), int8
    status : ndarray of shape (n,), uint8
    digests : ndarray of shape (n, 16), uint8
    features : dict of str to ndarray of shape (n, 2048), float32
        By view.
    sums : dict of str to ndarray of shape (n,), uint64
        By view.
    reasons : dict of str to str
        Why an image is unreadable, by id.
    damaged : list of str
        Files that could not be read; zeros stand in for them.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int8]
    status: NDArray[np.uint8]
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
        small |= {f"{view}.npy": ((WIDTH,), np.float32), f"{view}.sums.npy": ((), np.uint64)}
    return small


def digest(data: bytes) -> NDArray[np.uint8]:
    """Return the BLAKE2b-128 of `data`, of shape (16,), uint8."""
    return np.frombuffer(hashlib.blake2b(data, digest_size=16).digest(), np.uint8)


def read(folder: Path, n: int, views: Sequence[str]) -> Rows:
    """Read the `n` rows of a split; what cannot be read becomes zeros and is named in `damaged`."""
    arrays: dict[str, NDArray[Any]] = {}
    damaged: list[str] = []
    for name, (row_shape, dtype) in files(views).items():
        try:
            arrays[name] = npy.read(folder / name, (n, *row_shape), dtype)
        except (OSError, ValueError):
            arrays[name] = np.broadcast_to(np.zeros((), dtype), (n, *row_shape))
            damaged.append(name)
    try:
        with (folder / "unreadable.csv").open(newline="", encoding="utf-8") as file:
            reasons = {row["id"]: row["reason"] for row in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error):
        reasons = {}
        damaged.append("unreadable.csv")
    return Rows(
        ids=arrays["ids.npy"],
        labels=arrays["labels.npy"],
        status=arrays["status.npy"],
        digests=arrays["digests.npy"],
        features={view: arrays[f"{view}.npy"] for view in views},
        sums={view: arrays[f"{view}.sums.npy"] for view in views},
        reasons=reasons,
        damaged=damaged,
    )


def sound(rows: Rows, origin: Origin) -> NDArray[np.bool_]:
    """Return which rows match their checksums in every view, of shape (n,), bool.

    An unreadable image's row is NaN, so the checksum vouches for the status too.
    """
    valid = np.asarray(rows.status != UNSEEN)
    for view, features in rows.features.items():
        wanted = sums(origin, view, rows.ids, rows.digests, features)
        valid &= np.fromiter(wanted, np.uint64, len(rows.ids)) == rows.sums[view]
        valid &= np.isnan(features[:, 0]) == (rows.status == UNREADABLE)
    return valid


def sums(
    origin: Origin,
    view: str,
    ids: Iterable[str],
    digests: Iterable[NDArray[np.uint8]],
    features: Iterable[NDArray[np.float32]],
) -> Iterator[int]:
    """Yield the BLAKE2b-64 of each row: origin, view, id, digest and the features' bytes."""
    start = hashlib.blake2b(json.dumps([*origin.key, view]).encode(), digest_size=8)
    for name, image, row in zip(ids, digests, features, strict=True):
        state = start.copy()
        state.update(name.encode() + b"\0")
        state.update(image.tobytes())
        state.update(np.ascontiguousarray(row, np.float32).data)
        yield int.from_bytes(state.digest(), "little")
