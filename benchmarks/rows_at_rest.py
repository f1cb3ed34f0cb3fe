"""Sample, train on and score a million rows that were made up, as Parquet; and assemble as many from shards.

    python benchmarks/rows_at_rest.py [--rows 1000000] [--images 25000] [--folder DIR] [--steps STEP...]

Each step is a process of its own: its wall time, processor time and peak memory are printed. The features are uniform
random numbers, of which some depend on the label. Needs 8 GB of free disk for Parquet, and 16 GB for shards and arrays,
one after the other. Steps: parquet, subset, train, score; shards, known, assemble.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import catsdogs
from catsdogs.backbone import N_FEATURES
from catsdogs.cache import CacheWriter, Manifest, Provenance, ShardWriter, digest
from catsdogs.cache.parquet import FeatureTable, RangeFiles, file_ranges
from catsdogs.cache.shards import SHARD_ROWS
from catsdogs.images.facts import FACTS
from catsdogs.locks import FEATURES, write_lock

PROVENANCE = Provenance("synthetic", "0" * 64, "synthetic", "synthetic", "float32", "none")
STEPS = ("parquet", "subset", "train", "score", "shards", "known", "assemble")


def make_rows(positions: range) -> FeatureTable:
    """Return made-up rows of these positions."""
    n, labels = len(positions), (np.arange(positions.start, positions.stop) % 3 == 0).astype(np.int8)
    features = np.random.default_rng(positions.start).random((n, N_FEATURES), np.float32)
    features[:, :64] += np.float32(0.06) * labels[:, np.newaxis]
    facts = np.zeros(n, FACTS)
    ids = [f"image.{position}" for position in positions]
    digests = np.array([digest(name.encode()) for name in ids])
    return FeatureTable(
        Manifest(PROVENANCE, ("224",), {}), ["train"] * n, ids, labels, digests, facts, [""] * n, {"224": features}
    )


def write_parquet(folder: Path, rows: int) -> None:
    """Write them as `extract` with its option `parquet` would."""
    files = RangeFiles(str(folder))
    for positions in file_ranges(rows):
        files.write(positions, rows, "0" * 16, make_rows(positions).to_arrow())


def write_shards(artifacts: Path, rows: int) -> None:
    """Write them to shards as `extract` would."""
    writer = ShardWriter(artifacts / "features", PROVENANCE)
    for first in range(0, rows, SHARD_ROWS):
        table = make_rows(range(first, min(first + SHARD_ROWS, rows)))
        writer.add(table.digests, table.features, table.facts)
        writer.flush()


def assemble(artifacts: Path, rows: int, *, known_only: bool) -> None:
    """Open the cache with these shards, and assemble it."""
    ids = [f"image.{position}" for position in range(rows)]
    digests = np.array([digest(name.encode()) for name in ids])
    wanted = {"train": (ids, (np.arange(rows) % 3 == 0).astype(np.int8))}
    with (
        write_lock(artifacts, FEATURES),
        CacheWriter(artifacts / "features", Manifest(PROVENANCE, ("224",), {}), wanted) as writer,
    ):
        missing = writer.known().missing
        print(f"  {len(missing):,} known, {sum(map(bool, missing.values())):,} of them incomplete")
        if not known_only:
            writer.assemble(digests)


def run_step(step: str, folder: Path, rows: int, images: int) -> None:
    """Run one step in this process."""
    made, artifacts, scores = folder / "rows", folder / "artifacts", folder / "scores"
    if step == "parquet":
        write_parquet(made, rows)
    elif step == "subset":
        print(" ", catsdogs.subset(made, images=images, artifacts=artifacts))
    elif step == "train":
        metrics = catsdogs.train(artifacts, near_duplicates=False).metrics
        print(f"  out of fold: log loss {metrics.log_loss:.4f}, accuracy {metrics.accuracy:.4f}")
    elif step == "score":
        print(" ", catsdogs.score(made, scores, artifacts=artifacts))
    elif step == "shards":
        write_shards(folder / "sharded", rows)
    else:
        assemble(folder / "sharded", rows, known_only=step == "known")


def main() -> None:
    """Run the steps, each in a process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=25_000)
    parser.add_argument("--folder", type=Path, help="parent of the folder that is written and removed")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.within:
        run_step(given.steps[0], given.within, given.rows, given.images)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for step in given.steps:
            if step == "shards":
                shutil.rmtree(Path(folder) / "rows", ignore_errors=True)
            start, options = time.perf_counter(), ["--rows", str(given.rows), "--images", str(given.images)]
            child = subprocess.Popen([sys.executable, __file__, "--steps", step, "--within", folder, *options])
            _, status, used = os.wait4(child.pid, 0)
            took = f"{time.perf_counter() - start:8.1f} s, {used.ru_utime + used.ru_stime:8.1f} s of processor time"
            print(f"{step:<9}{took}, {used.ru_maxrss / 1e6:6.2f} GB at most", flush=True)
            if status:
                sys.exit(1)


if __name__ == "__main__":
    main()
