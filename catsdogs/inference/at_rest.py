"""Compute the images by ranges, and write features or probabilities of each range to a file of Parquet."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backbone import N_FEATURES
from ..cache import Manifest, Provenance
from ..cache.parquet import FeatureTable, RangeFiles, features_schema, file_key, file_ranges
from ..cache.shards import canonical_reason
from ..errors import CatsDogsError
from ..head.scores import scores_schema, to_scores
from ..progress import Progress, tell
from ..sources import Source
from .batches import ComputedRows
from .cluster import RangePool
from .plan import check_backbone
from .ranges import RangeJob, RangeResult, RangeWorker


def compute_to_parquet(
    job: RangeJob, source: Source, pool: RangePool | None, *, progress: Progress | None = None
) -> tuple[Provenance, int, dict[str, dict[str, str]]]:
    """Compute the ranges of which there is no file yet, by workers of Ray or in this process.

    Parameters
    ----------
    job : RangeJob
    source : Source
        Its images.
    pool : RangePool or None
        The workers.
    progress : callable, optional

    Returns
    -------
    provenance : Provenance
    computed : int
        Number of images whose features were computed.
    unreadable : dict of str to dict
        Why images are unreadable, by split and id, of all files.

    Raises
    ------
    CatsDogsError
        As for `RangePool.compute` and `write_missing`.
    """
    worker, folder, images = ParquetWorker(job, (0, 1)), RangeFiles(job.parquet), len(source.files)
    worker.source = source
    provenance = job.plan.provenance or (pool.provenance() if pool else worker.provenance)
    if job.head:
        check_backbone(job.head, provenance)
    schema = scores_schema(job.head) if job.head else features_schema(worker.views)

    def compute(missing: list[range]) -> None:
        if pool:
            pool.compute(None, ranges=missing, progress=progress)
            return
        done, total = 0, sum(map(len, missing))
        for result in worker.compute(missing):
            tell(progress, "computing features", done := done + len(result.positions), total)

    computed, unreadable = write_missing(folder, worker.key(provenance), images, schema, compute)
    return provenance, computed, {split: unreadable.get(split, {}) for split in source.splits}


def write_missing(
    folder: RangeFiles, key: str, images: int, schema: Any, write: Callable[[list[range]], None]
) -> tuple[int, dict[str, dict[str, str]]]:
    """Have the ranges written of which there is no file yet, and check all files.

    Parameters
    ----------
    folder : RangeFiles
    key : str
        As `file_key` returns it.
    images : int
        Number of all images.
    schema : pyarrow.Schema
    write : callable
        Writes ranges.

    Returns
    -------
    written : int
        Number of readable images in what was written.
    unreadable : dict of str to dict
        Why images are unreadable, by split and id, of all files.

    Raises
    ------
    CatsDogsError
        As for `write` and `RangeFiles`, or files were written elsewhere or have been removed.
    """
    there, *_ = folder.find(key)
    missing = [positions for positions in file_ranges(images) if positions not in there]
    found = there
    if missing:
        write(missing)
        found, *_ = folder.find(key)
    if lost := {*missing} - found.keys():
        message = f"{folder.display_path} lacks {len(lost):,} of the files that this run has just written"
        raise CatsDogsError(message, "Give a folder that all machines share and nothing is removed from, or a URI")
    folder.remove_unfinished()
    written, unreadable = sum(map(len, missing)), dict[str, dict[str, str]]()
    for positions, rows in folder.unreadable(found, schema).items():
        written -= 0 if positions in there else len(rows)
        for split, image, reason in rows:
            unreadable.setdefault(split, {})[image] = reason
    return written, unreadable


class ParquetWorker(RangeWorker):
    """As a `RangeWorker`, but each range becomes a file of Parquet, with a row for each image, copies too."""

    def __init__(self, job: RangeJob, cores: tuple[int, int]) -> None:
        super().__init__(job, cores)
        self._folder, self._rows = RangeFiles(job.parquet), dict[int, tuple[Any, str, dict[str, Any]]]()

    def key(self, provenance: Provenance) -> str:
        """Return the key of its files: of the provenance, all images, how they are divided, and the head."""
        key = file_key(provenance.key, self.views, self._job.listing, len(file_ranges(len(self._files))))
        return file_key(key, self._job.head.sha256) if self._job.head else key

    def _store(self, rows: ComputedRows) -> list[RangeResult]:
        """Keep rows until their range is complete, then write it; return the ranges that are written."""
        finished = []
        for row, record in enumerate(rows.records):
            result = self._open.pop(position := int(record["position"]))
            features = {view.name: of_view[row] for view, of_view in rows.features.items()}
            self._rows[position] = record, canonical_reason(rows.reasons.get(position, "")), features
            result.left -= 1
            if not result.left:
                self._write(result.positions)
                finished.append(result)
        return finished

    def _write(self, positions: range) -> None:
        records, reasons, features = zip(*map(self._rows.pop, positions), strict=True)
        splits, nothing = self.source.part(positions), np.full(N_FEATURES, np.nan, np.float32)
        table = FeatureTable(
            Manifest(self.provenance, self.views, {}, self._job.classes),
            splits=[name for name, split in splits.items() for _ in split.ids],
            ids=[image for split in splits.values() for image in split.ids],
            labels=np.concatenate([split.labels for split in splits.values()]),
            digests=np.array(records)["digest"],
            facts=np.array(records)["facts"],
            reasons=reasons,
            features={view: np.stack([of.get(view, nothing) for of in features]) for view in self.views},
        )
        content = to_scores(self._job.head, table) if self._job.head else table.to_arrow()
        self._folder.write(positions, len(self._files), self.key(self.provenance), content)
