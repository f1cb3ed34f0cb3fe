"""Write rows to shards as they are computed, and read them again: any number of processes, and no lock.

A shard is a `.npy` file of records, each with its own checksums. Its name is the hash of its content and the views that
it holds, so that nothing in the file need be believed to read it, and a shard that is written twice is one file.
"""

import hashlib
import json
import re
import time
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone import Int8Similarity, Quantized
from ..errors import CatsDogsError
from ..images.facts import FACTS, FACTS_COLUMN
from ..storage import list_files, make_folder, to_cell, write_atomic, write_if_changed
from . import manifest as manifests
from . import npy
from .manifest import Manifest, Provenance, network_content
from .rows import FEATURE_ROW, Rows, row_sums

_NAME = re.compile(r"[0-9a-f]{32}(?!.*(\.\w+)(?=\.).*\1\.|.*\.(?:digest|facts|reason)\.)(\.[0-9a-z]{1,32})*\.npy")
"""What shards are called: the hash of their content, and the views, each once and none like another field."""

SHARD_SECONDS, SHARD_ROWS = 5.0, 4096
"""How old the oldest row may become before it is in a shard, and how many rows of all views are kept until then."""

MAX_REASON = 200
"""Bytes of UTF-8 that are kept of why an image is unreadable."""

_TRIES = 3
"""How often a shard is written whose folder another process removes, as it has found nothing in it."""

_ABANDONED_SECONDS = 3600
"""Age from which on a file that was never completed is taken for one of a process that was killed."""


def shards_folder(cache: Path, provenance: Provenance) -> Path:
    """Return the folder of the shards of one provenance."""
    return cache / "shards" / hashlib.sha256(json.dumps(provenance.key).encode()).hexdigest()[:16]


def canonical_reason(reason: str) -> str:
    """Return a reason as it is kept: as a table may hold it, and not longer than a record's field."""
    return to_cell(reason).encode()[:MAX_REASON].decode(errors="ignore")


class ShardWriter:
    """Rows that are on their way to shards.

    Parameters
    ----------
    cache : Path
        ``artifacts/features``.
    provenance : Provenance
    network : Quantized, optional
        The quantized network that computes the rows.

    Attributes
    ----------
    int8_similarity : Int8Similarity or None
    """

    def __init__(self, cache: Path, provenance: Provenance, network: Quantized | None = None) -> None:
        self.folder, self._root = shards_folder(cache, provenance), cache.parent
        self.int8_similarity: Int8Similarity | None = None
        self._provenance, self._network, self._since = provenance, network, 0.0
        self._waiting: dict[tuple[str, ...], list[NDArray[Any]]] = {}

    def add(
        self, digest: NDArray[np.uint8], features: Mapping[str, NDArray[np.float32]], facts: np.void | None, reason: str
    ) -> None:
        """Take over what an image's bytes give; it waits until `flush`, which is `due` after a while.

        Facts that are not there have a checksum of zero, which is wrong.
        """
        record = np.zeros(1, _dtype(tuple(features)))
        record["digest"], record["reason"] = digest, reason.encode()
        for column, row in {**features, **({} if facts is None else {FACTS_COLUMN: facts})}.items():
            record[column] = row
            (record[f"{column}.sum"],) = row_sums(self._provenance, column, [digest], [reason], record[column])
        self._since = self._since if self._waiting else time.monotonic()
        self._waiting.setdefault(tuple(features), []).append(record)

    @property
    def due(self) -> bool:
        """Whether as many rows wait as are kept, or the oldest has waited for as long as it may."""
        rows = sum(max(1, len(views)) * len(records) for views, records in self._waiting.items())
        return rows >= SHARD_ROWS or (rows > 0 and time.monotonic() - self._since >= SHARD_SECONDS)

    def flush(self) -> None:
        """Write what waits, so that it outlasts a power cut."""
        for _ in range(_TRIES - 1):
            with suppress(FileNotFoundError):  # a process that assembled shards has removed the folder meanwhile
                self._write()
        self._write()

    def _write(self) -> None:
        """Write what waits; what the shards are of, and the network, first."""
        if not self._waiting:
            return
        make_folder(self.folder, self._root)
        about = Manifest(self._provenance, (), {}, int8_similarity=self.int8_similarity)
        files = network_content(self._network) | {"provenance.json": manifests.to_bytes(about)}
        for name, content in files.items():
            write_if_changed(self.folder / name, content, temporary_name=f".{uuid.uuid4().hex}.new")
        for views in [*self._waiting]:
            shard = npy.to_bytes(np.concatenate(self._waiting[views]))
            name = ".".join([hashlib.blake2b(shard, digest_size=16).hexdigest(), *views, "npy"])
            write_atomic(self.folder / name, shard, temporary_name=f".{uuid.uuid4().hex}.new")
            del self._waiting[views]


def find_shards(folder: Path) -> list[Path]:
    """Return the shards below a folder, and nothing else that lies there."""
    return [path for path in list_files(folder) if _NAME.fullmatch(path.name) and path.is_file()]


def read_shard(path: Path, provenance: Provenance) -> Rows:
    """Read a shard, and hold each row against its checksum; a shard of another provenance has no valid one."""
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
    """Return how many rows lie in the shards of a cache, those of all provenances, by the sizes of the files."""
    return sum(npy.count_rows(path, _dtype(_views(path))) for path in find_shards(cache / "shards"))


def read_provenances(cache: Path) -> list[Manifest]:
    """Return what the shards of a cache are of, as manifests without splits; what is damaged is left out."""
    found: list[Manifest] = []
    for path in [path for path in list_files(cache / "shards") if path.name == "provenance.json"]:
        with suppress(CatsDogsError):
            found += filter(None, [manifests.read(path.parent, path.name)])
    return found


def remove_shards(paths: Collection[Path], emptied: Path) -> None:
    """Remove shards, and where there is none any more, there and in `emptied`, what lies beside them."""
    for path in paths:
        path.unlink(missing_ok=True)
    old = time.time() - _ABANDONED_SECONDS
    for folder in {emptied, *(path.parent for path in paths)}:
        if not find_shards(folder):
            for path in list_files(folder):
                with suppress(FileNotFoundError):  # the process that was writing it has completed it
                    abandoned = path.suffix == ".new" and path.stat().st_mtime < old
                    if abandoned or path.name == "provenance.json" or path.name.startswith("int8."):
                        path.unlink()
            with suppress(OSError):  # something else lies in them
                folder.rmdir()
                folder.parent.rmdir()


def _views(path: Path) -> tuple[str, ...]:
    """Return the views that a shard's name says."""
    return tuple(path.name.split(".")[1:-1])


def _dtype(views: tuple[str, ...]) -> np.dtype[Any]:
    """Return the dtype of a shard's records."""
    columns = [*((view, FEATURE_ROW) for view in views), (FACTS_COLUMN, FACTS)]
    with_sums = [field for name, dtype in columns for field in ((name, dtype), (f"{name}.sum", np.dtype("<u8")))]
    return np.dtype([("digest", "u1", (16,)), *with_sums, ("reason", f"S{MAX_REASON}")])
