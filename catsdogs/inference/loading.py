"""Read, digest and decode image files, in threads that prefetch a limited number of images."""

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ..cache import KnownRows, digest
from ..images.decoding import UnreadableImageError, decode_resized, decode_with_facts
from ..images.facts import FACTS_COLUMN
from ..images.memory import reserve_memory
from ..images.views import View, sizes_of
from ..sources import ImageFile, raise_if_system_error, unreadable_reason
from ..threads import cpu_count
from .timing import StageTimer

THREADS = 8
"""Maximum number of threads. More threads are slower, because one part of the work on an image runs in only one thread
at a time: on 16 cores of a Xeon 16 threads loaded 1,361 photographs per second, and 8 threads 1,745 (no features)."""

CHUNK_SIZE, MAX_CHUNK_BYTES, PREFETCH = 8, 2 << 20, 4
"""Maximum images in a chunk, which one thread reads and decodes before it returns them, as each return costs more the
more threads there are; maximum bytes of pixels in a chunk; and number of chunks for each thread that are being decoded
or waiting: 5 MB for one view of 224 pixels."""


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An image file that was read and decoded.

    Parameters
    ----------
    position : int
        Index of the file in the sequence of files.
    digest : ndarray of shape (16,), uint8
        Digest of the file's bytes; zeros if the file could not be read.
    pixels : dict of View to ndarray of shape (size, size, 3), uint8
        Pixels of each missing view; empty if no view is missing, or the image is unreadable.
    facts : record of `images.facts.FACTS` or None
        Measurements of the image, if they were missing.
    reason : str or None
        Why the image is unreadable.
    """

    position: int
    digest: NDArray[np.uint8]
    pixels: dict[View, NDArray[np.uint8]] = field(default_factory=dict)
    facts: np.void | None = None
    reason: str | None = None


def decoding_threads() -> int:
    """Return the number of threads that read and decode: one for each core, up to `THREADS`."""
    return min(cpu_count(), THREADS)


@contextmanager
def load_images(
    files: Sequence[ImageFile], views: Sequence[View], *, known: KnownRows | None = None, timer: StageTimer
) -> Iterator[Iterator[LoadedImage]]:
    """Start reading and decoding; yield an iterator with one image for each file, in the order of the files.

    Parameters
    ----------
    files : sequence of ImageFile
    views : sequence of View
    known : KnownRows, optional
        Rows of the cache. Files whose bytes have all rows are not decoded, and identical files are decoded once.
    timer : StageTimer
        Records the time for reading and decoding.

    Raises
    ------
    CatsDogsError
        From the iterator, if the disk, the memory or a connection fails: the other files would fail, too, and readable
        images must not be recorded as unreadable.
    """
    stopping = Event()
    seen = None if known is None else dict[bytes, int]()

    def load(positions: Sequence[int]) -> list[LoadedImage]:
        return [load_image(files, at, views, known, timer, seen=seen) for at in positions if not stopping.is_set()]

    count = decoding_threads()
    threads = ThreadPoolExecutor(count, thread_name_prefix="decode")
    chunks = iter(chunk_positions(len(files), count, views))
    ahead = deque(threads.submit(load, positions) for positions in islice(chunks, PREFETCH * count))

    def loaded_in_order() -> Iterator[LoadedImage]:
        while ahead:
            yield from ahead.popleft().result()
            ahead.extend(threads.submit(load, positions) for positions in islice(chunks, 1))

    try:
        yield loaded_in_order()
    finally:
        stopping.set()
        threads.shutdown(cancel_futures=True)


def load_image(
    files: Sequence[ImageFile],
    position: int,
    views: Sequence[View],
    known: KnownRows | None,
    timer: StageTimer,
    *,
    seen: dict[bytes, int] | None = None,
) -> LoadedImage:
    """Read and digest a file, and decode it for its missing views.

    `seen` has the position of the first file with each digest; later files with identical bytes are not decoded.
    """
    with reserve_memory(files[position].size()) as reserved:
        try:
            with timer.time("read"):
                data = files[position].read()
                identity = digest(data)
        except OSError as error:
            return LoadedImage(position, np.zeros(16, np.uint8), reason=unreadable_reason(error))
        missing: Collection[str] = [view.name for view in views]
        if known is not None and seen is not None:
            key = identity.tobytes()
            # `setdefault` is atomic: another thread may read an identical file.
            missing = () if seen.setdefault(key, position) != position else known.missing.get(key, known.columns)
        if not missing:
            return LoadedImage(position, identity)
        views, facts = [view for view in views if view.name in missing], None
        try:
            with timer.time("decode"):
                if FACTS_COLUMN in missing:
                    resized, facts = decode_with_facts(data, sizes_of(views), reserved=reserved)
                else:
                    resized = decode_resized(data, sizes_of(views), reserved=reserved)
        except UnreadableImageError as error:
            return LoadedImage(position, identity, reason=str(error))
        except MemoryError as error:
            raise_if_system_error(error, files[position].display_path)
            raise
    return LoadedImage(position, identity, {view: view.of(resized) for view in views}, facts)


def sample_images(files: Sequence[ImageFile], sizes: Sequence[int], *, count: int) -> dict[int, NDArray[np.uint8]]:
    """Decode a sample of the readable files, drawn with a fixed seed, so that it is identical on every machine.

    Returns
    -------
    images : dict of int to ndarray of shape (n, size, size, 3), uint8
        `count` images by size, or fewer if there are not as many.
    """
    views = [View(size) for size in sizes]
    drawn = np.random.default_rng(0).permutation(len(files)).tolist()
    loaded = (load_image(files, position, views, None, StageTimer()) for position in drawn)
    found = list(islice((image.pixels for image in loaded if image.pixels), count))
    return {
        view.size: np.array([pixels[view] for pixels in found], np.uint8).reshape(-1, view.size, view.size, 3)
        for view in views
    }


def chunk_positions(files: int, threads: int, views: Sequence[View]) -> list[range]:
    """Divide the positions into chunks for threads: smaller ones if there are few files, or views have many pixels."""
    pixels = max(1, sum(3 * size**2 for size in sizes_of(views)))
    together = max(1, min(CHUNK_SIZE, files // threads, MAX_CHUNK_BYTES // pixels))
    return [range(start, min(start + together, files)) for start in range(0, files, together)]
