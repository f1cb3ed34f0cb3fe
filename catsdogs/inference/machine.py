"""Compute images in this process, and add their rows to the cache."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..backbone import Backbone, Quantized
from ..cache import CacheWriter, KnownRows, Provenance
from ..images.facts import FACTS_COLUMN
from ..progress import Progress, tell
from ..sources import ImageFile
from .batches import ComputedRows, compute_rows
from .loading import ChunkLoader, StageTimer
from .plan import Plan, provenance_of
from .prefetching import load_images


@dataclass(frozen=True, eq=False)
class ComputedImages:
    """What a run knows of its images when all rows are in shards.

    Parameters
    ----------
    digests : ndarray of shape (n, 16), uint8
        Zeros if a file could not be read.
    unreadable : dict of int to str
        Why files could not be read, by position.
    moments : list of float
        When each image was computed; images that were cached have none.
    computed : int
        Number of images that were computed.
    ahead : int
        Number of images that are computed at a time.
    device : str
        What computed them; empty if nothing did.
    batch_reduced : bool
        Whether the batches were reduced for lack of memory.
    """

    digests: NDArray[np.uint8]
    unreadable: dict[int, str]
    moments: list[float]
    computed: int = 0
    ahead: int = 0
    device: str = ""
    batch_reduced: bool = False

    @property
    def rate(self) -> float | None:
        """Images per second after the first `ahead` images, the batches of all streams; None if few follow."""
        later = len(self.moments) - self.ahead
        if not self.moments or later < self.ahead:
            return None
        return round(later / (self.moments[-1] - self.moments[self.ahead - 1]), 1)


class ThisMachine(AbstractContextManager["ThisMachine"]):
    """Computes images in this process; a context manager. `RangePool`, which has workers, has the same methods.

    Parameters
    ----------
    plan : Plan
    files : sequence of ImageFile
        The images to compute.
    load : callable
        Returns the backbone; called only if it is needed.
    timer : StageTimer
    fail_fast : bool
        Whether to stop at the first unreadable image.
    """

    def __init__(
        self,
        plan: Plan,
        files: Sequence[ImageFile],
        load: Callable[[], Backbone],
        *,
        timer: StageTimer,
        fail_fast: bool,
    ) -> None:
        self._plan, self._files, self._backbone = plan, files, cache(load)
        self._timer, self._fail_fast = timer, fail_fast
        self._threads = ExitStack()
        self._rows: Iterator[ComputedRows] | None = None

    def __exit__(self, *raised: object) -> None:
        self._threads.close()

    def start(self, known: KnownRows | None = None) -> None:
        """Start to decode images, while the backbone may still be loading; by default no row is known."""
        views = self._plan.views
        known = known or KnownRows((*(view.name for view in views), FACTS_COLUMN), {}, {})
        loader = ChunkLoader(views, known, self._timer, fail_fast=self._fail_fast)
        self._rows = self._threads.enter_context(compute_rows(self._files, loader, self._backbone))

    def provenance(self) -> Provenance:
        """Return how images are computed; loads the backbone if the run does not continue a cache."""
        return self._plan.provenance or provenance_of(self._plan.weights, self._backbone())

    def network(self) -> Quantized | None:
        """Return the quantized network, if images are computed by one."""
        return self._plan.network if self._plan.provenance else self._backbone().network

    def digests(self) -> NDArray[np.uint8]:
        """Read all files, and return the digests of their bytes, of shape (n, 16), uint8."""
        digests = np.zeros((len(self._files), 16), np.uint8)
        with load_images(self._files, ChunkLoader((), timer=self._timer)) as images:
            for loaded in images:
                digests[loaded.records["position"]] = loaded.records["digest"]
        return digests

    def compute(self, writer: CacheWriter, *, progress: Progress | None = None) -> ComputedImages:
        """Compute the rows that are missing in an open cache, and add them.

        Raises
        ------
        CatsDogsError
            As for `compute_rows`.
        """
        digests, done, known = np.zeros((len(self._files), 16), np.uint8), 0, writer.known()
        unreadable: dict[int, str] = {}
        moments: list[float] = []
        if self._rows is None:
            self.start(known)
        with self._threads:
            for rows in self._rows or ():
                digests[rows.records["position"]] = rows.records["digest"]
                writer.flush_if_due()
                with self._timer.time("write"):
                    unreadable |= rows.store(writer.add_rows, known)
                if rows.features:
                    writer.int8_similarity = self._backbone().int8_similarity
                    moments += [time.perf_counter()] * len(rows.records)
                done += len(rows.records)
                tell(progress, "computing features", done, len(self._files))
        if self.network() and not writer.int8_similarity:
            writer.int8_similarity = self._backbone().int8_similarity
        if not moments:
            return ComputedImages(digests, unreadable, moments)
        used = self._backbone()
        ahead = used.batch_size * used.streams
        return ComputedImages(digests, unreadable, moments, len(moments), ahead, used.device, used.batch_reduced)
