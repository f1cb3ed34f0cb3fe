"""Read, digest and decode image files, and time each stage of it."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from threading import Event, Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cache import KnownRows, digest
from ..images.decoding import UnreadableImageError, decode_resized, decode_with_facts
from ..images.facts import FACTS, FACTS_COLUMN
from ..images.memory import reserve_memory
from ..images.views import View, sizes_of
from ..sources import ImageFile, raise_if_system_error, unreadable_reason

LOADED = np.dtype([("position", "<i8"), ("digest", "u1", (16,)), ("facts", FACTS), ("views", "<u4")])
"""What is known of a loaded file: its index in the sequence of files; the digest of its bytes, zeros if it could not be
read; its measurements, NaN if they were not missing; and which views have pixels, one bit for each."""


class StageTimer:
    """Seconds of work by stage, summed over its threads.

    Attributes
    ----------
    seconds : dict of str to float
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = Lock()

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the time within this context to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds to a stage."""
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An image file that was read and decoded.

    Parameters
    ----------
    digest : ndarray of shape (16,), uint8
        Digest of the file's bytes; zeros if the file could not be read.
    pixels : dict of View to ndarray of shape (size, size, 3), uint8
        Pixels of each missing view; empty if no view is missing, or the image is unreadable.
    facts : record of `images.facts.FACTS` or None
        Measurements of the image, if they were missing.
    reason : str or None
        Why the image is unreadable.
    """

    digest: NDArray[np.uint8]
    pixels: dict[View, NDArray[np.uint8]] = field(default_factory=dict)
    facts: np.void | None = None
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class LoadedImages:
    """Image files that were read and decoded.

    Parameters
    ----------
    records : ndarray of shape (n,), LOADED
    reasons : dict of int to str
        Why images are unreadable, by position.
    pixels : dict of View to ndarray of shape (n, size, size, 3), uint8
        Pixels of the views that these images miss, all the same. (Of a chunk: one row for each image that misses any
        view, undefined in the views that it does not miss.)
    slot : int or None
        The part of the shared memory that holds the pixels.
    """

    records: NDArray[Any]
    reasons: dict[int, str] = field(default_factory=dict)
    pixels: Mapping[View, NDArray[np.uint8]] = field(default_factory=dict)
    slot: int | None = None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, rows: slice) -> "LoadedImages":
        pixels = {view: of_view[rows] for view, of_view in self.pixels.items()}
        return replace(self, records=self.records[rows], pixels=pixels)


@dataclass(frozen=True, eq=False)
class ChunkLoader:
    """Loads files, in one or several threads.

    Parameters
    ----------
    views : sequence of View
    known : KnownRows, optional
        Rows of the cache. Files whose bytes have all rows are not decoded, and identical files are decoded once.
    timer : StageTimer
        Records the time for reading and decoding.
    stopping : Event
        Once it is set, no further file is loaded.
    seen : dict of bytes to int
        The position of the first file with each digest.
    decoders : context manager or None
        Entered to decode; a semaphore limits how many of the threads do.
    fail_fast : bool
        Whether `compute_rows` raises an error for an unreadable image, also for one that is known to be.
    """

    views: Sequence[View]
    known: KnownRows | None = None
    timer: StageTimer = field(default_factory=StageTimer)
    stopping: Event = field(default_factory=Event)
    seen: dict[bytes, int] = field(default_factory=dict)
    decoders: AbstractContextManager[object] | None = None
    fail_fast: bool = False

    def load(self, files: Sequence[ImageFile], first: int, pixels: Mapping[View, NDArray[np.uint8]]) -> LoadedImages:
        """Load a chunk of files, the first of which is at the position `first`; write into `pixels`.

        Raises
        ------
        CatsDogsError
            The disk, the memory or a connection fails: the other files would fail, too, and readable images must not be
            recorded as unreadable.
        """
        records, reasons, used = np.zeros(len(files), LOADED), dict[int, str](), 0
        records["position"], records["facts"] = np.arange(first, first + len(files)), np.nan
        for row, file in enumerate(files):
            if self.stopping.is_set():
                break
            image = self.load_one(file, first + row)
            records["digest"][row] = image.digest
            if image.reason is not None:
                reasons[first + row] = image.reason
            if image.facts is not None:
                records["facts"][row] = image.facts
            for bit, view in enumerate(self.views):
                if view in image.pixels:
                    pixels[view][used] = image.pixels[view]
                    records["views"][row] |= 1 << bit
            used += bool(image.pixels)
        return LoadedImages(records, reasons, pixels)

    def load_one(self, file: ImageFile, position: int = 0) -> LoadedImage:
        """Read and digest a file, and decode it for its missing views.

        A large file is decoded outside `decoders`, in which others may wait for the memory that this one holds.
        """
        with reserve_memory(file.size()) as reserved:
            try:
                with self.timer.time("read"):
                    data = file.read()
                    identity = digest(data)
            except OSError as error:
                return LoadedImage(np.zeros(16, np.uint8), reason=unreadable_reason(error))
            missing: Collection[str] = [view.name for view in self.views]
            if known := self.known:
                key = identity.tobytes()
                # `setdefault` is atomic: another thread may read an identical file.
                copied = known.share_copies and self.seen.setdefault(key, position) != position
                missing = () if copied else known.missing.get(key, known.columns)
            if not missing:
                return LoadedImage(identity)
            views, facts = [view for view in self.views if view.name in missing], None
            try:
                with self.decoders if self.decoders and not reserved else nullcontext(), self.timer.time("decode"):
                    if FACTS_COLUMN in missing:
                        resized, facts = decode_with_facts(data, sizes_of(views), reserved=reserved)
                    else:
                        resized = decode_resized(data, sizes_of(views), reserved=reserved)
            except UnreadableImageError as error:
                return LoadedImage(identity, reason=str(error))
            except MemoryError as error:
                raise_if_system_error(error, file.display_path)
                raise
        return LoadedImage(identity, {view: view.of(resized) for view in views}, facts)


def sample_images(files: Sequence[ImageFile], sizes: Sequence[int], *, count: int) -> dict[int, NDArray[np.uint8]]:
    """Decode a sample of the readable files, drawn with a fixed seed, so that it is identical on every machine.

    Returns
    -------
    images : dict of int to ndarray of shape (n, size, size, 3), uint8
        `count` images by size, or fewer if there are not as many.
    """
    loader = ChunkLoader([View(size) for size in sizes])
    drawn = np.random.default_rng(0).permutation(len(files)).tolist()
    loaded = (loader.load_one(files[position]) for position in drawn)
    found = list(islice((image.pixels for image in loaded if image.pixels), count))
    return {
        view.size: np.array([pixels[view] for pixels in found], np.uint8).reshape(-1, view.size, view.size, 3)
        for view in loader.views
    }
