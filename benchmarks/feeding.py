"""Time how fast decoded images reach an engine, without a GPU, in less than five minutes.

    python benchmarks/feeding.py [--images 8192] [--side 32] [--rounds 5] [--minutes 4.5] [--workers 2]

Draws JPEG files, and hands them to two engines, by threads and by processes in turn: one returns zeros at once, and one
sleeps as long as an H200 computes. `hand over` loads and computes only, `to shards` writes the rows, too. In `decode`,
processes decode the same chunks and hand over nothing. Prints medians: images per second, starting processes included;
the share of the time in which the device has nothing to compute, from the first batch to the last; and the processor
time an image of this process, of what in it may hold Python's lock (all but hashing and writing files), and of the
processes.

The last lines divide within each round. All cores decode, and this process needs a part of their time, so what they can
decode is bounded by the processor time of `decode` over that of handing over, of all processes. Unlike the ratio of the
rates, it depends little on what else the machine does; what it is higher by is time in which the processes wait.
"""

import argparse
import hashlib
import io
import os
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from catsdogs import storage
from catsdogs.cache import KnownRows, Provenance, ShardWriter, rows, shards
from catsdogs.images.facts import FACTS_COLUMN
from catsdogs.images.views import View
from catsdogs.inference import processes
from catsdogs.inference.batches import compute_rows
from catsdogs.inference.loading import ChunkLoader
from catsdogs.sources import ImageFile, Source
from catsdogs.threads import cpu_count

BATCH, BATCH_SECONDS = 128, 0.0047
"""Images in a batch, and the time in which an H200 computes it by JAX in bfloat16 (docs/project/benchmarks.md)."""

DECODE = """
import pickle, sys
import numpy as np
from catsdogs.images.views import View
from catsdogs.inference.loading import ChunkLoader
known, chunks = pickle.load(sys.stdin.buffer)
loader, pixels = ChunkLoader([View()], known), {View(): np.zeros((128, 224, 224, 3), np.uint8)}
for first, files in chunks:
    loader.load(files, first, pixels)
"""

KNOWN = KnownRows(("224", "facts"), {}, {})
"""What is known with an empty cache."""


class Device:
    """A backbone that returns zeros, after the time that a device takes, one batch at a time."""

    streams, batch_size = 2, BATCH

    def __init__(self, seconds: float) -> None:
        self._seconds, self._lock = seconds, threading.Lock()
        self.busy, self.first, self.last = 0.0, 0.0, 0.0

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return float32[n, 2048] of zeros."""
        with self._lock:
            start = time.perf_counter()
            if self._seconds:
                time.sleep(self._seconds * len(pixels) / BATCH)
            self.first, self.last = self.first or start, time.perf_counter()
            self.busy += self.last - start
        return np.zeros((len(pixels), 2048), np.float32)

    @property
    def waited(self) -> float:
        """Share of the time between the first batch and the last in which nothing was computed."""
        return 1 - self.busy / ((self.last - self.first) or np.nan)


class Unlocked:
    """Sums the processor time of calls that release Python's lock."""

    seconds, row_seconds = 0.0, 0.0

    @classmethod
    def call(cls, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a function, and add its processor time."""
        start = time.thread_time()
        try:
            return function(*arguments, **options)
        finally:
            cls.seconds += time.thread_time() - start


class Blake2b:
    """As hashlib's, for content that is long enough for the lock to be released while it is hashed."""

    def __init__(self, data: bytes, *, digest_size: int) -> None:
        self._state = hashlib.blake2b(data, digest_size=digest_size)
        self.hexdigest = self._state.hexdigest

    def update(self, data: memoryview) -> None:
        """Hash more bytes."""
        Unlocked.call(self._state.update, data)


def row_sums(provenance: Provenance, column: str, *arguments: Any) -> np.ndarray:
    """Return the checksums, and count the time for hashing rows of features, which would take too long to time each."""
    sums = rows.row_sums(provenance, column, *arguments)
    Unlocked.seconds += len(sums) * Unlocked.row_seconds if column != FACTS_COLUMN else 0
    return sums


def time_hashing() -> float:
    """Return the processor time for hashing a row of features."""
    row, state, start = bytes(rows.FEATURE_ROW.itemsize), hashlib.blake2b(), time.thread_time()
    for _ in range(1000):
        state.update(row)
    return (time.thread_time() - start) / 1000


def hand_over(files: list[ImageFile], device: Device) -> None:
    """Load all images and give them to the device."""
    backbone: Any = device
    with compute_rows(files, ChunkLoader([View()], KNOWN), lambda: backbone) as computed:
        for _ in computed:
            pass


def to_shards(files: list[ImageFile], device: Device) -> None:
    """Load and compute all images, and write their rows to shards."""
    provenance = Provenance("none", "0" * 64, "none", pixels="none", precision="float32", engine="none")
    backbone: Any = device
    with tempfile.TemporaryDirectory() as cache:
        writer = ShardWriter(Path(cache), provenance)
        with compute_rows(files, ChunkLoader([View()], KNOWN), lambda: backbone) as computed:
            for batch in computed:
                batch.store(writer.add, KNOWN)
                if writer.due:
                    writer.flush()
        writer.flush()


def decode(files: list[ImageFile], device: Device) -> None:
    """Read, digest, decode and measure all images in processes, which do nothing else."""
    chunks, workers = [(first, files[first : first + 128]) for first in range(0, len(files), 128)], processes.PROCESSES
    running = [subprocess.Popen([sys.executable, "-c", DECODE], stdin=subprocess.PIPE) for _ in range(workers or 0)]
    for number, process in enumerate(running):
        assert process.stdin
        pickle.dump((KNOWN, chunks[number::workers]), process.stdin)
        process.stdin.close()
    for process in running:
        process.wait()


def draw(folder: Path, count: int, side: int) -> None:
    """Write `count` different JPEG files."""
    random = np.random.default_rng(0)
    (folder / "test").mkdir()
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        content = io.BytesIO()
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(content, "JPEG", quality=90)
        (folder / "test" / f"{number}.jpg").write_bytes(content.getvalue())


def measure(step: Callable[[list[ImageFile], Device], None], files: list[ImageFile], device: Device) -> list[float]:
    """Return images/s; how long the device waits in %; and of an image, ms of processor time in three parts."""
    Unlocked.seconds, Unlocked.row_seconds, before, start = 0.0, time_hashing(), used(), time.perf_counter()
    step(files, device)
    rate = len(files) / (time.perf_counter() - start)
    ours, theirs = (1000 * (after - first) / len(files) for first, after in zip(before, used(), strict=True))
    return [rate, 100 * device.waited, ours, ours - 1000 * Unlocked.seconds / len(files), theirs]


def used() -> list[float]:
    """Return the processor time of this process, and of those that it has waited for."""
    return [
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    ]


STEPS = [("processes", "only decode", decode, 0.0)] + [
    (way, *step)
    for step in (
        ("hand over", hand_over, 0.0),
        ("to shards", to_shards, 0.0),
        ("to shards, like an H200", to_shards, BATCH_SECONDS),
    )
    for way in ("threads", "processes")
]


def show(found: Mapping[tuple[str, str], list[list[float]]]) -> None:
    """Print the medians of all rounds, and ratios."""
    print(f"{'':<36}{'images/s':>9}{'device waits':>14}{'ms: program':>13}{'with lock':>11}{'processes':>11}")
    for (what, way), measured in found.items():
        rate, waited, ours, locked, theirs = map(statistics.median, zip(*measured, strict=True))
        print(f"{what:<25}{way:<11}{rate:9,.0f}{waited:12.0f} %{ours:13.3f}{locked:11.3f}{theirs:11.3f}")
    rates = {key: np.array(measured)[:, 0] for key, measured in found.items()}
    times = {key: np.array(measured)[:, [2, 4]].sum(axis=1) for key, measured in found.items()}
    for key, other in (
        (("hand over", "processes"), ("hand over", "threads")),
        (("hand over", "processes"), ("only decode", "processes")),
        (("to shards", "processes"), ("only decode", "processes")),
    ):
        show_ratio(f"{' by '.join(key)} / {' by '.join(other)}", rates[key] / rates[other])
        if other[0] == "only decode":
            show_ratio("    by processor time", times[other] / times[key])


def show_ratio(name: str, ratios: np.ndarray) -> None:
    """Print the median of a ratio, and its range."""
    print(f"{name}: {np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def main() -> None:
    """Time all steps in turn, and print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--side", type=int, default=32, help="width and height of the files in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=4.5, help="no round starts that might take longer")
    parser.add_argument("--workers", type=int, default=cpu_count(), help="number of processes")
    given = parser.parse_args()
    found = defaultdict[tuple[str, str], list[list[float]]](list)
    start, longest = time.monotonic(), 0.0
    write_file = partial(Unlocked.call, storage.write_file)
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.object(shards, "row_sums", row_sums),
        mock.patch.object(shards, "hashlib", SimpleNamespace(blake2b=Blake2b)),
        mock.patch.object(storage, "write_file", write_file),
    ):
        draw(Path(name), given.images, given.side)
        with Source(name) as source:
            files = list(source.files)
        for _ in range(given.rounds):
            begun = time.monotonic()
            if begun - start + longest > 60 * given.minutes:
                break
            for way, what, step, seconds in STEPS:
                processes.PROCESSES = given.workers if way == "processes" else 0
                found[what, way].append(measure(step, files, Device(seconds)))
            longest = max(longest, time.monotonic() - begun)
    print(
        f"{cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {given.images:,} images of {given.side} pixels,", end=" "
    )
    print(f"{given.workers} processes, medians of {len(found['hand over', 'threads'])} rounds")
    show(found)


if __name__ == "__main__":
    main()
