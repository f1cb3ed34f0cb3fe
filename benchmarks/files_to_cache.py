"""Time `extract` from image files to cache.

    python benchmarks/files_to_cache.py DATA [--weights random] [--instant] [--runs 5]

Input: a folder or zip of images. Prints for each run the number of images, the wall time, the rate, the CPU time per
image, and the time before and after the computation. With --instant, the features are zeros: the time is that of
listing, reading, hashing, decoding, resizing, queueing, checksums and writing. To compare two versions, run this script
alternately with PYTHONPATH set to each of them.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

import catsdogs
from catsdogs.backbone import Weights
from catsdogs.inference import plan


class Instant:
    """A backbone that returns zeros."""

    engine, device, precision, network = "instant", "cpu", "float32", None
    streams, batch_size, batch_reduced = 2, 8, False
    versions: dict[str, str] = {}  # noqa: RUF012
    sha256, int8_similarity = "0" * 64, None

    def __init__(self, weights: Weights, *arguments: object, **options: object) -> None:
        self.fingerprint = weights.fingerprint()

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return float32[n, 2048] of zeros."""
        return np.zeros((len(pixels), 2048), np.float32)


def main() -> None:
    """Extract into an empty folder, as often as requested, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder or a zip of images")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--instant", action="store_true", help="use zeros instead of a backbone")
    parser.add_argument("--runs", type=int, default=1, help="number of runs")
    given = parser.parse_args()
    if given.instant:
        plan.Backbone = Instant  # type: ignore[assignment, misc]
    for _ in range(given.runs):
        folder = Path(tempfile.mkdtemp())
        start, processor = time.perf_counter(), time.process_time()
        done = catsdogs.extract(given.data, artifacts=folder, weights=given.weights)
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        shutil.rmtree(folder)
        print(
            f"{done.computed:,} images in {seconds:.2f} s, {done.rate} images/s after loading, "
            f"{1000 * processor / done.computed:.2f} ms of CPU time per image, "
            f"{done.seconds - done.computed / (done.rate or np.inf):.2f} s before and after"
        )


if __name__ == "__main__":
    main()
