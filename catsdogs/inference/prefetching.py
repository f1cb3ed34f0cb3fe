"""Load image files in threads or processes, a limited number ahead."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain
from threading import BoundedSemaphore, Semaphore

import numpy as np

from ..images.views import View, sizes_of
from ..sources import ImageFile
from ..sources.remote import READERS
from ..threads import cpu_count
from .loading import ChunkLoader, LoadedImages
from .processes import DecodingProcesses, start_processes

THREADS = 8
"""Maximum number of threads. More threads are slower, because one part of the work on an image runs in only one thread
at a time: on 16 cores of a Xeon 16 threads loaded 1,361 photographs per second, and 8 threads 1,745 (no features)."""

CHUNK_SIZE, MAX_CHUNK_BYTES, PREFETCH = 8, 2 << 20, 4
"""Maximum images in a chunk, which one thread reads and decodes before it returns them, as each return costs more the
more threads there are; maximum bytes of pixels in a chunk; and number of chunks for each thread that are being decoded
or waiting: 5 MB for one view of 224 pixels."""

REMOTE_PREFETCH = 2
"""The same number of chunks for each of the threads that read from a network: 77 MB for one view of 224 pixels."""


class LoadedAhead(AbstractContextManager["LoadedAhead"]):
    """An iterable of loaded images, in the order of the files; a context manager, which ends all threads.

    The images of one item miss the same views. The pixels of an item with a slot are valid until `release`.

    Parameters
    ----------
    files : sequence of ImageFile
    loader : ChunkLoader
    decoder : _Threads or DecodingProcesses
        Loads chunks, each in the thread that calls it: one of `threads`. A chunk is drawn when it is time to load it,
        and `slots` chunks may be loading, or loaded and not released.
    """

    def __init__(
        self, files: Sequence[ImageFile], loader: ChunkLoader, decoder: "_Threads | DecodingProcesses"
    ) -> None:
        self.files, self.loader, self._decoder = files, loader, decoder
        self._ahead, self._free = deque[Future[LoadedImages]](), Semaphore(decoder.slots)
        self._threads = ThreadPoolExecutor(decoder.threads, thread_name_prefix="decode")
        self._submit()

    def __exit__(self, *raised: object) -> None:
        self._decoder.close()
        self._threads.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[LoadedImages]:
        while self._ahead:
            loaded = self._ahead.popleft().result()
            if loaded.slot is None:
                self._free.release()
            by_views = self._by_views(loaded)
            self._submit()
            yield from by_views
            # The caller has all images now, and releases them once they are computed.
            self._submit(wait=not self._ahead)

    def release(self, slot: int | None) -> None:
        """Allow the slot of an item, if it has one, to be used again."""
        if slot is not None:
            self._decoder.release(slot)
            self._free.release()

    def _submit(self, *, wait: bool = False) -> None:
        """Load as many chunks as there are free slots; `wait` for the first one."""
        while self._free.acquire(blocking=wait and not self._ahead):
            if not (chunk := next(self._decoder.chunks, None)):
                self._free.release()
                break
            self._ahead.append(self._threads.submit(self._decoder.load, chunk))

    def _by_views(self, loaded: LoadedImages) -> list[LoadedImages]:
        """Divide a chunk into images that miss the same views; the slot stays with those that fill it."""
        records = loaded.records
        with_pixels = np.flatnonzero(records["views"])
        self._drop_copies(records)
        divided, slot = [], loaded.slot
        if len(rest := records[records["views"] == 0]):
            divided.append(LoadedImages(rest, loaded.reasons))
        codes = records["views"][with_pixels]
        for code in sorted({*codes[codes > 0].tolist()}):  # the import that np.unique needs takes 13 ms
            rows = np.flatnonzero(codes == code)
            pixels = {view: loaded.pixels[view] for bit, view in enumerate(self.loader.views) if code & 1 << bit}
            whole = all(len(rows) == len(of_view) for of_view in pixels.values())
            if not whole:
                pixels = {view: of_view[rows] for view, of_view in pixels.items()}  # copies
            divided.append(LoadedImages(records[with_pixels[rows]], {}, pixels, slot if whole else None))
            slot = None if whole else slot
        self.release(slot)
        return divided

    def _drop_copies(self, records: np.ndarray) -> None:
        """Drop what was loaded of a file whose bytes are those of an earlier one: processes decode such copies each."""
        if not (self.loader.known and self.loader.known.share_copies):
            return
        digests, positions = records["digest"].tobytes(), records["position"].tolist()
        loaded = np.flatnonzero((records["views"] > 0) | ~np.isnan(records["facts"]["width"])).tolist()
        copies = [
            row
            for row in loaded
            if self.loader.seen.setdefault(digests[16 * row : 16 * row + 16], positions[row]) != positions[row]
        ]
        records["views"][copies], records["facts"][copies] = 0, np.nan


class _Threads:
    """Decodes in the threads that call it."""

    def __init__(self, files: Sequence[ImageFile], ranges: Iterable[range], loader: ChunkLoader) -> None:
        self.threads, self.slots = reading_threads(files)
        if self.threads > decoding_threads():
            loader = replace(loader, decoders=BoundedSemaphore(decoding_threads()))
        self.chunks: Iterator[range] = chain.from_iterable(
            chunk_positions(at, self.threads, loader.views) for at in ranges
        )
        self._files, self._loader = files, loader

    def load(self, positions: range) -> LoadedImages:
        shapes = {view: (len(positions), view.size, view.size, 3) for view in self._loader.views}
        pixels = {view: np.empty(shape, np.uint8) for view, shape in shapes.items()}
        return self._loader.load(self._files[positions.start : positions.stop], positions.start, pixels)

    def release(self, slot: int) -> None:
        raise NotImplementedError("nothing of it has a slot")

    def close(self) -> None:
        self._loader.stopping.set()


def reading_threads(files: Sequence[ImageFile]) -> tuple[int, int]:
    """Return the number of threads that read, and of chunks that are loading or waiting."""
    remote = any(file.is_remote for file in files)
    threads, prefetch = (READERS, REMOTE_PREFETCH) if remote else (decoding_threads(), PREFETCH)
    return threads, prefetch * threads


def decoding_threads() -> int:
    """Return the number of threads that read and decode: one for each core, up to `THREADS`."""
    return min(cpu_count(), THREADS)


def load_images(
    files: Sequence[ImageFile], loader: ChunkLoader, *, ranges: Iterable[range] | None = None
) -> LoadedAhead:
    """Start reading and decoding; return an iterable of loaded images, in the order of the files, to be used by `with`.

    Images that miss different views come in different items, so neighbours may change places.

    Parameters
    ----------
    files : sequence of ImageFile
    loader : ChunkLoader
        A new one.
    ranges : iterable of range, optional
        The positions of the files to load, each range drawn when it is time to load it; by default all.

    Raises
    ------
    CatsDogsError
        From the iterator, if the disk, the memory or a connection fails: the other files would fail, too, and readable
        images must not be recorded as unreadable.
    """
    # Ranges that come one by one may be few, and what is known may change between them: threads see it at once.
    processes = start_processes(files, loader) if ranges is None else None
    ranges = [range(len(files))] if ranges is None else ranges
    return LoadedAhead(files, loader, processes or _Threads(files, ranges, loader))


def chunk_positions(positions: range, threads: int, views: Sequence[View]) -> list[range]:
    """Divide the positions into chunks for threads: smaller ones if there are few files, or views have many pixels."""
    pixels = max(1, sum(3 * size**2 for size in sizes_of(views)))
    together = max(1, min(CHUNK_SIZE, len(positions) // threads, MAX_CHUNK_BYTES // pixels))
    return [positions[start : start + together] for start in range(0, len(positions), together)]
