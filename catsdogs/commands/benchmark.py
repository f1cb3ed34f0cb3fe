"""Measure the images per second of each stage on this machine, separately and end to end."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Artifacts
from ..backbone import ENGINES, INT8, Backbone, Weights, choose_engine, choose_weights
from ..backbone.hardware import processor_name
from ..backbone.recipe import keras_recipe
from ..cache import digest, read_network
from ..choices import EngineChoice, PrecisionChoice
from ..errors import CatsDogsError, OptionError
from ..images.decoding import UnreadableImageError, decode
from ..images.views import DEFAULT_VIEW
from ..inference.plan import ComputeOptions
from ..inference.prefetching import decoding_threads, reading_threads
from ..progress import Progress, tell
from ..result import Result
from ..sources import ImageFile, Source
from .extract import Extraction, extract
from .plan import MAX_IMAGES, Plan, measure_merging, project


@dataclass(frozen=True)
class Rates:
    """Images per second of one engine in one precision.

    Parameters
    ----------
    engine, precision, device : str
    compute : float
        From pixels in memory to features.
    end_to_end : float or None
        From files to the cache, after loading; None if there was only one batch.
    waited : dict of str to float
        Fraction of that time in which the threads of a stage were idle, by "decode" (with reading), "compute" and
        "write".
    """

    engine: str
    precision: str
    device: str
    compute: float
    end_to_end: float | None
    waited: dict[str, float]


@dataclass(frozen=True)
class Benchmark(Result):
    """The result of `benchmark`, in images per second.

    Parameters
    ----------
    images : int
        Images that were measured.
    weights, processor : str
    cores : int
    read, decode, write : float
        Reading and decoding use all cores. Writing uses one thread, while the first engine computes.
    recipe : float or None
        Plain Keras, from files to features, on the images that it accepts; None if it accepts none, cannot read one, or
        uses another backend than TensorFlow.
    engines : list of Rates
    plan : Plan or None
        Time and storage for more images and workers, if that was asked for.
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
    plan: Plan | None = None


def benchmark(
    data: str | Path,
    *,
    artifacts: str | Path = "artifacts",
    weights: str | Path | None = None,
    images: int = 300,
    plan: int | None = None,
    progress: Progress | None = None,
) -> Benchmark:
    """Measure each stage separately, and all stages end to end, for each available engine and precision.

    Parameters
    ----------
    data : str or Path
        As for `extract`.
    artifacts : str or Path
        The artifacts folder. Only the name of its weights is read.
    weights : str or Path, optional
        As for `extract`.
    images : int
        Number of images, taken at equal distances.
    plan : int, optional
        Also project time and storage for this number of images, with 1 to 1,000 workers like this machine.
    progress : callable, optional
        Called with what is being measured.

    Returns
    -------
    Benchmark

    Raises
    ------
    CatsDogsError
        The data or the weights cannot be used, or no image is readable.
    """
    if images < 1:
        raise OptionError(f"the number of images is {images}", "Give --images a number of at least 1")
    if plan is not None and not 1 <= plan <= MAX_IMAGES:
        raise OptionError(f"the number of images is {plan}", f"Give --plan a number from 1 to {MAX_IMAGES}")
    resolved = choose_weights(weights, Artifacts(artifacts).source)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(decoding_threads()) as threads:
        folder = Path(scratch, "images")
        tell(progress, "reading and decoding", 0, 0)
        with Source(data) as source:
            paths, source_rate = _copy_sample(source, folder, images)
            is_remote = source.files[0].is_remote
        contents, reading = _measure(threads, _read, paths)
        pixels, decoding = _measure(threads, decode, contents)
        runs = list(_measure_engines(folder, resolved, np.stack(pixels), Path(scratch), progress))
        tell(progress, "plain Keras", 0, 0)
        measured = Benchmark(
            images=len(paths),
            weights=resolved.name,
            processor=processor_name(),
            cores=os.cpu_count() or 1,
            read=round(len(paths) / reading, 1),
            decode=round(len(paths) / decoding, 1),
            write=round(len(paths) / runs[0][1].stages["write"], 1),
            recipe=keras_recipe(resolved, folder, DEFAULT_VIEW.size),
            engines=[rates for rates, _ in runs],
        )
        if plan is None:
            return measured
        tell(progress, "merging", 0, 0)
        best, done = max(runs, key=lambda run: run[0].end_to_end or 0)
        speed = {"reading": source_rate, "decoding": measured.decode, "computing": best.compute}
        speed["worker"] = best.end_to_end or min(speed.values())
        loading = max(0.0, done.seconds - done.computed / speed["worker"])
        speed["merging"], row_bytes = measure_merging()
        projections = project(plan, speed, loading=loading, is_remote=is_remote)
        sizes = plan * sum(map(len, contents)) / len(contents), plan * row_bytes
        return replace(measured, plan=Plan(plan, best.engine, best.precision, *sizes, projections))


def _engines() -> Iterator[tuple[EngineChoice, PrecisionChoice]]:
    """Yield each engine that runs with the configured Keras backend, and the precisions to measure."""
    for name in ENGINES:
        try:
            choose_engine(name)
        except CatsDogsError:  # not installed, or for another backend of Keras
            continue
        yield name, "auto"
        yield name, "float32"
        if name == "openvino" and find_spec("nncf"):
            yield name, "int8"


def _measure_engines(
    sample: Path, weights: Weights, pixels: NDArray[np.uint8], scratch: Path, progress: Progress | None
) -> Iterator[tuple[Rates, Extraction]]:
    """Extract the sample with each engine and precision; yield the rates and the extraction."""
    seen = set[tuple[str, str]]()
    for engine, precision in _engines():
        if (engine, precision) in seen:
            continue  # measured before: the processor or the network does not support fewer bits
        tell(progress, f"{engine} in {precision}", 0, 0)
        made = Artifacts(scratch / f"{engine}-{precision}")
        options = ComputeOptions(views=[DEFAULT_VIEW.name], engine=engine, precision=precision)
        try:
            with Source(sample) as source:
                done = extract(source, artifacts=made.root, weights=weights.spec, compute=options)
        except CatsDogsError:
            if precision != INT8:
                raise
            continue  # with these weights, int8 is too far from float32
        seen.add((engine, done.precision))
        yield _rates(made, done, weights, pixels), done


def _copy_sample(source: Source, folder: Path, images: int) -> tuple[list[Path], float]:
    """Copy readable images, taken at equal distances, into a new folder.

    Return the paths of the copies, and how many images per second were read from the source.
    """
    places = np.unique(np.linspace(0, len(source.files) - 1, min(images, len(source.files))).astype(int)).tolist()
    files = [source.files[place] for place in places]
    with ThreadPoolExecutor(reading_threads(files)[0]) as threads:
        contents, reading = _measure(threads, _read_file, files)
    folder.mkdir()
    paths: list[Path] = []
    for file, content in zip(files, contents, strict=True):
        try:
            decode(content)
        except UnreadableImageError:
            continue
        paths.append(folder / f"{len(paths):06}{Path(file.parts[-1]).suffix.lower()}")
        paths[-1].write_bytes(content)
    if not paths:
        raise CatsDogsError(f"no image in {source.place} is readable", "Give readable images")
    return paths, len(files) / reading


def _read_file(file: ImageFile) -> bytes:
    """Return the content of a file; nothing, which is no image, if it cannot be read."""
    try:
        return file.read()
    except OSError:
        return b""


def _measure(
    threads: ThreadPoolExecutor, function: Callable[[Any], Any], items: Sequence[Any]
) -> tuple[list[Any], float]:
    """Call a function with each item; return the results and the total seconds."""
    start = time.perf_counter()
    return list(threads.map(function, items)), time.perf_counter() - start


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    digest(content)
    return content


def _rates(made: Artifacts, done: Extraction, weights: Weights, pixels: NDArray[np.uint8]) -> Rates:
    """Measure the backbone on pixels in memory, and return this rate with those of the extraction."""
    by = made.cache.load("test").provenance
    network = read_network(made.features, by.network) if by.network else None
    backbone = Backbone(weights, (DEFAULT_VIEW.size,), engine=by.engine, precision=by.precision, network=network)
    batches = np.split(pixels, range(backbone.batch_size, len(pixels), backbone.batch_size))
    backbone.features(batches[0])  # the first batch takes longer
    with ThreadPoolExecutor(backbone.streams) as threads:
        _, computing = _measure(threads, backbone.features, batches)
    waited = {}
    if done.rate:
        for stage, workers in {"decode": decoding_threads(), "compute": backbone.streams, "write": 1}.items():
            busy = done.stages[stage] + (done.stages["read"] if stage == "decode" else 0)
            waited[stage] = round(max(0.0, 1 - busy / workers * done.rate / done.computed), 3)
    compute = round(len(pixels) / computing, 1)
    return Rates(by.engine, by.precision, backbone.device, compute, done.rate, waited)
