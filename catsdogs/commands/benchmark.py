"""Measure how many images a second each stage does on this machine, alone and together."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Artifacts
from ..backbone import AUTO, ENGINES, FLOAT32, INT8, Backbone, Weights, choose_engine, choose_weights
from ..backbone.hardware import processor_name
from ..backbone.recipe import keras_recipe
from ..cache import digest, read_network
from ..errors import CatsDogsError
from ..images.decoding import UnreadableImageError, decode
from ..images.views import DEFAULT_VIEW
from ..inference.loading import decoding_threads
from ..inference.plan import ComputeOptions
from ..progress import Progress, tell
from ..sources import Source
from .extract import Extraction, extract
from .result import Result


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
    """What `benchmark` measured, in images a second; reading and decoding have all cores to themselves.

    Parameters
    ----------
    images : int
        How many images were taken of the data.
    weights, processor : str
    cores : int
    read, decode, write : float
        Writing by its one thread, while the first engine computes.
    recipe : float or None
        Keras' own recipe, files to features, of those that it takes; None where it takes none, cannot read one, or
        Keras is set to another backend than TensorFlow.
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
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(decoding_threads()) as threads:
        folder = Path(scratch, "images")
        tell(progress, "reading and decoding", 0, 0)
        with Source(data) as source:
            paths = _copy_sample(source, folder, images)
        contents, reading = _measure(threads, _read, paths)
        pixels, decoding = _measure(threads, decode, contents)
        rates: dict[tuple[str, str], Rates] = {}
        writing: list[float] = []
        for engine, precision in _engines():
            if (engine, precision) in rates:
                continue  # it was measured before, as the processor or the network does not take fewer bits
            tell(progress, f"{engine} in {precision}", 0, 0)
            made = Artifacts(Path(scratch, f"{engine}-{precision}"))
            options = ComputeOptions(views=[DEFAULT_VIEW.name], engine=engine, precision=precision)
            try:
                done = extract(folder, artifacts=made.root, weights=resolved.spec, compute=options)
            except CatsDogsError:
                if precision != INT8:
                    raise
                continue  # it is too far from float32 for these weights
            rates[engine, done.precision] = _rates(made, done, resolved, np.stack(pixels))
            writing.append(done.stages["write"])
        tell(progress, "Keras' recipe", 0, 0)
        return Benchmark(
            images=len(paths),
            weights=resolved.name,
            processor=processor_name(),
            cores=os.cpu_count() or 1,
            read=round(len(paths) / reading, 1),
            decode=round(len(paths) / decoding, 1),
            write=round(len(paths) / writing[0], 1),
            recipe=keras_recipe(resolved, folder, DEFAULT_VIEW.size),
            engines=list(rates.values()),
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


def _copy_sample(source: Source, folder: Path, images: int) -> list[Path]:
    """Copy readable images, evenly spread, into a folder of their own; return their paths there."""
    files = [file for split in source.splits.values() for file in split.files]
    folder.mkdir()
    paths: list[Path] = []
    for place in np.unique(np.linspace(0, len(files) - 1, images).astype(int)):
        try:
            content = files[place].read()
            decode(content)
        except (OSError, UnreadableImageError):
            continue
        paths.append(folder / f"{len(paths):06}{Path(files[place].parts[-1]).suffix.lower()}")
        paths[-1].write_bytes(content)
    if not paths:
        raise CatsDogsError(f"none of the images in {source.path} is readable", "Give readable images")
    return paths


def _measure(
    threads: ThreadPoolExecutor, function: Callable[[Any], Any], items: Sequence[Any]
) -> tuple[list[Any], float]:
    """Call a function with each item; return what it returns, and how many seconds all take."""
    start = time.perf_counter()
    return list(threads.map(function, items)), time.perf_counter() - start


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    digest(content)
    return content


def _rates(made: Artifacts, done: Extraction, weights: Weights, pixels: NDArray[np.uint8]) -> Rates:
    """Return how fast features were made, and how fast the same backbone is on pixels in memory."""
    by = made.cache.load("test").provenance
    network = read_network(made.features, by.network) if by.network else None
    backbone = Backbone(weights, (DEFAULT_VIEW.size,), engine=by.engine, precision=by.precision, network=network)
    batches = np.split(pixels, range(backbone.batch_size, len(pixels), backbone.batch_size))
    backbone.features(batches[0])  # the first one takes longer
    with ThreadPoolExecutor(backbone.streams) as threads:
        _, computing = _measure(threads, backbone.features, batches)
    waited = {}
    if done.rate:
        for stage, workers in {"decode": decoding_threads(), "compute": backbone.streams, "write": 1}.items():
            busy = done.stages[stage] + (done.stages["read"] if stage == "decode" else 0)
            waited[stage] = round(max(0.0, 1 - busy / workers * done.rate / done.computed), 3)
    compute = round(len(pixels) / computing, 1)
    return Rates(by.engine, by.precision, backbone.device, compute, done.rate, waited)
