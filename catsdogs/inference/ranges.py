"""Compute ranges of the images in a worker: a process on some machine, which writes its rows to shards."""

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone import Backbone
from ..cache import KnownRows, Provenance, RemoteParts, ShardWriter
from ..errors import CatsDogsError
from ..head import Head
from ..images.facts import FACTS_COLUMN
from ..images.views import sizes_of
from ..locks import FEATURES, holder
from ..paths import is_uri, user_path
from ..sources import ImageFile, Source
from ..sources.classes import Classes
from .batches import ComputedRows, compute_rows
from .loading import ChunkLoader, sample_images
from .plan import Plan, provenance_of
from .prefetching import CHUNK_SIZE, reading_threads

_PROBES, _PROBE_FILES = 4, 64
"""Images whose features are compared between workers, and how many files are tried to find readable ones."""


@dataclass(frozen=True)
class RangeJob:
    """What all workers of a run compute.

    Parameters
    ----------
    data : str
        Path or URI of the images.
    classes : pair of str
    listing : str
        `Source.listing` of the images.
    plan : Plan
        Its folder is the cache, which all machines share.
    holder : str
        Which process holds the lock of the folder, as `locks.holder` returns it; of no meaning with `parquet`.
    fail_fast : bool
        Whether to stop at the first unreadable image.
    parquet : str
        Path or URI of the folder for files of Parquet; empty if rows are written to shards.
    shards : str
        URI of the artifacts folder in which shards are put; empty if they are in the cache's.
    head : Head or None
        The head whose probabilities are written to Parquet; None if the features are.
    kind : type or None
        The class of the workers, by default `RangeWorker`.
    """

    data: str
    classes: Classes
    listing: str
    plan: Plan
    holder: str = ""
    fail_fast: bool = False
    parquet: str = ""
    shards: str = field(default="", repr=False)
    head: Head | None = field(default=None, repr=False)
    kind: "type[RangeWorker] | None" = None


@dataclass(frozen=True, eq=False)
class PreparedWorker:
    """A worker that can start to compute.

    Parameters
    ----------
    provenance : Provenance
    probes : dict of int to ndarray of shape (n, 2048), float32
        Features of the same few images on all machines, by image size.
    ahead : int
        Number of images that it decodes and computes at a time, so that it never waits if it has been given more.
    """

    provenance: Provenance
    probes: dict[int, NDArray[np.float32]]
    ahead: int


@dataclass(eq=False)
class RangeResult:
    """What is known of a range; its rows are in shards once it is finished.

    Parameters
    ----------
    positions : range
    digests : ndarray of shape (n, 16), uint8
    computed : int
        Number of images whose features were computed.
    unreadable : dict of int to str
        Why files could not be read, by position.
    undecodable : set of bytes
        Digests of images that cannot be decoded.
    """

    positions: range
    digests: NDArray[np.uint8]
    computed: int = 0
    unreadable: dict[int, str] = field(default_factory=dict)
    undecodable: set[bytes] = field(default_factory=set)
    left: int = 0


def make_job(data: object, plan: Plan, source: Source, parquet: str | Path | None, **options: Any) -> RangeJob:
    """Return the job for the images of an open source, given what it was opened with; other options as in the job."""
    return RangeJob(
        data=data if is_uri(data) else source.place,
        classes=source.classes,
        listing=source.listing,
        plan=replace(plan, folder=plan.folder.resolve()),
        parquet="" if parquet is None else str(parquet if is_uri(parquet) else user_path(parquet).resolve()),
        **options,
    )


class RangeWorker:
    """Computes the ranges that it is given in one stream: it decodes the next range while it computes one.

    Parameters
    ----------
    job : RangeJob
    cores : (int, int)
        Its number, from 0, among the workers of its machine, and how many they are: each uses its share of the cores.
    """

    def __init__(self, job: RangeJob, cores: tuple[int, int]) -> None:
        self._job, self._cores = job, cores
        self._given, self._done = SimpleQueue[range](), SimpleQueue[RangeResult | BaseException]()
        self.views = tuple(view.name for view in job.plan.views)
        self._known = KnownRows((*self.views, FACTS_COLUMN), {}, {}, share_copies=not job.parquet)
        self._open: dict[int, RangeResult] = {}
        self._thread: Thread | None = None

    def host(self) -> str:
        """Return the name of its machine."""
        return platform.node()

    def prepare(self) -> PreparedWorker:
        """List the images, load the backbone, and compute the probes.

        Raises
        ------
        CatsDogsError
            This machine does not share the folder, lists other images, or cannot load the backbone.
        """
        if hasattr(os, "sched_setaffinity"):
            cores, (number, of) = sorted(os.sched_getaffinity(0)), self._cores
            os.sched_setaffinity(0, cores[number::of] or [cores[number % len(cores)]])
        plan, job = self._job.plan, self._job
        if not (job.parquet or job.shards) and holder(plan.folder.parent, FEATURES) != job.holder:
            hint = "Give --artifacts DIR with the absolute path of a folder that all machines share"
            raise CatsDogsError(f"{plan.folder.parent} is another folder there", hint)
        if self.source.listing != job.listing:
            hint = "Give a folder of images that all machines share"
            raise CatsDogsError(f"{job.data} has other images there", hint)
        sizes, backbone = sizes_of(plan.views), self._backbone
        probes = sample_images(self._files[:_PROBE_FILES], sizes, count=_PROBES)
        _, chunks = reading_threads(self._files)
        return PreparedWorker(
            provenance=self.provenance,
            probes={size: backbone.features(pixels) for size, pixels in probes.items()},
            ahead=CHUNK_SIZE * chunks + (backbone.streams + 2) * backbone.batch_size,
        )

    def exchange(self, ranges: list[range], *known: KnownRows) -> list[RangeResult]:
        """Add ranges to those to compute, and rows that are known; wait until any are finished, and return these.

        Raises
        ------
        CatsDogsError
            As for `compute_rows`, or an image is unreadable and the job is to stop at it.
        OSError
            A shard cannot be written.
        """
        for more in known:
            self._known.missing.update(more.missing)
            self._known.reasons.update(more.reasons)
        for positions in ranges:
            self._given.put(positions)
        if self._thread is None:
            self._thread = Thread(target=self._compute_all, daemon=True)
            self._thread.start()
        finished = [self._done.get()]
        with suppress(Empty):
            while True:
                finished.append(self._done.get_nowait())
        for result in finished:
            if isinstance(result, BaseException):
                raise result
        return [result for result in finished if isinstance(result, RangeResult)]

    @cached_property
    def source(self) -> Source:
        """The images, listed when they are first needed."""
        if self._job.head:
            return Source(self._job.data, default_classes=self._job.head.metadata.classes, every=True)
        return Source(self._job.data, classes=self._job.classes)

    @cached_property
    def _files(self) -> list[ImageFile]:
        return self.source.files

    @cached_property
    def _backbone(self) -> Backbone:
        return self._job.plan.load(self._files)

    @cached_property
    def provenance(self) -> Provenance:
        """How it computes; loads the backbone."""
        return provenance_of(self._job.plan.weights, self._backbone)

    @cached_property
    def _writer(self) -> ShardWriter:
        remote = RemoteParts(self._job.shards) if self._job.shards else None
        cache = None if remote else self._job.plan.folder
        return ShardWriter(cache, self.provenance, self._backbone.network, remote)

    def compute(self, ranges: Iterable[range]) -> Iterator[RangeResult]:
        """Compute ranges in this thread, each drawn when it is time to decode it; yield each that is finished.

        Raises
        ------
        CatsDogsError, OSError
            As for `exchange`.
        """
        loader = ChunkLoader(self._job.plan.views, self._known, fail_fast=self._job.fail_fast)
        with compute_rows(self._files, loader, lambda: self._backbone, ranges=map(self._opened, ranges)) as rows:
            for batch in rows:
                yield from self._store(batch)

    def _compute_all(self) -> None:
        """Compute streams of ranges until there is an error; a stream ends where no range is waiting."""
        try:
            while True:
                for result in self.compute(self._waiting(self._given.get())):
                    self._done.put(result)
        except BaseException as error:  # noqa: BLE001 - the thread that waits for results raises it
            self._done.put(error)

    def _waiting(self, first: range) -> Iterator[range]:
        positions = first
        with suppress(Empty):
            while True:
                yield positions
                positions = self._given.get_nowait()

    def _opened(self, positions: range) -> range:
        result = RangeResult(positions, np.zeros((len(positions), 16), np.uint8), left=len(positions))
        self._open.update(dict.fromkeys(positions, result))
        return positions

    def _store(self, rows: ComputedRows) -> list[RangeResult]:
        """Add rows to a shard; return their ranges once all rows of a range are in shards."""
        positions = rows.records["position"].tolist()
        unreadable = rows.store(self._writer.add, self._known)
        finished = []
        for position, digest in zip(positions, rows.records["digest"], strict=True):
            result = self._open.pop(position)
            result.digests[position - result.positions.start] = digest
            result.computed += bool(rows.features)
            result.left -= 1
            if position in unreadable:
                result.unreadable[position] = unreadable[position]
            elif position in rows.reasons:
                self._known.reasons[digest.tobytes()] = rows.reasons[position]
            result.undecodable |= {digest.tobytes()} & self._known.reasons.keys()
            self._known.missing[digest.tobytes()] = ()  # a later stream does not compute a copy of it
            if not result.left:
                finished.append(result)
        if finished or self._writer.due:
            self._writer.flush()
        return finished
