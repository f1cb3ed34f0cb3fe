"""Have workers on the machines of a Ray cluster compute the images, each a Ray actor that streams ranges.

Plain actors rather than Ray Data: a worker keeps its backbone and its decoding going from one range to the next, and
writes its rows itself; only ranges and what `RangeResult` holds pass through Ray.
"""

import faulthandler
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone import Quantized
from ..backbone.precisions import TOLERANCES
from ..cache import CacheWriter, Provenance, describe, pixel_differences
from ..cache.parquet import RangeFiles
from ..errors import CatsDogsError, OptionError
from ..images import identity
from ..progress import Progress, tell
from ..threads import cpu_count
from .machine import ComputedImages
from .ranges import PreparedWorker, RangeJob, RangeResult, RangeWorker

LOCAL = "local"

MAX_FAILURES, START_SECONDS = 5, 120.0
"""How often a worker is started again without having finished a range in between; and how long to wait for the process
of a worker if there is none."""

_CONNECT_SECONDS, _SCAN_SECONDS, _MIN_RANGE, _MAX_RANGE = 10.0, 5.0, 16, 256
"""How long to wait for a cluster to answer; how often to look for new machines; and images in a range, which is a
shard."""

_OBJECT_STORE_BYTES = 128 << 20
"""Size of a local object store; the pixels and features do not pass through it."""

_REPORT = "Finished work is kept: rerun when the cluster is repaired"

_log = logging.getLogger(__name__)

_Place = tuple[str, int]
"""The id of a machine, and the number of a worker on it."""


@dataclass(eq=False)
class _Worker:
    """A worker as the driver sees it; `pending` is what it has not answered yet."""

    place: _Place
    options: dict[str, Any]
    of: int
    actor: Any = None
    pending: Future[Any] | None = None
    host: str = ""
    prepared: PreparedWorker | None = None
    news: list[Any] = field(default_factory=list)
    ranges: list[range] = field(default_factory=list)
    failures: int = 0

    @property
    def images(self) -> int:
        """Number of images that it was given and has not finished."""
        return sum(map(len, self.ranges))


def check_workers(address: str | None, per_machine: int | None) -> None:
    """Refuse a number of workers that is not one, or has no effect.

    Raises
    ------
    OptionError
    """
    if per_machine is not None and (not address or per_machine < 1):
        found = f"the number of workers is {per_machine}" if address else "the number of workers is given without ray"
        raise OptionError(found, "Give --ray ADDRESS, and --workers N of at least 1")


@contextmanager
def start_workers(address: str, job: RangeJob, *, per_machine: int | None = None) -> Iterator["RangePool"]:
    """Connect to Ray, and start workers.

    Parameters
    ----------
    address : str
        "local" to start Ray on this machine, or the address of a cluster. If the process is connected, it stays so.
    job : RangeJob
    per_machine : int, optional
        Workers on each machine; by default one for each GPU, or one.

    Raises
    ------
    CatsDogsError
        Ray is not installed, or there is no cluster at the address.
    """
    if find_spec("ray") is None:
        raise CatsDogsError("Ray is not installed", "Install it: pip install 'catsdogs[ray]'")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # or Ray prints that workers died
    # Or Ray, if it finds that `uv run` started the program, copies the current folder, with all images in it.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    options: dict[str, Any] = {}
    if address == LOCAL:
        options = {"include_dashboard": False, "num_cpus": cpu_count(), "object_store_memory": _OBJECT_STORE_BYTES}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if "ray" not in sys.modules:  # later, the mode would be another one in its processes than in this one
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        if os.environ.get("RAY_AUTH_MODE", "token") == "token":  # the default of a local Ray
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with _own_settings():
        import ray
    connected, logger = ray.is_initialized(), logging.getLogger("ray")
    level = logger.level
    if not connected:
        try:
            host, _, port = address.removeprefix("ray://").rpartition(":")
            if host and port.isdigit():  # Ray itself waits for minutes
                socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
            with _own_settings():
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except (OSError, RuntimeError, ValueError) as error:
            message = f"there is no Ray cluster at {address} ({str(error).splitlines()[0].rstrip('.')})"
            raise CatsDogsError(message, "Check --ray, RAY_AUTH_MODE and RAY_AUTH_TOKEN") from error
    pool = RangePool(ray, address, job, per_machine)
    try:
        yield pool
    finally:
        pool.close()
        if not connected:
            ray.shutdown()
            logger.setLevel(level)


@contextmanager
def _own_settings() -> Iterator[None]:
    """Restore the handlers of SIGTERM, faults and exceptions, and the debugger, which Ray replaces by its own."""
    terminated, faults = signal.getsignal(signal.SIGTERM), faulthandler.is_enabled()
    hook, has_debugger = sys.excepthook, "PYTHONBREAKPOINT" in os.environ
    try:
        yield
    finally:
        sys.excepthook = hook
        if not has_debugger:
            os.environ.pop("PYTHONBREAKPOINT", None)
        if signal.getsignal(signal.SIGTERM) is not terminated:
            signal.signal(signal.SIGTERM, terminated)
        if not faults:
            faulthandler.disable()


class RangePool:
    """Workers that compute ranges; those that end are started again, and new machines of the cluster get their own.

    Parameters
    ----------
    ray : module
        Connected to a cluster.
    address : str
    job : RangeJob
    per_machine : int or None
        As for `start_workers`.
    """

    def __init__(self, ray: Any, address: str, job: RangeJob, per_machine: int | None) -> None:
        self._ray, self._address, self._job, self._per_machine = ray, address, job, per_machine
        self._workers: dict[_Place, _Worker] = {}
        self._abandoned: set[_Place] = set()
        self._reference: tuple[str, Provenance] | None = None
        self._probes: dict[int, NDArray[np.float32]] | None = None
        self._todo, self._known = deque[range](), list[Any]()
        self._writer: CacheWriter | None = None
        self._scanned, self._alive, self._lost = -np.inf, time.monotonic(), "there was none"
        if made := job.plan.provenance:
            self._reference = f"the cache in {job.plan.folder}", made

    def provenance(self) -> Provenance:
        """Wait for the first worker, and return how it computes.

        Raises
        ------
        CatsDogsError
            As for `compute`.
        """
        while self._reference is None:
            self._wait()
        return self._reference[1]

    def network(self) -> Quantized | None:
        """Return the quantized network of the cache, if images are computed by one."""
        return self._job.plan.network

    def compute(
        self, writer: CacheWriter | None, *, ranges: Sequence[range] = (), progress: Progress | None = None
    ) -> ComputedImages:
        """Have images computed that have no rows yet.

        Parameters
        ----------
        writer : CacheWriter or None
            The open cache, into whose folder the workers write shards; None if they write files of Parquet.
        ranges : sequence of range
            The positions of the images in each file of Parquet; otherwise all images of the cache are computed.
        progress : callable, optional

        Raises
        ------
        CatsDogsError
            A worker has other pixels, another provenance or other features than the first, has an error that others
            would have too, or none is alive.
        """
        if writer:
            ranges = [range(writer.images)]
        images, stop = sum(map(len, ranges)), max((positions.stop for positions in ranges), default=0)
        self._writer, self._todo = writer, deque(ranges)
        known = writer.known() if writer else None
        self._known = [self._ray.put(known)] if known else []
        for worker in self._workers.values():
            worker.news = [*self._known]
        digests, unreadable, moments, done = np.zeros((stop, 16), np.uint8), dict[int, str](), list[float](), 0
        others = {digest for digest, missing in known.missing.items() if not missing} if known else set[bytes]()
        while done < images:
            self._give(images - done)
            for result in self._wait():
                digests[result.positions.start : result.positions.stop] = result.digests
                unreadable |= result.unreadable
                others |= result.undecodable
                moments += [time.perf_counter()] * result.computed
                done += len(result.positions)
                tell(progress, "computing features", done, images)
        ahead = sum(worker.prepared.ahead for worker in self._workers.values() if worker.prepared)
        # Workers that are killed do not report all that they have computed, so the different images are counted.
        computed = len({digest.tobytes() for digest in digests[digests.any(axis=1)]} - others)
        return ComputedImages(digests, unreadable, moments, computed, ahead, f"Ray at {self._address}")

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers.values():
            self._end(worker)

    def _wait(self) -> list[RangeResult]:
        """Wait for an answer of any worker, for some seconds; return the ranges that are finished."""
        if time.monotonic() - self._scanned > _SCAN_SECONDS:
            self._scan()
        pending = {worker.pending: worker for worker in self._workers.values() if worker.pending is not None}
        if not pending:
            raise CatsDogsError(f"no worker of Ray is alive: {self._lost.rstrip('.')}", _REPORT)
        answered, _ = wait(pending, _SCAN_SECONDS, FIRST_COMPLETED)  # `ray.wait` may lose what signal handlers raise
        if answered or any(worker.host for worker in self._workers.values()):
            self._alive = time.monotonic()
        elif time.monotonic() - self._alive > START_SECONDS:
            message = f"no worker of Ray has started within {START_SECONDS:.0f} seconds"
            raise CatsDogsError(message, "Check with ray status whether the cluster has free CPUs")
        finished: list[RangeResult] = []
        for call in answered:
            finished += self._receive(pending[call], call)
        return finished

    def _scan(self) -> None:
        """Start workers on machines that are new in the cluster."""
        self._scanned = time.monotonic()
        for node in (node for node in self._ray.nodes() if node["Alive"]):
            gpus, cpus = (int(node["Resources"].get(kind, 0)) for kind in ("GPU", "CPU"))
            count = self._per_machine or gpus or min(1, cpus)
            options = {"num_cpus": _share(cpus, count), "num_gpus": _share(gpus, count)} if count else {}
            for place in ((node["NodeID"], number) for number in range(count)):
                if place not in self._workers and place not in self._abandoned:
                    self._workers[place] = worker = _Worker(place, options, count, news=[*self._known])
                    self._start(worker)

    def _start(self, worker: _Worker) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        node, number = worker.place
        job = self._job
        if self._reference:
            made = self._reference[1]  # no other machine may choose another engine
            job = replace(job, plan=replace(job.plan, engine=made.engine, precision=made.precision))
        placed = NodeAffinitySchedulingStrategy(node, soft=False)
        actor_class = self._ray.remote(job.kind or RangeWorker).options(scheduling_strategy=placed, **worker.options)
        worker.actor = actor_class.remote(job, (number, worker.of))
        worker.host, worker.prepared, worker.pending = "", None, worker.actor.host.remote().future()

    def _end(self, worker: _Worker) -> None:
        with suppress(Exception):  # it has ended already, in one of many ways
            self._ray.kill(worker.actor)

    def _give(self, unfinished: int) -> None:
        """Give ranges to workers that have answered, so that none waits, and at the end all finish at the same time."""
        ready = [(worker, worker.prepared.ahead) for worker in self._workers.values() if worker.prepared]
        for worker, ahead in ((worker, ahead) for worker, ahead in ready if worker.pending is None):
            size = min(max(_MIN_RANGE, ahead // 2), _MAX_RANGE)
            wanted = min(ahead + 3 * size, max(_MIN_RANGE, unfinished // len(ready)))
            ranges: list[range] = []
            while self._todo and worker.images < wanted:
                positions = self._todo.popleft()
                taken = positions if self._job.parquet else positions[:size]
                ranges.append(taken)
                worker.ranges.append(taken)
                if rest := positions[len(taken) :]:
                    self._todo.appendleft(rest)
            if worker.ranges:
                worker.pending = worker.actor.exchange.remote(ranges, *worker.news).future()
                worker.news = []

    def _receive(self, worker: _Worker, call: Future[Any]) -> list[RangeResult]:
        """Return the ranges that a worker has finished; start it again if it has ended."""
        from ray.exceptions import RayError, RayTaskError

        worker.pending = None
        try:
            answer = call.result()
        except RayTaskError as error:
            self._raise_if_general(worker, error.cause)
            return self._replace(worker, f"{type(error.cause).__name__}: {error.cause}")
        except RayError as error:
            return self._replace(worker, str(error).splitlines()[0])
        else:
            if isinstance(answer, str):
                worker.host, worker.pending = answer, worker.actor.prepare.remote().future()
            elif isinstance(answer, PreparedWorker):
                self._check(answer, worker.host)
                worker.prepared = answer
            else:
                worker.failures = 0
                for result in answer:
                    worker.ranges.remove(result.positions)
                return list(answer)
        return []

    def _raise_if_general(self, worker: _Worker, error: BaseException) -> None:
        """Raise an error that every worker would have."""
        host = f"on {worker.host}"
        if isinstance(error, CatsDogsError):
            raise CatsDogsError(f"{error.message} ({host})", error.hint) from error
        if isinstance(error, OSError):
            message = f"{error.filename} cannot be written ({error.strerror}, {host})"
            raise CatsDogsError(message, "Check the disk; finished work is kept") from error

    def _replace(self, worker: _Worker, reason: str) -> list[RangeResult]:
        """Start a worker again, and have its unfinished ranges given again, with what it has written of them.

        Return the ranges that it finished before it ended: of shards none, of Parquet those whose files are there.
        """
        _log.info("the worker on %s ended: %s", worker.host or worker.place[0], reason)
        self._end(worker)
        there = RangeFiles(self._job.parquet).find()[0] if self._job.parquet and worker.ranges else {}
        finished = [RangeResult(at, np.zeros((len(at), 16), np.uint8)) for at in worker.ranges if at in there]
        self._todo.extendleft(positions for positions in reversed(worker.ranges) if positions not in there)
        worker.ranges, worker.prepared, worker.failures = [], None, worker.failures + 1
        self._lost = reason
        if self._writer:
            self._known.append(self._ray.put(self._writer.known_since()))
            for other in self._workers.values():
                other.news.append(self._known[-1])
        worker.news = [*self._known]
        if worker.failures > MAX_FAILURES:
            self._abandoned.add(worker.place)
            del self._workers[worker.place]
        else:
            self._start(worker)
        return finished

    def _check(self, prepared: PreparedWorker, host: str) -> None:
        """Raise an error if a worker does not compute what the first does."""
        made, here = prepared.provenance, identity.pixels()
        if made.pixels != here:
            theirs, ours = pixel_differences(made.pixels, here), pixel_differences(here, made.pixels)
            message = f"the worker on {host} decodes images {theirs}, but this machine {ours}"
            raise CatsDogsError(message, "Install the same versions of catsdogs and Pillow on all machines")
        name, first = self._reference = self._reference or (f"the worker on {host}", made)
        if made.key != first.key:
            views = [view.name for view in self._job.plan.views]
            message = f"the worker on {host} computes by {describe(made, views, first)}, {name} by "
            hint = "Give the same --weights, and --engine and --precision that all machines have"
            raise CatsDogsError(message + describe(first, views, made), hint)
        self._probes = self._probes or prepared.probes
        for size, probes in self._probes.items():
            difference = np.linalg.norm(prepared.probes[size] - probes, axis=1)
            if not np.all(difference <= TOLERANCES[first.precision] * np.linalg.norm(probes, axis=1)):
                message = (
                    f"the features of the worker on {host} differ from those of {name} by more than rounding errors"
                )
                raise CatsDogsError(message, "Remove this machine from the cluster, or repair it")


def _share(total: int, count: int) -> float:
    """Return one worker's share of a machine; Ray accepts fractions only below 1."""
    return total // count if total >= count else total / count
