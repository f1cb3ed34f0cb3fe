"""Time `extract` from files to cache: images a second, and processor time an image.

    python benchmarks/files_to_cache.py DATA [--weights random] [--instant] [--runs 5]

With --instant the features are zeros that cost nothing, so that the time is that of the road alone: listing, reading,
digesting, decoding, resizing, handing over, checksums and writing. To compare two versions, run it in turn with
PYTHONPATH set to the one and the other.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

import catsdogs
from catsdogs.inference import plan


class Instant:
    """A backbone that computes nothing."""

    engine, device, precision, network = "instant", "cpu", "float32", None
    streams, batch_size, batch_reduced = 2, 8, False
    versions: dict[str, str] = {}  # noqa: RUF012
    sha256, int8_similarity = "0" * 64, None

    def __init__(self, *arguments: object, **options: object) -> None:
        pass

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return float32[n, 2048] of zeros."""
        return np.zeros((len(pixels), 2048), np.float32)


def main() -> None:
    """Extract into a fresh folder as often as asked, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="random")
    parser.add_argument("--instant", action="store_true", help="compute nothing")
    parser.add_argument("--runs", type=int, default=1)
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
            f"{1000 * processor / done.computed:.2f} ms of processor time an image, "
            f"{done.seconds - done.computed / (done.rate or np.inf):.2f} s besides"
        )


if __name__ == "__main__":
    main()
