"""Compute the features of all images that are not cached yet."""

import gc
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache as once
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Artifacts, ArtifactsPath
from ..backbone import Backbone, choose_weights
from ..cache import CacheWriter, DamagedError, count_duplicates, load_duplicates, read_manifest, write_network
from ..errors import CatsDogsError
from ..images.views import View
from ..inference.batches import Row, compute_rows
from ..inference.plan import ComputeOptions, provenance_of, resolve
from ..inference.timing import StageTimer
from ..locks import write_lock
from ..progress import Progress
from ..sources import ImageFile, Source
from ..sources.classes import Classes, parse_classes
from ..storage import record, record_timing
from .result import Result

_SYNC_SECONDS = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction(Result):
    """What `extract` did.

    Parameters
    ----------
    images : dict of str to int
        By split.
    unreadable : dict of str to dict
        Why images are unreadable, by split and id.
    computed : int
        Images whose features were computed; the others were in the cache, or are unreadable.
    skipped : int
        Files of the source that are no images, or lie outside of both splits.
    duplicates : dict of str to int
        Pairs of images that are the same or nearly so, as `cache.count_duplicates` has them; empty where they must be
        looked for yet, as the other split is damaged.
    classes : pair of str
        What the labels 0 and 1 are called.
    backbone : str
        Its weights as they were asked for.
    engine, precision : str
        What computed the features, and in what precision.
    batch_reduced : bool
        Whether the device had too little memory for the usual batch, and took fewer images at once.
    seconds : float
        Wall time, loading included.
    rate : float or None
        Images a second, from the first stored batches to the last; None where there were few more.
    stages : dict of str to float
        Seconds of work in reading, decoding, computing and writing, those of all threads together.
    int8_similarity : dict of str to float
        Of int8, as `inference.calibration.load_int8` has it: how near to float32 it was on a sample.
    """

    images: dict[str, int]
    unreadable: dict[str, dict[str, str]]
    computed: int
    skipped: int
    duplicates: dict[str, int]
    classes: Classes
    backbone: str
    engine: str
    precision: str
    batch_reduced: bool
    seconds: float
    rate: float | None
    stages: dict[str, float] = field(default_factory=dict)
    int8_similarity: dict[str, float] = field(default_factory=dict)


def extract(
    data: str | Path,
    *,
    artifacts: ArtifactsPath = "artifacts",
    weights: str | None = None,
    compute: ComputeOptions = ComputeOptions(),
    classes: str | Sequence[str] | None = None,
    prune: bool = False,
    fail_fast: bool = False,
    progress: Progress | None = None,
) -> Extraction:
    """Compute the features of every image that is not cached yet.

    Parameters
    ----------
    data : str or Path
        A folder or a zip, in any of the layouts that the README lists.
    artifacts : str or Path
        The artifacts folder; the cache is its ``features/``.
    weights : str, optional
        "imagenet", "random", "random:SEED", or a path that ends in .h5, .weights.h5 or .keras. By default the
        variable CATSDOGS_WEIGHTS, then what the artifacts were made with, then "imagenet".
    compute : ComputeOptions
        Views, engine and precision. By default those that the artifacts were made with.
    classes : str or two str, optional
        Names of the two classes, "ants,bees" or a sequence; a label, and what a probability is of, is the position. By
        default what the two class folders of the training images are named, in natural order; where there are none,
        what the artifacts were made with, or cat and dog. With more than two class folders the others are skipped.
    prune : bool
        Drop rows of images that are not in `data` any more, of other classes, or features that other weights made.
    fail_fast : bool
        End at the first image that cannot be read, with an error that says why.
    progress : callable, optional
        Told how far it is.

    Returns
    -------
    Extraction

    Raises
    ------
    CatsDogsError
        The data, the weights or the engine cannot be used, rows would be dropped and `prune` is not set, there is not
        room enough for the features, or, where `fail_fast` is set, an image cannot be read. What is done stays.
    """
    start = time.perf_counter()
    artifacts = Artifacts.at(artifacts)
    requested_classes = None if classes is None else parse_classes(classes)
    resolved_weights = choose_weights(weights, artifacts.source)
    manifest = read_manifest(artifacts.features)
    planned = resolve(artifacts.features, manifest, weights=resolved_weights, compute=compute)
    by_name = {view.name: view for view in planned.views}
    default_classes = manifest.classes if manifest and manifest.has_labels else None
    files: list[ImageFile] = []
    # Where nothing is known yet, it is needed in any case: it loads while the source is listed, if it needs no images.
    at_once = planned.known is None and not planned.needs_images and Path(data).expanduser().exists()
    with (
        _in_background(lambda: planned.load(files, progress=progress), at_once=at_once) as backbone,
        Source(data, classes=requested_classes, default_classes=default_classes) as source,
    ):
        wanted = {split: (images.ids, images.labels) for split, images in source.splits.items()}
        places = [(split, row) for split, (ids, _) in wanted.items() for row in range(len(ids))]
        files += [file for images in source.splits.values() for file in images.files]
        opened: Future[CacheWriter] = Future()
        timer = StageTimer()

        def missing_views(position: int, digest: NDArray[np.uint8]) -> Sequence[View]:
            # Where there is no cache, decoding need not wait for it to be opened.
            missing = opened.result().missing_views(*places[position], digest) if manifest else by_name
            return [by_name[name] for name in missing]

        with compute_rows(files, backbone, planned.views, missing_views, timer=timer) as rows, _cancel_on_exit(opened):
            provenance = planned.known or provenance_of(resolved_weights, backbone())
            with (
                write_lock(artifacts),
                CacheWriter(
                    artifacts.features, provenance, tuple(by_name), wanted, prune=prune, classes=source.classes
                ) as cache,
            ):
                opened.set_result(cache)
                if planned.known is None and (new := backbone().network):
                    write_network(artifacts.features, new)
                record(
                    artifacts.source,
                    **dict.fromkeys(wanted, str(source.path.resolve())),
                    weights=resolved_weights.spec,
                )
                if fail_fast:
                    rows = _raise_on_unreadable(rows, cache, places, files)
                stored = _fill(cache, places, rows, timer, progress)
                if provenance.network and (stored or not cache.int8_similarity):
                    cache.int8_similarity = backbone().int8_similarity
        done = Extraction(
            images={split: len(ids) for split, (ids, _) in wanted.items()},
            unreadable=cache.unreadable,
            computed=len(stored),
            skipped=source.skipped,
            duplicates={},
            classes=source.classes,
            backbone=provenance.weights_name,
            engine=provenance.engine,
            precision=provenance.precision,
            batch_reduced=bool(stored) and backbone().batch_reduced,
            seconds=0.0,
            rate=_rate(stored, backbone().batch * backbone().streams) if stored else None,
            stages=timer.seconds,
            int8_similarity=cache.int8_similarity,
        )
        device = backbone().device if stored else ""
    duplicates = _find_duplicates(artifacts, progress)
    done = replace(done, duplicates=duplicates, seconds=time.perf_counter() - start)
    if done.computed:
        with write_lock(artifacts):
            record_timing(artifacts, "extract", **_timing(done), device=device)
    _log.info("%d of %d images computed in %.1f s", done.computed, sum(done.images.values()), done.seconds)
    return done


@contextmanager
def _in_background(load_backbone: Callable[[], Backbone], *, at_once: bool) -> Iterator[Callable[[], Backbone]]:
    """Give a callable that returns the backbone, and loads it in a thread of its own: at once, or when first asked.

    At the end it is let go of: what comes then needs the memory.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="load") as thread:
        loading = once(lambda: thread.submit(load_backbone))
        if at_once:
            loading()
        yield lambda: loading().result()
        loading.cache_clear()
    gc.collect()  # Keras' models are circles


@contextmanager
def _cancel_on_exit(opened: Future[CacheWriter]) -> Iterator[None]:
    """Let nobody wait for a cache that could not be opened."""
    try:
        yield
    finally:
        opened.cancel()


def _raise_on_unreadable(
    rows: Iterator[Row], cache: CacheWriter, places: Sequence[tuple[str, int]], files: Sequence[ImageFile]
) -> Iterator[Row]:
    """Pass rows on up to the first image that cannot be read, known already or not."""
    for row in rows:
        if row.features is None and (reason := row.reason or cache.reason(*places[row.position])):
            raise CatsDogsError(
                f"{files[row.position].origin} is unreadable: {reason}",
                "Mend it, take it away, or leave out --fail-fast; what is done is kept",
            )
        yield row


def _fill(
    cache: CacheWriter,
    places: Sequence[tuple[str, int]],
    rows: Iterator[Row],
    timer: StageTimer,
    progress: Progress | None,
) -> list[float]:
    """Store what the cache lacks; return the moment at which each computed row was stored, in seconds."""
    stored: list[float] = []
    synced = time.perf_counter()
    for done, row in enumerate(rows, 1):
        with timer.time("write"):
            if row.reason is not None:
                cache.put_unreadable(*places[row.position], row.digest, row.reason)
            elif row.features is not None:
                cache.put(*places[row.position], row.digest, row.features)
                stored.append(time.perf_counter())
            if time.perf_counter() - synced > _SYNC_SECONDS:
                cache.sync()
                synced = time.perf_counter()
        if progress:
            progress("computing features", done, len(places))
    return stored


def _find_duplicates(artifacts: ArtifactsPath, progress: Progress | None) -> dict[str, int]:
    try:
        return count_duplicates(load_duplicates(artifacts, progress=progress))
    except DamagedError as error:
        # It is of the split that this run has not filled, and no reason to end it: who mends that looks for them.
        _log.info("duplicates are not looked for yet: %s", error)
        return {}


def _rate(stored: list[float], at_once: int) -> float | None:
    """Return images a second, from when as many were stored as are computed at once; None where there are few more."""
    later = len(stored) - at_once
    return round(later / (stored[-1] - stored[at_once - 1]), 1) if later >= at_once else None


def _timing(done: Extraction) -> dict[str, object]:
    return {
        "images": done.computed,
        "seconds": round(done.seconds, 3),
        "rate": done.rate,
        "engine": done.engine,
        "precision": done.precision,
        "stages": {stage: round(seconds, 3) for stage, seconds in sorted(done.stages.items())},
    }
