"""Time the cache without a backbone: write shards, assemble them, and add ten images.

    python benchmarks/assembling.py [--rows 25000] [--views 224,224m] [--folder DIR]

Input: random features, and a folder on the disk to be measured. Prints the wall time, the CPU time and the peak memory
after each step.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from catsdogs.cache import CacheWriter, Manifest, Provenance, digest
from catsdogs.locks import FEATURES, write_lock

PROVENANCE = Provenance("synthetic", "0" * 64, "synthetic", "synthetic", "float32", "none")


def main() -> None:
    """Fill a cache three times, and print the time of each step."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=25_000)
    parser.add_argument("--views", default="224", help="separated by commas")
    parser.add_argument(
        "--folder", type=Path, help="parent folder of the cache; by default the one for temporary files"
    )
    given = parser.parse_args()
    views = tuple(given.views.split(","))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        fill(Path(folder), views, given.rows, f"{given.rows:,} rows in {len(views)} views")
        fill(Path(folder), views, given.rows + 10, "ten more images")
        fill(Path(folder), views, given.rows + 10, "no new images")


def fill(root: Path, views: tuple[str, ...], rows: int, title: str) -> None:
    """Add the missing ones of `rows` images, and print the time of each step."""
    ids = [f"cat.{number}" for number in range(rows)]
    digests = np.array([digest(name.encode()) for name in ids])
    print(title)
    with write_lock(root, FEATURES):
        timed = Stopwatch()
        wanted = {"train": (ids, np.arange(rows) % 2)}
        with CacheWriter(root / "features", Manifest(PROVENANCE, views, {}), wanted) as writer:
            known = writer.known()
            timed.lap("open")
            for image in digests:
                if missing := [view for view in known.missing.get(image.tobytes(), known.columns) if view in views]:
                    random = np.random.default_rng(image)
                    writer.add_rows(image[np.newaxis], {view: random.random((1, 2048), np.float32) for view in missing})
            timed.lap("generate, write")
            writer.assemble(digests)
            timed.lap("assemble")


class Stopwatch:
    """Prints the time since the last lap."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def lap(self, name: str) -> None:
        """Print the time since the last lap."""
        wall, processor = time.perf_counter(), time.process_time()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"  {name:<20}{wall - self._wall:6.2f} s{processor - self._processor:7.2f} s CPU{peak:7.0f} MiB peak")
        self._wall, self._processor = wall, processor


if __name__ == "__main__":
    main()
