"""Measure how many images a second each stage does on this machine, alone and together."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Artifacts
from ..backbone import AUTO, ENGINES, FLOAT32, INT8, Backbone, choose_engine, choose_weights, load
from ..backbone.hardware import processor_name
from ..backbone.recipe import keras_recipe
from ..cache import CacheWriter, Features, digest, read_network
from ..errors import CatsDogsError
from ..images.decoding import UnreadableImageError, decode
from ..images.views import DEFAULT_VIEW
from ..inference.loading import decoding_threads
from ..inference.plan import ComputeOptions
from ..locks import FEATURES
from ..progress import Progress
from ..sources import Source
from .extract import Extraction, extract
from .result import Result

_RECIPE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


@dataclass(frozen=True)
class Rates:
    """Images a second of one engine in one precision.

    Parameters
    ----------
    engine, precision, device : str
    compute : float
        Pixels in memory to features.
    end_to_end : float or None
        Files to cache, after loading; None where there was only one batch.
    waited : dict of str to float
        Share of that time in which the threads that read and decode, compute, and write had nothing to do.
    """

    engine: str
    precision: str
    device: str
    compute: float
    end_to_end: float | None
    waited: dict[str, float]


@dataclass(frozen=True)
class Benchmark(Result):
    """What `benchmark` measured, in images a second; stages alone have all cores to themselves.

    Parameters
    ----------
    images : int
        How many images were taken of the data.
    weights, processor : str
    cores : int
    read, decode, write : float
    recipe : float or None
        Keras' own recipe, files to features; None where it cannot read them, or there is no TensorFlow.
    engines : list of Rates
    """

    images: int
    weights: str
    processor: str
    cores: int
    read: float
    decode: float
    write: float
    recipe: float | None
    engines: list[Rates]


def benchmark(
    data: str | Path,
    *,
    artifacts: str | Path = "artifacts",
    weights: str | None = None,
    images: int = 300,
    progress: Progress | None = None,
) -> Benchmark:
    """Measure each stage alone, and all of them together, for each engine and precision that the machine has.

    Parameters
    ----------
    data : str or Path
        As for `extract`.
    artifacts : str or Path
        The artifacts folder; it is only asked which weights made it.
    weights : str, optional
        As for `extract`.
    images : int
        How many of them to take, evenly spread.
    progress : callable, optional
        Told what is being measured.

    Returns
    -------
    Benchmark

    Raises
    ------
    CatsDogsError
        The data or the weights cannot be used, or none of the images is readable.
    """
    if images < 1:
        raise CatsDogsError(f"{images} images measure nothing", "Give --images a number of at least 1")
    resolved = choose_weights(weights, Artifacts(artifacts).source)
    report = progress or (lambda step, done, total: None)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(decoding_threads()) as threads:
        folder = Path(scratch, "images")
        report("reading and decoding", 0, 0)
        with Source(data) as source:
            names = _copy_sample(source, folder, images)
        contents, read = _measure(threads, _read, [folder / name for name in names], len(names))
        pixels, decoded = _measure(threads, decode, contents, len(names))
        rates: list[Rates] = []
        written = 0.0
        for engine, precision in _engines():
            if (engine, precision) in [(known.engine, known.precision) for known in rates]:
                continue  # it was measured before, as the processor or the network does not take fewer bits
            report(f"{engine} in {precision}", 0, 0)
            made = Artifacts(Path(scratch, f"{engine}-{precision}"))
            options = ComputeOptions(views=[DEFAULT_VIEW.name], engine=engine, precision=precision)
            try:
                done = extract(folder, artifacts=made.root, weights=resolved.spec, compute=options)
            except CatsDogsError:
                if precision != INT8:
                    raise
                continue  # it is too far from float32 for these weights
            cached = made.cache.load("test")
            # What computed the features that are there: of int8 its very network.
            by = cached.provenance
            network = read_network(made.features, by.network) if by.network else None
            backbone = load(resolved, (DEFAULT_VIEW.size,), engine=by.engine, precision=by.precision, network=network)
            compute = _compute(backbone, np.stack(pixels))
            written = written or _write(Path(scratch, "written"), cached)
            rates.append(
                Rates(engine, done.precision, backbone.device, compute, done.rate, _waiting_shares(done, backbone))
            )
        report("Keras' recipe", 0, 0)
        readable_by_keras = find_spec("tensorflow") and all(name.endswith(_RECIPE_SUFFIXES) for name in names)
        return Benchmark(
            images=len(names),
            weights=resolved.name,
            processor=processor_name(),
            cores=os.cpu_count() or 1,
            read=read,
            decode=decoded,
            write=written,
            recipe=keras_recipe(resolved, folder, DEFAULT_VIEW.size) if readable_by_keras else None,
            engines=rates,
        )


def _engines() -> Iterator[tuple[str, str]]:
    """Yield each engine that runs beside what Keras is set to, and precisions that it may have."""
    for name in ENGINES:
        try:
            choose_engine(name)
        except CatsDogsError:  # not installed, or for another backend of Keras
            continue
        yield name, AUTO
        yield name, FLOAT32
        if name == "openvino" and find_spec("nncf"):
            yield name, INT8


def _copy_sample(source: Source, folder: Path, images: int) -> list[str]:
    """Copy readable images, evenly spread, into a folder of their own; return their names there."""
    files = [file for split in source.splits.values() for file in split.files]
    folder.mkdir()
    names: list[str] = []
    for place in np.unique(np.linspace(0, len(files) - 1, images).astype(int)):
        try:
            content = files[place].read()
            decode(content)
        except (OSError, UnreadableImageError):
            continue
        names.append(f"{len(names):06}{Path(files[place].parts[-1]).suffix.lower()}")
        (folder / names[-1]).write_bytes(content)
    if not names:
        raise CatsDogsError(f"none of the images in {source.path} is readable", "Give readable images")
    return names


def _measure(
    threads: Executor, function: Callable[[Any], Any], items: Sequence[Any], images: int
) -> tuple[list[Any], float]:
    """Call a function with each item; return what it does, and how many images a second that is."""
    start = time.perf_counter()
    results = list(threads.map(function, items))
    return results, _rate(images, start)


def _rate(images: int, start: float) -> float:
    return round(images / (time.perf_counter() - start), 1)


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    digest(content)
    return content


def _compute(backbone: Backbone, pixels: NDArray[np.uint8]) -> float:
    """Compute in as many threads as extracting does; the first batch is not timed."""
    batches = np.split(pixels, range(backbone.batch, len(pixels), backbone.batch))
    backbone.features(batches[0])
    with ThreadPoolExecutor(backbone.streams) as threads:
        return _measure(threads, backbone.features, batches, len(pixels))[1]


def _write(root: Path, cached: Features) -> float:
    """Write the rows of a cache once more, synced to the disk."""
    wanted = {"test": (cached.ids.tolist(), cached.labels)}
    start = time.perf_counter()
    with (
        Artifacts.open(root, FEATURES) as artifacts,
        CacheWriter(artifacts.features, cached.provenance, cached.views, wanted) as cache,
    ):
        for position, (identity, features) in enumerate(zip(cached.digests, cached.features, strict=True)):
            cache.put(position, identity, {DEFAULT_VIEW.name: features})
    return _rate(len(cached.ids), start)


def _waiting_shares(done: Extraction, backbone: Backbone) -> dict[str, float]:
    if not done.rate:
        return {}
    seconds = done.computed / done.rate
    busy = {
        "decode": (done.stages["read"] + done.stages["decode"]) / decoding_threads(),
        "compute": done.stages["compute"] / backbone.streams,
        "write": done.stages["write"],
    }
    return {stage: round(max(0.0, 1 - of_stage / seconds), 3) for stage, of_stage in busy.items()}
