"""Hold workers of a local Ray against one machine: rates, processor time, memory, and bytes.

    python benchmarks/cluster.py rate DATA [--pairs 5] [--images 2000]
    python benchmarks/cluster.py workers [--images 1600]
    python benchmarks/cluster.py bytes DATA [--kills 6] [--weights random]

`rate`: random ResNet50, in turn by one machine and by one worker of Ray, start-up excluded: from the first image, with
the backbone loaded, to the last row in a shard. The processor time is that of the process that computes. Images of DATA
are repeated, with some bytes more, up to --images. `workers`: an engine that sleeps 25 ms for each image, on images of
32 pixels: one worker, then eight. `bytes`: `features/` of DATA by one machine, by parts and merge, by one worker of Ray
and by two, and by two of which one is killed at random times.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import catsdogs
from catsdogs.backbone import Backbone
from catsdogs.commands import extract
from catsdogs.inference import cluster, machine
from catsdogs.inference.plan import Plan

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Measured:
    """Wall and processor seconds of an extraction, start-up excluded, and the largest memory of a process in MB."""

    wall: float = 0.0
    processor: float = 0.0
    memory: float = 0.0


class Sleeping:
    """A backbone that sleeps 25 ms for each image."""

    engine, device, precision, network = "sleeping", "cpu", "float32", None
    streams, batch_size, batch_reduced = 1, 8, False
    versions: dict[str, str] = {}  # noqa: RUF012
    sha256, fingerprint, int8_similarity = "0" * 64, "random:0", None

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return float32[n, 2048] of zeros."""
        time.sleep(0.025 * len(pixels))
        return np.zeros((len(pixels), 2048), np.float32)


class SleepingPlan(Plan):
    """Loads that backbone in the workers."""

    def load(self, *_: Any, **__: Any) -> Backbone:
        """Return the backbone."""
        return Sleeping()  # type: ignore[return-value]


def parent(pid: int) -> int:
    """Return the process id of the parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def workers() -> list[int]:
    """Return the process ids of the workers of this process's local Ray, which are children of its raylet."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            pid = int(path.parent.name)
            if path.read_bytes().startswith(b"ray::RangeWorker") and parent(parent(pid)) == os.getpid():
                found.append(pid)
        except OSError:
            continue  # it has ended
    return found


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_memory(pid: int) -> float:
    """Return the largest resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def measure_ray(data: Path, count: int = 1) -> Measured:
    """Extract by workers of a local Ray."""
    measured, compute = Measured(), cluster.RangePool.compute

    def timed(pool: cluster.RangePool, *given: Any, **options: Any) -> Any:
        while sum(worker.prepared is not None for worker in pool._workers.values()) < count:
            pool._wait()
        before, start = sum(map(processor_seconds, pids := workers())), time.perf_counter()
        done = compute(pool, *given, **options)
        measured.wall = time.perf_counter() - start
        measured.processor = sum(map(processor_seconds, pids)) - before
        measured.memory = max(map(peak_memory, pids))
        return done

    cluster.RangePool.compute = timed  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            catsdogs.extract(
                data, artifacts=folder, weights="random", ray="local", workers=count, near_duplicates=False
            )
    finally:
        cluster.RangePool.compute = compute  # type: ignore[method-assign]
    return measured


def measure_here(data: Path) -> Measured:
    """Extract in this process."""
    measured, compute_rows = Measured(), machine.compute_rows

    @contextmanager
    def timed(files: Any, loader: Any, backbone: Any, **options: Any) -> Iterator[Any]:
        backbone()
        start, processor = time.perf_counter(), time.process_time()
        with compute_rows(files, loader, backbone, **options) as rows:
            yield rows
        measured.wall, measured.processor = time.perf_counter() - start, time.process_time() - processor

    machine.compute_rows = timed  # type: ignore[assignment]
    try:
        with tempfile.TemporaryDirectory() as folder:
            catsdogs.extract(data, artifacts=folder, weights="random", near_duplicates=False)
    finally:
        machine.compute_rows = compute_rows
    measured.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return measured


def repeat_images(data: Path, folder: Path, count: int) -> None:
    """Write `count` files with the images of a folder, each with other bytes after its end."""
    paths = sorted(path for path in data.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    for number in range(count):
        content = paths[number % len(paths)].read_bytes()
        (folder / f"{('cat', 'dog')[number % 2]}.{number}.jpg").write_bytes(content + b"%d" % number)


def rate(data: Path, images: int, pairs: int) -> None:
    """Print the rates of one machine and of one worker in turn."""
    found: dict[str, list[Measured]] = {"here": [], "ray": []}
    with tempfile.TemporaryDirectory() as folder:
        repeat_images(data, Path(folder), images)
        for pair in range(pairs):
            for name in ("here", "ray") if pair % 2 == 0 else ("ray", "here"):
                one = measure_here(Path(folder)) if name == "here" else measure_ray(Path(folder))
                found[name].append(one)
                each = f"{1000 * one.processor / images:6.2f} ms of processor time per image"
                print(f"{name:<5} {images / one.wall:6.1f} images/s, {each}, {one.memory:,.0f} MB", flush=True)
    for name, pick in (("wall", lambda one: one.wall), ("processor", lambda one: one.processor)):
        ratios = [pick(here) / pick(ray) for here, ray in zip(found["here"], found["ray"], strict=True)]
        print(f"{name}: one machine / worker of Ray, median {statistics.median(ratios):.3f} of {sorted(ratios)}")


def sleeping(images: int) -> None:
    """Print the rates of one and of eight workers whose engine sleeps."""
    resolve = extract.resolve
    extract.resolve = lambda *given, **options: SleepingPlan(**vars(resolve(*given, **options)))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(images):
            pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(Path(folder) / f"cat.{number}.jpg")
        rates = {}
        for count in (1, 8):
            one = measure_ray(Path(folder), count)
            rates[count] = images / one.wall
            print(f"{count} workers: {rates[count]:.1f} images/s, {one.memory:,.0f} MB in each at most", flush=True)
        print(f"8 workers: {rates[8] / rates[1]:.2f} times the rate of one")


def tree(root: Path) -> dict[str, bytes]:
    """Return the content of every file of a cache."""
    folder = root / "features"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def compare_bytes(data: Path, kills: int, weights: str) -> None:
    """Print whether the cache has the same bytes however it was computed."""
    root, options = Path(tempfile.mkdtemp()), {"weights": weights}
    catsdogs.extract(data, artifacts=root / "one", **options)
    parts = [root / f"part{number}" for number in (1, 2, 3)]
    for number, folder in enumerate(parts, 1):
        catsdogs.extract(data, artifacts=folder, part=f"{number}/3", **options)
    catsdogs.merge(root / "merged", parts)
    expected = tree(root / "one")
    print(f"{len(expected)} files; parts and merge: {tree(root / 'merged') == expected}", flush=True)
    for count in (1, 2):
        catsdogs.extract(data, artifacts=root / f"ray{count}", ray="local", workers=count, **options)
        print(f"workers of Ray: {count}: {tree(root / f'ray{count}') == expected}", flush=True)
    ended, killed = threading.Event(), []

    def kill() -> None:
        draw = random.Random(0)
        while len(killed) < kills and not ended.wait(draw.uniform(1, 8)):
            shards = list((root / "killed/features/shards").glob("*/*.npy"))
            if shards and (pids := workers()):
                os.kill(draw.choice(pids), signal.SIGKILL)
                killed.append(len(shards))

    thread = threading.Thread(target=kill)
    thread.start()
    done = catsdogs.extract(data, artifacts=root / "killed", ray="local", workers=2, **options)
    ended.set()
    thread.join()
    print(f"2 workers, {len(killed)} kills, {done.computed:,} computed: {tree(root / 'killed') == expected}")
    shutil.rmtree(root)


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rate", "workers", "bytes"))
    parser.add_argument("data", type=Path, nargs="?", help="a folder of photographs")
    parser.add_argument("--images", type=int, default=None)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--weights", default="random", help="of `bytes`")
    given = parser.parse_args()
    if given.what == "workers":
        sleeping(given.images or 1600)
    elif given.what == "rate":
        rate(given.data, given.images or 2000, given.pairs)
    else:
        compare_bytes(given.data, given.kills, given.weights)


if __name__ == "__main__":
    main()
