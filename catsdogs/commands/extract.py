"""Compute the features of all images that are not cached yet."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Artifacts, ArtifactsFolder
from ..backbone import Backbone, Int8Similarity, choose_weights
from ..cache import CacheWriter, DamagedError, Manifest, Provenance, load_duplicates
from ..cache.parquet import require_pyarrow
from ..cache.parts import Part, PartTable, write_part
from ..cache.remote import RemoteParts, name_uris, temporary_copy
from ..errors import CatsDogsError, OptionError, redact_uri
from ..inference.at_rest import ParquetWorker, compute_to_parquet
from ..inference.cluster import RangePool, check_workers, start_workers
from ..inference.loading import StageTimer
from ..inference.machine import ComputedImages, ThisMachine
from ..inference.plan import ComputeOptions, Plan, resolve
from ..inference.ranges import RangeJob, make_job
from ..locks import FEATURES, holder
from ..paths import is_uri, local_or_uri, user_path
from ..progress import Progress, tell
from ..result import Result
from ..sources import Scan, Source
from ..sources.classes import Classes, parse_classes
from ..sources.source import Split, ids_and_labels
from ..storage import record, record_timing
from .scan import choose_part, list_images, warn_of_training_problem

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Extraction(Result):
    """The result of `extract`.

    Parameters
    ----------
    images : dict of str to int
        By split.
    unreadable : dict of str to dict
        Reasons why images are unreadable, by split and id.
    computed : int
        Images whose features were computed. The others were cached, are copies, or are unreadable.
    skipped : int
        Files that are no images of a split, for the reasons in `scan`.
    scan : Scan
        How the data was read.
    duplicates : dict of str to int
        Counts of pairs of identical and near-duplicate images, as in `cache.Duplicates.counts`; empty if they were not
        searched for: of a part, with Parquet, or if the other split is damaged.
    classes : pair of str
        Names of the labels 0 and 1.
    backbone : str
        Name of its weights.
    engine, precision : str
    batch_reduced : bool
        Whether the batch size was reduced, as the device has too little memory.
    seconds : float
        Wall time, including loading.
    rate : float or None
        Images per second, from the first stored batches to the last; None with Parquet, or if there were too few.
    stages : dict of str to float
        Seconds of reading, decoding, computing and writing, summed over threads; empty with Ray or Parquet.
    int8_similarity : Int8Similarity or None
        Similarity of int8 features to float32 features on a sample; None in other precisions.
    part : str
        The part that was computed, such as "3/8"; empty if all images were.
    parquet : str
        Where the features are in files of Parquet, without secrets; empty if they are in the cache.
    uri : str
        The artifacts folder that has the part, without secrets; empty if it is local.
    """

    images: dict[str, int]
    unreadable: dict[str, dict[str, str]]
    computed: int
    skipped: int
    scan: Scan
    duplicates: dict[str, int] = field(default_factory=dict)
    classes: Classes
    backbone: str
    engine: str
    precision: str
    batch_reduced: bool = False
    seconds: float = 0.0
    rate: float | None = None
    stages: dict[str, float] = field(default_factory=dict)
    int8_similarity: Int8Similarity | None = None
    part: str = ""
    parquet: str = ""
    uri: str = ""


def extract(
    data: str | Path | Source,
    *,
    artifacts: ArtifactsFolder = "artifacts",
    weights: str | Path | None = None,
    compute: ComputeOptions = ComputeOptions(),
    classes: str | Sequence[str] | None = None,
    prune: bool = False,
    fail_fast: bool = False,
    near_duplicates: bool = True,
    part: str | None = None,
    ray: str | None = None,
    workers: int | None = None,
    parquet: str | Path | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """Compute the features of every image that is not cached yet.

    Parameters
    ----------
    data : str or Path
        A folder, a zip or tars, or the URI of one, in any layout of docs/reference/inputs.md. If its images cannot be
        trained on, this is logged as a warning before any features are computed. Other commands give an open source,
        and close it.
    artifacts : str or Path
        The artifacts folder; the cache is its ``features/``. In a folder at a URI there is no cache: the rows of all
        images, or of `part`, are left there in shards for `merge`.
    weights : str or Path, optional
        "imagenet", "random", "random:SEED", or a path that ends in .h5, .weights.h5 or .keras. By default the
        variable CATSDOGS_WEIGHTS, then the weights that the artifacts were made with, then "imagenet".
    compute : ComputeOptions
        Views, engine and precision. By default those that the artifacts were made with.
    classes : str or two str, optional
        Names of the two classes, "ants,bees" or a sequence. The first has label 0, the second label 1, and
        probabilities are those of the second. By default the names of the two class folders of the training images, in
        natural order; without class folders the classes of the artifacts, or cat and dog. If there are more than two
        class folders, the others are skipped.
    prune : bool
        Remove features that other weights, engines or precisions made, and views that are not requested; and rows of
        images that are no longer in `data` also if they are half of a split or a whole class, as with a wrong path.
        This and `near_duplicates` are refused where no cache is written: of a part, at a URI, and with `parquet`.
    fail_fast : bool
        Stop at the first unreadable image, with an error that gives the reason.
    near_duplicates : bool
        Search for near-duplicates, which takes a minute for 400,000 images; otherwise only for identical images.
    part : str, optional
        "3/8" computes the third of eight equal ranges of the images, and leaves its rows in shards for `merge`. Every
        part needs an artifacts folder without a cache.
    ray : str, optional
        "local", or the address of a Ray cluster, whose machines then compute the features. They must share the folder
        of the images, and that of the artifacts or with `parquet` that one, unless these are URIs.
    workers : int, optional
        With `ray`, the number of workers on each machine; by default one for each GPU, or one.
    parquet : str or Path, optional
        A folder, or its URI, to which the features are written as files of Parquet instead of the cache, for
        `subset`, `score` and other programs. Files that are there are not computed again.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Returns
    -------
    Extraction

    Raises
    ------
    CatsDogsError
        The data, the weights or the engine cannot be used, rows would be removed without `prune`, there is too little
        disk space for the features, or, with `fail_fast`, an image is unreadable. Computed features are kept for the
        next run; the cache does not change until all features are computed.
    """
    start, names = time.perf_counter(), None if classes is None else parse_classes(classes)
    uri = artifacts if is_uri(artifacts) else ""
    _check_options(uri, part, ray, workers, parquet, prune=prune, near_duplicates=near_duplicates)
    with _open_artifacts(artifacts, uri, progress) as (opened, remote):
        chosen, manifest = choose_weights(weights, opened.source), opened.cache.manifest
        range_of, is_part = choose_part(part, opened), bool(part or remote)
        plan = resolve(opened.features, manifest, weights=chosen, compute=compute)
        with (
            nullcontext() if ray or parquet else _start_loading(plan, data, progress) as loading,
            _open(data, names, opened) as source,
        ):
            run = _Run(opened, remote, source, plan, range_of, is_part, fail_fast, progress)
            job = _make_job(run, data, parquet) if ray or parquet else None
            with start_workers(ray, job, per_machine=workers) if ray and job else nullcontext() as pool:
                if job and parquet:
                    return replace(_extract_to_parquet(run, job, pool), seconds=time.perf_counter() - start)
                done, computed, differing = _extract_to_cache(run, loading, pool, prune=prune)
        opened.cache.reload()
        duplicates = {} if is_part else find_duplicates(opened, near=near_duplicates, progress=progress)
        done = replace(done, duplicates=duplicates, seconds=time.perf_counter() - start)
        if done.computed:
            record_timing(opened.timings, "extract", **_timing(done), device=computed.device)
    _log.info("%d images computed in %.1f s; %d differing copies", done.computed, done.seconds, differing)
    return done


@dataclass(frozen=True)
class _Run:
    """What is extracted, from what, and into what.

    Parameters
    ----------
    artifacts : Artifacts
    remote : RemoteParts or None
        The artifacts at a URI, of which `artifacts` is a copy.
    source : Source
    plan : Plan
    part : Part
        The range of the images to compute; all images, unless `part` was given.
    is_part : bool
        Whether the rows are left in shards, without a cache.
    fail_fast : bool
    progress : callable or None
    timer : StageTimer
    """

    artifacts: Artifacts
    remote: RemoteParts | None
    source: Source
    plan: Plan
    part: Part
    is_part: bool
    fail_fast: bool
    progress: Progress | None
    timer: StageTimer = field(default_factory=StageTimer)

    @cached_property
    def splits(self) -> dict[str, Split]:
        """The images to compute."""
        return self.source.part(self.part.positions(len(self.source.files)))

    def result(self, made: Provenance, unreadable: dict[str, dict[str, str]], computed: int) -> Extraction:
        """Return the result as far as it is the same wherever the rows are."""
        return Extraction(
            images={split: len(images.ids) for split, images in self.splits.items()},
            unreadable=unreadable,
            computed=computed,
            skipped=self.source.skipped,
            scan=self.source.scan,
            classes=self.source.classes,
            backbone=made.weights_name,
            engine=made.engine,
            precision=made.precision,
        )


@contextmanager
def _open_artifacts(
    artifacts: ArtifactsFolder, uri: str, progress: Progress | None
) -> Iterator[tuple[Artifacts, RemoteParts | None]]:
    """Open an artifacts folder; of one at a URI a local copy, which is removed in the end."""
    if not uri:
        with Artifacts.open(artifacts, FEATURES) as opened:
            yield opened, None
        return
    with temporary_copy() as root, Artifacts.open(root, FEATURES) as opened, name_uris({root: uri}):
        remote = RemoteParts(uri)
        remote.fetch(opened.features, progress=progress)
        yield opened, remote


def _check_options(
    uri: str,
    part: str | None,
    ray: str | None,
    workers: int | None,
    parquet: str | Path | None,
    *,
    prune: bool,
    near_duplicates: bool,
) -> None:
    if part and ray:
        raise OptionError("part and ray exclude each other", "Give --part K/N or --ray ADDRESS")
    check_workers(ray, workers)
    if parquet is not None and (part or prune):
        raise OptionError("parquet excludes part and prune", "Give --parquet without --part and --prune")
    if (part or uri or parquet is not None) and (prune or not near_duplicates):
        message = "prune and no-near-duplicates have no effect where no cache is written"
        raise OptionError(message, "Leave them out here; give them to catsdogs merge, or to subset and train")
    if parquet is not None:
        if uri:
            raise OptionError("parquet excludes artifacts at a URI", "Give --parquet, or --artifacts with a URI")
        require_pyarrow()
        local_or_uri(parquet)  # refuses an empty one, as of an unset variable


def _open(data: str | Path | Source, classes: Classes | None, artifacts: Artifacts) -> AbstractContextManager[Source]:
    if isinstance(data, Source):  # the caller closes it
        return nullcontext(data)
    source = list_images(data, classes, artifacts)
    warn_of_training_problem(source, artifacts)
    return source


def _make_job(run: _Run, data: str | Path | Source, parquet: str | Path | None) -> RangeJob:
    plan, source = run.plan, run.source
    if plan.needs_images and parquet:
        raise CatsDogsError("files of Parquet hold no quantized network", "Give another --precision, or no --parquet")
    if plan.needs_images and plan.network is None:
        message = "the workers of Ray cannot quantize a network, each on its own"
        raise CatsDogsError(message, "Run catsdogs extract with some of the images and --precision int8 first")
    held, shards = holder(run.artifacts.root, FEATURES), run.remote.uri if run.remote else ""
    kind = ParquetWorker if parquet else None
    return make_job(data, plan, source, parquet, holder=held, fail_fast=run.fail_fast, shards=shards, kind=kind)


def _extract_to_parquet(run: _Run, job: RangeJob, pool: RangePool | None) -> Extraction:
    """Have the missing files of Parquet written; the cache does not change."""
    source, artifacts = run.source, run.artifacts
    if artifacts.cache.manifest is None:  # otherwise these notes are of the images and the weights of the cache
        record(artifacts.source, **dict.fromkeys(source.splits, source.place), weights=job.plan.weights.spec)
    provenance, computed, unreadable = compute_to_parquet(job, source, pool, progress=run.progress)
    return replace(run.result(provenance, unreadable, computed), parquet=redact_uri(job.parquet))


def _extract_to_cache(
    run: _Run, loading: Future[Backbone] | None, pool: RangePool | None, *, prune: bool
) -> tuple[Extraction, ComputedImages, int]:
    """Compute the missing rows, and assemble them or leave them as a part; also return the number of differing rows."""
    source, plan, artifacts = run.source, run.plan, run.artifacts
    files = [file for images in run.splits.values() for file in images.files]
    load = loading.result if loading else partial(plan.load, source.files, progress=run.progress)
    with ThisMachine(plan, files, load, timer=run.timer, fail_fast=run.fail_fast) as machine:
        if loading and not artifacts.features.exists():
            machine.start()  # no row can be known
        computing = pool or machine
        made = computing.provenance()
        with CacheWriter(
            artifacts.features,
            Manifest(made, tuple(view.name for view in plan.views), {}, source.classes),
            ids_and_labels(run.splits),
            prune=prune,
            network=computing.network(),
            is_part=run.is_part,
            remote=run.remote,
        ) as writer:
            writer.check_losses(machine.digests)
            if artifacts.cache.manifest is None:  # so that a run that continues this one uses the same weights
                record(artifacts.source, weights=plan.weights.spec)
            computed = computing.compute(writer, progress=run.progress)
            record(artifacts.source, **dict.fromkeys(run.splits, source.place), weights=plan.weights.spec)
            with run.timer.time("write"):
                finish = partial(_write_part, run, writer) if run.is_part else writer.assemble
                unreadable = finish(computed.digests, computed.unreadable)
    done = replace(
        run.result(made, unreadable, computed.computed),
        batch_reduced=computed.batch_reduced,
        rate=computed.rate,
        stages={} if pool else run.timer.seconds,
        int8_similarity=writer.int8_similarity,
        part=str(run.part) if run.is_part else "",
        uri=redact_uri(run.remote.uri) if run.remote else "",
    )
    return done, computed, writer.differing


def _write_part(
    run: _Run, writer: CacheWriter, digests: NDArray[np.uint8], unread: Mapping[int, str]
) -> dict[str, dict[str, str]]:
    """Write the table of a part; takes and returns what `CacheWriter.assemble` does."""
    reasons, unreadable = writer.list_unreadable(digests, unread)
    table = PartTable(
        part=run.part,
        manifest=writer.manifest,
        images={split: len(images.ids) for split, images in run.source.splits.items()},
        listing=run.source.listing,
        source=run.source.place,
        weights=run.plan.weights.spec,
        ids=tuple(name for images in run.splits.values() for name in images.ids),
        labels=tuple(label for images in run.splits.values() for label in images.labels.tolist()),
        digests=tuple(digest.tobytes().hex() for digest in digests),
        reasons=tuple(reasons),
    )
    write_part(run.remote or run.artifacts.features, table)
    return unreadable


@contextmanager
def _start_loading(
    plan: Plan, data: str | Path | Source, progress: Progress | None
) -> Iterator[Future[Backbone] | None]:
    """Start to load the backbone in a thread, if it is needed for any images.

    If the caller stops early, because of an error in the images or Ctrl-C, a download is cancelled.
    """
    leaving = Event()

    def report(step: str, done: int, total: int) -> None:
        if leaving.is_set():
            raise CancelledError
        tell(progress, step, done, total)

    with ThreadPoolExecutor(1, thread_name_prefix="load") as thread:
        exists = isinstance(data, Source) or is_uri(data) or user_path(data).exists()
        needed = plan.provenance is None and not plan.needs_images and exists
        try:
            yield thread.submit(plan.load, progress=report) if needed else None
        finally:
            leaving.set()


def find_duplicates(artifacts: Artifacts, *, near: bool, progress: Progress | None) -> dict[str, int]:
    """Search for duplicates, and return their counts; empty if the features of another split are damaged."""
    try:
        return load_duplicates(artifacts.cache, near=near, progress=progress).counts()
    except DamagedError as error:
        # The damage is in the split that this run does not write. The run that repairs it searches for duplicates.
        _log.info("duplicates were not searched for: %s", error)
        return {}


def _timing(done: Extraction) -> dict[str, object]:
    return {
        "images": done.computed,
        "seconds": round(done.seconds, 3),
        "rate": done.rate,
        "engine": done.engine,
        "precision": done.precision,
        "stages": {stage: round(seconds, 3) for stage, seconds in sorted(done.stages.items())},
    }
