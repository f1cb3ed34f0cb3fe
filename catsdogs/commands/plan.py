"""Project time and storage for many images on many workers from the rates of one."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..artifacts import Artifacts
from ..cache import CacheWriter, Manifest, Provenance
from ..images.views import DEFAULT_VIEW
from ..locks import FEATURES
from ..result import Result

WORKERS = (1, 10, 100, 1000)

MAX_IMAGES = 10**12
"""More take longer than a `timedelta` can hold."""

MAX_REQUESTS = 5_500
"""Requests per second for objects with one prefix that S3 serves at least (Amazon S3 User Guide, "Best practices design
patterns: optimizing Amazon S3 performance")."""

_MERGED = 10_000
"""Rows of random numbers that are written and merged to measure the rate."""


@dataclass(frozen=True)
class Projection(Result):
    """The projected run of a number of workers.

    Parameters
    ----------
    workers : int
    rate : float
        Images per second of all of them, without loading and merging.
    seconds : float
        From the start of the workers to one cache.
    limit : str
        What takes the most time: "loading" of the backbone, "reading", "decoding", "computing", "requests" (what object
        storage serves), or "merging".
    """

    workers: int
    rate: float
    seconds: float
    limit: str


@dataclass(frozen=True)
class Plan(Result):
    """Time and storage for many images, with workers that are each like this machine.

    Parameters
    ----------
    images : int
    engine, precision : str
        The fastest end to end.
    read_bytes, stored_bytes : float
        Of all image files, and of the features of one view.
    projections : list of Projection
    """

    images: int
    engine: str
    precision: str
    read_bytes: float
    stored_bytes: float
    projections: list[Projection]


def project(images: int, rates: Mapping[str, float], *, loading: float, is_remote: bool) -> list[Projection]:
    """Return the projected runs of `WORKERS`; docs/explanation/scaling.md has the model and what it assumes.

    Parameters
    ----------
    images : int
    rates : dict of str to float
        Images per second of a worker in "reading" from the source, "decoding" and "computing", and of all of these
        together from local files to shards ("worker"); and those of the one machine that is "merging".
    loading : float
        Seconds of a worker before the first image.
    is_remote : bool
        Whether each image is a request to object storage.
    """
    projections = []
    for workers in WORKERS:
        rate = workers * min(rates["worker"], rates["reading"])
        limit = min(("computing", "decoding"), key=rates.__getitem__)
        limit = limit if rates["worker"] <= rates["reading"] else "reading"
        if is_remote and rate > MAX_REQUESTS:
            rate, limit = MAX_REQUESTS, "requests"
        times = {limit: images / rate, "loading": loading, "merging": images / rates["merging"]}
        projections.append(Projection(workers, rate, sum(times.values()), max(times, key=times.__getitem__)))
    return projections


def measure_merging() -> tuple[float, float]:
    """Return how many rows per second are written to shards and merged into a cache, and the bytes of a row there."""
    random, views = np.random.default_rng(0), (DEFAULT_VIEW.name,)
    digests = random.integers(0, 256, (_MERGED, 16), np.uint8)
    rows = random.random((_MERGED, 2048), np.float32)
    wanted = {"train": (list(map(str, range(_MERGED))), np.zeros(_MERGED, np.int8))}
    provenance = Provenance("synthetic", "0" * 64, "synthetic", "synthetic", "float32", "none")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Artifacts.open(folder, FEATURES) as made:
        with CacheWriter(made.features, Manifest(provenance, views, {}), wanted) as writer:
            writer.add_rows(digests, dict.fromkeys(views, rows))
            writer.assemble(digests)
        seconds = time.perf_counter() - start
        stored = sum(path.stat().st_size for path in made.features.rglob("*.npy"))
    return _MERGED / seconds, stored / _MERGED
