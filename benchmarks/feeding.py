"""Time how fast decoded images reach an engine, without a GPU.

    python benchmarks/feeding.py [--images 8192] [--side 32] [--rounds 3] [--workers 2]

Draws JPEG files, and hands them to two engines, by threads and by processes alternately: one returns zeros at once, and
one sleeps as long as an H200 computes. `hand over` loads and computes only, `to shards` writes the rows, too, and
`extract` is the whole command, without the search for near-duplicates. Prints images per second; the share of the time
in which the device has nothing to compute, from the first batch to the last; the processor time of this process for an
image; and for comparison what as many processes decode that do nothing else.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import catsdogs
from catsdogs.backbone import Weights
from catsdogs.cache import KnownRows, Provenance, ShardWriter
from catsdogs.images.views import View
from catsdogs.inference import plan, processes
from catsdogs.inference.batches import compute_rows
from catsdogs.inference.timing import StageTimer
from catsdogs.sources import ImageFile, Source
from catsdogs.threads import cpu_count

BATCH, BATCH_SECONDS = 128, 0.0047
"""Images in a batch, and the time in which an H200 computes it by JAX in bfloat16 (docs/project/benchmarks.md)."""

DECODE = """
import sys
from catsdogs.images.decoding import decode_with_facts
from catsdogs.cache import digest
for path in sys.stdin.read().split():
    with open(path, "rb") as file:
        data = file.read()
    digest(data), decode_with_facts(data, [224])
"""


class Device:
    """A backbone that returns zeros, after the time that a device takes, one batch at a time."""

    engine, device, precision, network = "instant", "gpu", "float32", None
    streams, batch_size, batch_reduced = 2, BATCH, False
    versions: dict[str, str] = {}  # noqa: RUF012
    sha256, int8_similarity = "0" * 64, None
    seconds = 0.0

    def __init__(self, weights: Weights | None = None, *arguments: object, **options: object) -> None:
        self.fingerprint = weights.fingerprint() if weights else ""
        self._lock, self.busy, self.first, self.last = threading.Lock(), 0.0, 0.0, 0.0

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return float32[n, 2048] of zeros."""
        with self._lock:
            start = time.perf_counter()
            if self.seconds:
                time.sleep(self.seconds * len(pixels) / BATCH)
            self.first, self.last = self.first or start, time.perf_counter()
            self.busy += self.last - start
        return np.zeros((len(pixels), 2048), np.float32)

    @property
    def waited(self) -> float:
        """Share of the time between the first batch and the last in which nothing was computed."""
        return 1 - self.busy / (self.last - self.first)


def hand_over(folder: Path, device: Device) -> tuple[int, float, float]:
    """Load all images and give them to the device; return their number, the time and this process's processor time."""
    with Source(folder) as source:
        start, processor, count = time.perf_counter(), time.process_time(), 0
        backbone: Any = device
        with compute_rows(source.files, [View()], lambda: backbone, timer=StageTimer()) as computed:
            for rows in computed:
                count += len(rows.records)
        return count, time.perf_counter() - start, time.process_time() - processor


def to_shards(folder: Path, device: Device) -> tuple[int, float, float]:
    """Load and compute all images, and write their rows to shards; return as `hand_over`."""
    provenance = Provenance("none", "0" * 64, "none", pixels="none", precision="float32", engine="none")
    with Source(folder) as source, tempfile.TemporaryDirectory() as cache:
        writer, known = ShardWriter(Path(cache), provenance), KnownRows(("224", "facts"), {}, {})
        start, processor, count = time.perf_counter(), time.process_time(), 0
        backbone: Any = device
        with compute_rows(source.files, [View()], lambda: backbone, known=known, timer=StageTimer()) as computed:
            for rows in computed:
                features = {view.name: of_view for view, of_view in rows.features.items()}
                writer.add(rows.records["digest"], features, rows.records["facts"])
                if writer.due:
                    writer.flush()
                count += len(rows.records)
        writer.flush()
        return count, time.perf_counter() - start, time.process_time() - processor


def extract(folder: Path, device: Device) -> tuple[int, float, float]:
    """Extract into an empty cache; return as `hand_over`."""
    plan.Backbone = lambda weights, *arguments, **options: _named(device, weights)  # type: ignore[assignment, misc]
    with tempfile.TemporaryDirectory() as artifacts:
        start, processor = time.perf_counter(), time.process_time()
        done = catsdogs.extract(folder, artifacts=artifacts, weights="random", near_duplicates=False)
        return done.computed, time.perf_counter() - start, time.process_time() - processor


def _named(device: Device, weights: Weights) -> Device:
    device.fingerprint = weights.fingerprint()
    return device


def decode_only(files: list[ImageFile], workers: int) -> float:
    """Return how many images a second as many processes read, digest, decode and measure."""
    names = [file.display_path for file in files]
    running = [
        subprocess.Popen([sys.executable, "-c", DECODE], stdin=subprocess.PIPE, text=True) for _ in range(workers)
    ]
    time.sleep(2)  # they are imported
    start = time.perf_counter()
    for number, process in enumerate(running):
        assert process.stdin
        process.stdin.write("\n".join(names[number::workers]))
        process.stdin.close()
    for process in running:
        process.wait()
    return len(names) / (time.perf_counter() - start)


def draw(folder: Path, count: int, side: int) -> None:
    """Write `count` different JPEG files."""
    random = np.random.default_rng(0)
    (folder / "test").mkdir()
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        content = io.BytesIO()
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(content, "JPEG", quality=90)
        (folder / "test" / f"{number}.jpg").write_bytes(content.getvalue())


def main() -> None:
    """Time both ways alternately, and print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--side", type=int, default=32, help="width and height of the files in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=cpu_count(), help="number of processes")
    given = parser.parse_args()
    found: dict[tuple[str, str, str], list[tuple[float, float, float]]] = {}
    decoded = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder, given.images, given.side)
        with Source(folder) as source:
            files = source.files
        for _ in range(given.rounds):
            decoded.append(decode_only(files, given.workers))
            for seconds in (0.0, BATCH_SECONDS):
                for what in (hand_over, to_shards, extract):
                    for way, workers in (("threads", 0), ("processes", given.workers)):
                        processes.PROCESSES = workers
                        device = Device()
                        device.seconds = seconds
                        count, wall, processor = what(folder, device)
                        engine = "like an H200" if seconds else "at once"
                        row = (count / wall, 100 * device.waited, 1000 * processor / count)
                        found.setdefault((engine, what.__name__.replace("_", " "), way), []).append(row)
    print(f"{os.cpu_count()} cores, {given.images:,} images of {given.side} pixels, medians of {given.rounds} runs")
    print(f"{given.workers} processes that only decode: {statistics.median(decoded):,.0f} images/s")
    print(f"{'engine':<14}{'step':<12}{'way':<12}{'images/s':>9}{'device waits':>14}{'ms of this process':>20}")
    for (engine, what, way), rows in found.items():
        rate, waited, processor = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{engine:<14}{what:<12}{way:<12}{rate:9,.0f}{waited:12.0f} %{processor:20.3f}")


if __name__ == "__main__":
    main()
