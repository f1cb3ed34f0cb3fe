"""Write computed rows to shards, and read shards, from any number of processes without a lock.

A shard is a `.npy` file of records, each with its own checksums. Its name is the hash of its content, followed by its
views: it can be read without trusting its header, and a shard that is written twice is one file.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES, Int8Similarity, Quantized
from ..errors import CatsDogsError
from ..images.facts import FACTS, FACTS_COLUMN
from ..storage import list_files, make_folder, sha256_of, to_cell, unique_name, write_atomic, write_if_changed
from . import manifest as manifests
from . import npy
from .manifest import Manifest, Provenance, network_content
from .rows import FEATURE_ROW, Rows, row_sums

if TYPE_CHECKING:
    from .remote import RemoteParts

_NAME = re.compile(r"[0-9a-f]{32}(?!.*(\.\w+)(?=\.).*\1\.|.*\.(?:digest|facts|reason)\.)(\.[0-9a-z]{1,32})*\.npy")
"""The name of a shard: the hash of its content, then its views, each once and none named like another field."""

_PART = re.compile(r"part-[1-9]\d*-of-[1-9]\d*\.json")

SHARD_SECONDS, SHARD_ROWS = 5.0, 4096
"""Rows wait in memory until the oldest is this old, or until there are this many rows of all views."""

MAX_REASON = 200
"""Maximum length, in bytes of UTF-8, of the stored reason why an image is unreadable."""

_TRIES = 3
"""How often writing a shard is tried if another process removes its folder because it is empty."""

_ABANDONED_SECONDS = 3600
"""An incomplete file older than this counts as left by a killed process."""


def shards_folder(cache: Path, provenance: Provenance) -> Path:
    """Return the folder for the shards of one provenance."""
    return cache / "shards" / sha256_of(json.dumps(provenance.key).encode())[:16]


def canonical_reason(reason: str) -> str:
    """Return a reason as it is stored: made safe for a table, and truncated to the length of the record's field."""
    return to_cell(reason).encode()[:MAX_REASON].decode(errors="ignore")


def no_features(views: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """Return what is stored as the features of an image that cannot be decoded: a row of NaN for each view."""
    return dict.fromkeys(views, np.full((1, N_FEATURES), np.nan, np.float32))


class ShardWriter:
    """Collects rows and writes them to shards.

    Parameters
    ----------
    cache : Path or None
        ``artifacts/features``; None if shards are only put into `remote`.
    provenance : Provenance
    network : Quantized, optional
        The quantized network that computes the rows.
    remote : RemoteParts, optional
        Where shards are put before they are written to `cache`.

    Attributes
    ----------
    int8_similarity : Int8Similarity or None
    """

    def __init__(
        self,
        cache: Path | None,
        provenance: Provenance,
        network: Quantized | None = None,
        remote: "RemoteParts | None" = None,
    ) -> None:
        self._cache, self._remote, self._place = cache, remote, shards_folder(Path(), provenance)
        self.int8_similarity: Int8Similarity | None = None
        self._provenance, self._network, self._since = provenance, network, 0.0
        # By views: memory that is used again, as new memory costs more than filling it; and the number of waiting rows.
        self._records: dict[tuple[str, ...], NDArray[Any]] = {}
        self._waiting: dict[tuple[str, ...], int] = {}

    def add(
        self,
        digests: NDArray[np.uint8],
        features: Mapping[str, NDArray[np.float32]],
        facts: NDArray[Any] | None = None,
        reason: str = "",
    ) -> None:
        """Add rows of n images; they wait in memory until `flush`, which `due` asks for.

        Missing facts have a checksum of zero, which makes them invalid. An image with a `reason` why it cannot be
        decoded has the features that `no_features` returns.
        """
        views, reason = tuple(features), canonical_reason(reason)
        waiting = self._waiting.get(views, 0)
        records = self._memory(views, waiting, waiting + len(digests))[waiting : waiting + len(digests)]
        records.view(np.uint8)[:] = 0
        records["digest"], records["reason"] = digests, reason.encode()
        columns: dict[str, tuple[Any, NDArray[Any]]] = {view: (slice(None), rows) for view, rows in features.items()}
        if facts is not None:
            measured = ~np.isnan(facts["width"])
            columns[FACTS_COLUMN] = measured, facts[measured]
        for column, (at, rows) in columns.items():
            records[column][at] = rows
            records[f"{column}.sum"][at] = row_sums(self._provenance, column, digests[at], len(rows) * [reason], rows)
        self._since = self._since if self._waiting else time.monotonic()
        self._waiting[views] = waiting + len(digests)

    @property
    def due(self) -> bool:
        """Whether `SHARD_ROWS` rows wait, or the oldest has waited for `SHARD_SECONDS`."""
        rows = sum(max(1, len(views)) * rows for views, rows in self._waiting.items())
        return rows >= SHARD_ROWS or (rows > 0 and time.monotonic() - self._since >= SHARD_SECONDS)

    def flush(self) -> None:
        """Write all waiting rows to shards, and sync them."""
        for _ in range(_TRIES - 1):
            with suppress(FileNotFoundError):  # another process has assembled its shards and removed the folder
                self._write()
        self._write()

    def _memory(self, views: tuple[str, ...], waiting: int, rows: int) -> NDArray[Any]:
        """Return memory for so many rows of these views, in which the waiting ones are."""
        if views not in self._records or len(self._records[views]) < rows:
            larger = np.empty(max(rows, 2 * waiting), _dtype(views))
            if waiting:
                larger[:waiting] = self._records[views][:waiting]
            self._records[views] = larger
        return self._records[views]

    def _write(self) -> None:
        """Write the provenance and the network, then all waiting rows."""
        if not self._waiting:
            return
        if self._cache:
            make_folder(self._cache / self._place, self._cache.parent)
        manifest = Manifest(self._provenance, (), {}, int8_similarity=self.int8_similarity)
        files = network_content(self._network) | {"provenance.json": manifests.to_bytes(manifest)}
        for name, content in files.items():
            self._store(write_if_changed, name, content)
        for views, rows in [*self._waiting.items()]:
            for first in range(0, rows, SHARD_ROWS):
                # Not joined, which would copy all rows while it holds Python's lock: hashing and writing release it.
                records = self._records[views][first : min(first + SHARD_ROWS, rows)]
                identity = hashlib.blake2b(head := npy.header(records.shape, records.dtype), digest_size=16)
                identity.update(records.data)
                name = ".".join([identity.hexdigest(), *views, "npy"])
                self._store(write_atomic, name, head, records.data)
            del self._waiting[views]

    def _store(self, write: Callable[..., None], name: str, *content: bytes | memoryview) -> None:
        if self._remote:
            self._remote.write(f"{self._place}/{name}", *content)
        if self._cache:
            write(self._cache / self._place / name, *content, temporary_name=unique_name())


def find_shards(folder: Path) -> list[Path]:
    """Return the paths of the shards below a folder; other files are ignored."""
    return [path for path in list_files(folder) if _NAME.fullmatch(path.name) and path.is_file()]


def read_shard(path: Path, provenance: Provenance) -> Rows:
    """Read a shard and check each row; in a shard of another provenance, no row is valid."""
    dtype = _dtype(views := _views(path))
    n = min(SHARD_ROWS, npy.count_rows(path, dtype))
    records = npy.read_rows(path, 0, n, dtype)
    columns = (*views, FACTS_COLUMN)
    shard = Rows(
        ids=np.zeros(0, np.str_),
        labels=np.zeros(0, np.int8),
        digests=records["digest"].copy(),
        reasons=[reason.decode(errors="replace") for reason in records["reason"].tolist()],
        facts=records[FACTS_COLUMN].copy(),
        sums={column: records[f"{column}.sum"].copy() for column in columns},
        files=dict.fromkeys(views, (path, dtype)),
    )
    for column in columns:
        shard.valid[column] = shard.check(provenance, column, slice(n), records[column])
    return shard


def count_rows(cache: Path) -> int:
    """Return the number of rows in the shards of a cache, of all provenances, computed from the files' sizes."""
    return sum(npy.count_rows(path, _dtype(_views(path))) for path in find_shards(cache / "shards"))


def find_parts(cache: Path) -> list[Path]:
    """Return the paths of the tables of finished parts in a cache."""
    return sorted(path for path in cache.glob("part-*-of-*.json") if _PART.fullmatch(path.name))


def waiting_note(cache: Path) -> str:
    """Return the end of a message that features are missing: the number of rows in shards, if there are any."""
    return f" yet; {rows:,} computed rows are in shards" if (rows := count_rows(cache)) else ""


def read_provenances(cache: Path) -> list[Manifest]:
    """Return the provenances of a cache's shards, as manifests without splits; damaged ones are skipped."""
    found: list[Manifest] = []
    for path in [path for path in list_files(cache / "shards") if path.name == "provenance.json"]:
        with suppress(CatsDogsError):
            found += filter(None, [manifests.read(path.parent, path.name)])
    return found


def remove_shards(paths: Collection[Path], emptied: Path) -> None:
    """Remove shards; from a folder without shards, `emptied` included, also provenance, network and abandoned files."""
    for path in paths:
        path.unlink(missing_ok=True)
    old = time.time() - _ABANDONED_SECONDS
    for folder in {emptied, *(path.parent for path in paths)}:
        if not find_shards(folder):
            for path in list_files(folder):
                with suppress(FileNotFoundError):  # the process that was writing the file has renamed it
                    abandoned = path.suffix == ".new" and path.stat().st_mtime < old
                    if abandoned or path.name == "provenance.json" or path.name.startswith("int8."):
                        path.unlink()
            with suppress(OSError):  # other files are in them
                folder.rmdir()
                folder.parent.rmdir()


def _views(path: Path) -> tuple[str, ...]:
    """Return the views in a shard's name."""
    return tuple(path.name.split(".")[1:-1])


def _dtype(views: tuple[str, ...]) -> np.dtype[Any]:
    """Return the dtype of a shard's records."""
    columns = [*((view, FEATURE_ROW) for view in views), (FACTS_COLUMN, FACTS)]
    with_sums = [field for name, dtype in columns for field in ((name, dtype), (f"{name}.sum", np.dtype("<u8")))]
    return np.dtype([("digest", "u1", (16,)), *with_sums, ("reason", f"S{MAX_REASON}")])
