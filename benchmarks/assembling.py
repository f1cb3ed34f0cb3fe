"""Time what the cache does besides computing: write shards, assemble them, and take in ten images more.

    python benchmarks/assembling.py [--rows 25000] [--views 224,224m] [--folder DIR]

The features are drawn; the folder should lie on the disk that is to be measured. Prints seconds of wall and processor
time, and the highest resident size after each step.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from catsdogs.cache import CacheWriter, Provenance, digest
from catsdogs.locks import FEATURES, write_lock

PROVENANCE = Provenance("drawn", "0" * 64, "drawn", "drawn", "float32", "none")


def main() -> None:
    """Fill a cache three times, and print what each step took."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=25_000)
    parser.add_argument("--views", default="224", help="separated by commas")
    parser.add_argument("--folder", type=Path, help="where the cache is written; by default where temporary files go")
    given = parser.parse_args()
    views = tuple(given.views.split(","))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        fill(Path(folder), views, given.rows, f"{given.rows:,} rows in {len(views)} views")
        fill(Path(folder), views, given.rows + 10, "ten images more")
        fill(Path(folder), views, given.rows + 10, "nothing new")


def fill(root: Path, views: tuple[str, ...], rows: int, what: str) -> None:
    """Add what is missing of so many images, and say how long each step took."""
    ids = [f"cat.{number}" for number in range(rows)]
    digests = np.array([digest(name.encode()) for name in ids])
    print(what)
    with write_lock(root, FEATURES):
        timed = Stopwatch()
        wanted = {"train": (ids, np.arange(rows) % 2)}
        with CacheWriter(root / "features", PROVENANCE, views, wanted) as writer:
            known = writer.known()
            timed.lap("open")
            for image in digests:
                if missing := [view for view in known.missing.get(image.tobytes(), known.columns) if view in views]:
                    random = np.random.default_rng(image)
                    writer.add(image, {view: random.random(2048, np.float32) for view in missing})
            timed.lap("draw, write shards")
            writer.assemble(digests)
            timed.lap("assemble")


class Stopwatch:
    """Prints the time since the last lap."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def lap(self, name: str) -> None:
        """Print what has gone by since the last."""
        wall, processor = time.perf_counter(), time.process_time()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"  {name:<20}{wall - self._wall:6.2f} s{processor - self._processor:7.2f} s CPU{peak:7.0f} MiB peak")
        self._wall, self._processor = wall, processor


if __name__ == "__main__":
    main()
