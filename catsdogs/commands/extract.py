"""Compute the features of all images that are not cached yet."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from threading import Event

from ..artifacts import Artifacts, ArtifactsFolder
from ..backbone import Backbone, Int8Similarity, choose_weights
from ..cache import CacheWriter, DamagedError, Manifest, load_duplicates, write_network
from ..errors import CatsDogsError
from ..inference.batches import Row, compute_rows
from ..inference.plan import ComputeOptions, Plan, provenance_of, resolve
from ..inference.timing import StageTimer
from ..locks import FEATURES
from ..paths import user_path
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
        Pairs of images that are the same or nearly so, as `cache.Duplicates.counts` has them; empty where they must be
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
    int8_similarity : Int8Similarity or None
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
    int8_similarity: Int8Similarity | None = None


def extract(
    data: str | Path,
    *,
    artifacts: ArtifactsFolder = "artifacts",
    weights: str | None = None,
    compute: ComputeOptions = ComputeOptions(),
    classes: str | Sequence[str] | None = None,
    prune: bool = False,
    fail_fast: bool = False,
    near_duplicates: bool = True,
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
    near_duplicates : bool
        Look for near duplicates, which takes a minute for 400,000 images; otherwise for images of equal bytes alone.
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
    start, timer = time.perf_counter(), StageTimer()
    with Artifacts.open(artifacts, FEATURES) as opened:
        chosen, manifest = choose_weights(weights, opened.source), opened.cache.manifest
        plan = resolve(opened.features, manifest, weights=chosen, compute=compute)
        with _start_loading(plan, data, progress) as loading, _list_images(data, classes, manifest) as source:
            files = [file for images in source.splits.values() for file in images.files]
            backbone = cache(loading.result if loading else partial(plan.load, files, progress=progress))
            provenance = plan.provenance or provenance_of(chosen, plan.fingerprint, backbone())
            wanted = {split: (images.ids, images.labels) for split, images in source.splits.items()}
            views = tuple(view.name for view in plan.views)
            with CacheWriter(opened.features, provenance, views, wanted, prune=prune, classes=source.classes) as writer:
                if plan.provenance is None and (network := backbone().network):
                    write_network(opened.features, network)
                record(opened.source, **dict.fromkeys(wanted, str(source.path.resolve())), weights=chosen.spec)
                with compute_rows(files, plan.views, backbone, known=writer.known(), timer=timer) as rows:
                    stored = _store(rows, writer, files, fail_fast=fail_fast, timer=timer, progress=progress)
                if provenance.network and (stored or not writer.int8_similarity):
                    writer.int8_similarity = backbone().int8_similarity
        opened.cache.reload()
        used = backbone() if stored else None
        done = Extraction(
            images={split: len(ids) for split, (ids, _) in wanted.items()},
            unreadable=writer.unreadable,
            computed=len(stored),
            skipped=source.skipped,
            duplicates=_find_duplicates(opened, near=near_duplicates, progress=progress),
            classes=source.classes,
            backbone=provenance.weights_name,
            engine=provenance.engine,
            precision=provenance.precision,
            batch_reduced=used is not None and used.batch_reduced,
            seconds=time.perf_counter() - start,
            rate=_rate(stored, used.batch * used.streams) if used else None,
            stages=timer.seconds,
            int8_similarity=writer.int8_similarity,
        )
        if used:
            record_timing(opened.timings, "extract", **_timing(done), device=used.device)
    _log.info("%d of %d images computed in %.1f s", done.computed, len(files), done.seconds)
    return done


def _list_images(data: str | Path, classes: str | Sequence[str] | None, manifest: Manifest | None) -> Source:
    """List what there is; where neither the user nor the folders say which the classes are, the cache does."""
    return Source(
        data,
        classes=None if classes is None else parse_classes(classes),
        default_classes=manifest.classes if manifest and manifest.has_labels else None,
    )


@contextmanager
def _start_loading(plan: Plan, data: str | Path, progress: Progress | None) -> Iterator[Future[Backbone] | None]:
    """Begin to load the backbone in a thread of its own, where it is needed whatever the images are.

    Who leaves early, as the images cannot be had or by Ctrl-C, does not wait for the end of a download.
    """
    leaving = Event()

    def report(step: str, done: int, total: int) -> None:
        if leaving.is_set():
            raise CancelledError
        if progress:
            progress(step, done, total)

    with ThreadPoolExecutor(1, thread_name_prefix="load") as thread:
        needed = plan.provenance is None and not plan.needs_images and user_path(data).exists()
        try:
            yield thread.submit(plan.load, progress=report) if needed else None
        finally:
            leaving.set()


def _store(
    rows: Iterable[Row],
    writer: CacheWriter,
    files: Sequence[ImageFile],
    *,
    fail_fast: bool,
    timer: StageTimer,
    progress: Progress | None,
) -> list[float]:
    """Store what the cache lacks; return the moment at which each computed row was stored, in seconds."""
    stored: list[float] = []
    synced = time.perf_counter()
    for done, row in enumerate(rows, 1):
        if fail_fast and not row.features and (reason := row.reason or writer.reason(row.position)):
            raise CatsDogsError(
                f"{files[row.position].display_path} is unreadable: {reason}",
                "Mend it, take it away, or leave out --fail-fast; what is done is kept",
            )
        with timer.time("write"):
            if row.reason is not None:
                writer.put_unreadable(row.position, row.digest, row.reason)
            elif row.features:
                writer.put(row.position, row.digest, {view.name: of_view for view, of_view in row.features.items()})
                stored.append(time.perf_counter())
            if time.perf_counter() - synced > _SYNC_SECONDS:
                writer.sync()
                synced = time.perf_counter()
        if progress:
            progress("computing features", done, len(files))
    return stored


def _find_duplicates(artifacts: Artifacts, *, near: bool, progress: Progress | None) -> dict[str, int]:
    try:
        return load_duplicates(artifacts.cache, near=near, progress=progress).counts()
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
