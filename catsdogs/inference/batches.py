"""Image files come in; a row for each goes out: its features, or the reason why it has none.

Threads read, digest and decode some way ahead, in the files' order. What the caller has already is passed by; the
rest is gathered into batches, which other threads put through the backbone while the first go on decoding and the
caller writes.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ..backbone import Backbone
from ..cache import WIDTH, digest
from ..images.decoding import UnreadableImageError, decode_resized, reserve_memory
from ..images.views import View, sizes_of
from ..progress import Progress
from ..sources import ImageFile, raise_if_system_error, unreadable_reason
from .timing import StageTimer

THREADS = 8
"""More of them only wait for one another, as there is a part of each image that one thread at a time does: on 16 cores
of a Xeon 16 threads handed over 1,361 photographs a second, 8 did 1,745 (nothing computed)."""

CHUNK_SIZE, MAX_CHUNK_BYTES, PREFETCH = 8, 2 << 20, 4
"""How many images a thread reads and decodes before it hands them over, as each handing over costs the more the more
threads there are; how many bytes their pixels may take; and how many such chunks there are for each thread, being
decoded or waiting: 5 MB for one view of 224."""


@dataclass(frozen=True, eq=False)
class Row:
    """What became of one file. Neither features nor reason: the caller had it already.

    Parameters
    ----------
    position : int
        Of the file among those given.
    digest : ndarray of shape (16,), uint8
        Of the file's bytes; zeros where it could not be read.
    features : ndarray of shape (views, 2048), float32, or None
        One row for each view that was lacking.
    reason : str or None
        Why there are no features.
    """

    position: int
    digest: NDArray[np.uint8]
    features: NDArray[np.float32] | None = None
    reason: str | None = None


LoadedImage = tuple[Row, dict[View, NDArray[np.uint8]]]
"""A row without features, and the pixels of the views that it lacks."""


def decoding_threads() -> int:
    """Return how many threads read and decode: one for each core, up to `THREADS`."""
    from joblib import cpu_count

    return min(int(cpu_count()), THREADS)


@contextmanager
def compute_rows(
    files: Sequence[ImageFile],
    backbone: Callable[[], Backbone],
    views: Sequence[View],
    missing_views: Callable[[int, NDArray[np.uint8]], Sequence[View]],
    *,
    meter: StageTimer,
) -> Iterator[Iterator[Row]]:
    """Start reading and decoding; give an iterator of a row for each file, those that are computed in batches.

    Parameters
    ----------
    files : sequence of ImageFile
    backbone : callable
        Returns the backbone; called when the first image is there to be computed, and not if there is none.
    views : sequence of View
        All that there are.
    missing_views : callable
        Says of a position and a digest which of them are to be computed; called from several threads.
    meter : StageTimer
        Told how long reading, decoding and computing took.

    Raises
    ------
    CatsDogsError
        From the iterator: the machine fails, its disk, its memory or a connection, rather than one image. What else
        there is to read would fare no better, and good rows are not to be taken for bad ones.
    """
    closing = Event()

    def see(positions: Sequence[int]) -> list[LoadedImage]:
        return [load_image(files, missing_views, meter, position) for position in positions if not closing.is_set()]

    count = decoding_threads()
    threads = ThreadPoolExecutor(count, thread_name_prefix="decode")
    chunks = iter(_chunks(len(files), count, views))
    ahead = deque(threads.submit(see, positions) for positions in islice(chunks, PREFETCH * count))

    def seen_in_order() -> Iterator[LoadedImage]:
        while ahead:
            yield from ahead.popleft().result()
            ahead.extend(threads.submit(see, positions) for positions in islice(chunks, 1))

    try:
        yield _computed(seen_in_order(), backbone, meter)
    finally:
        closing.set()
        threads.shutdown(cancel_futures=True)


def compute_all(
    files: Sequence[ImageFile],
    backbone: Callable[[], Backbone],
    views: Sequence[View],
    step: str,
    *,
    progress: Progress | None = None,
) -> tuple[list[Row], NDArray[np.float32]]:
    """Compute all rows and keep them in memory: 8 KB an image and view.

    Parameters
    ----------
    files, backbone
        As for `compute_rows`.
    views : sequence of View
    step : str
        What `progress` is told.
    progress : callable, optional

    Returns
    -------
    rows : list of Row
        In the order of the files.
    features : ndarray of shape (n, views * 2048), float32
        Theirs; NaN where a row has none.

    Raises
    ------
    CatsDogsError
        As for `compute_rows`.
    """
    rows: list[Row] = []
    with compute_rows(files, backbone, views, lambda position, digest: views, meter=StageTimer()) as computed:
        for row in computed:
            rows.append(row)
            if progress:
                progress(step, len(rows), len(files))
    rows.sort(key=lambda row: row.position)
    nothing = np.full((len(views), WIDTH), np.nan, np.float32)
    features = [nothing if row.features is None else row.features for row in rows]
    return rows, np.reshape(np.array(features, np.float32), (len(rows), len(views) * WIDTH))


def sample_images(files: Sequence[ImageFile], sizes: Sequence[int], *, count: int) -> dict[int, NDArray[np.uint8]]:
    """Decode some of the files that can be read, drawn by a fixed seed: the same whatever the machine.

    Returns
    -------
    pictures : dict of int to ndarray of shape (n, size, size, 3), uint8
        By size, `count` of them, or as many as there are.
    """
    views = [View(size) for size in sizes]
    drawn = np.random.default_rng(0).permutation(len(files)).tolist()
    seen = (load_image(files, lambda position, digest: views, StageTimer(), position) for position in drawn)
    found = list(islice((pixels for _, pixels in seen if pixels), count))
    return {
        view.size: np.array([pixels[view] for pixels in found], np.uint8).reshape(-1, view.size, view.size, 3)
        for view in views
    }


def _chunks(files: int, threads: int, views: Sequence[View]) -> list[range]:
    """Return the positions that a thread sees to at a time: fewer where there are few, or where each takes much."""
    pixels = sum(3 * size**2 for size in sizes_of(views))
    together = max(1, min(CHUNK_SIZE, files // threads, MAX_CHUNK_BYTES // pixels))
    return [range(start, min(start + together, files)) for start in range(0, files, together)]


def load_image(
    files: Sequence[ImageFile],
    missing_views: Callable[[int, NDArray[np.uint8]], Sequence[View]],
    meter: StageTimer,
    position: int,
) -> LoadedImage:
    """Read and digest a file, and decode it once for all the views that it lacks."""
    with reserve_memory(files[position].size()) as counted:
        try:
            with meter.time("read"):
                data = files[position].read()
                row = Row(position, digest(data))
        except OSError as error:
            return Row(position, np.zeros(16, np.uint8), reason=unreadable_reason(error)), {}
        views = missing_views(position, row.digest)
        if not views:
            return row, {}
        try:
            with meter.time("decode"):
                squares = decode_resized(data, sizes_of(views), counted=counted)
        except UnreadableImageError as error:
            return replace(row, reason=str(error)), {}
        except MemoryError as error:
            raise_if_system_error(error, files[position].where)
            raise
    return row, {view: view.of(squares) for view in views}


def _computed(seen: Iterator[LoadedImage], backbone: Callable[[], Backbone], meter: StageTimer) -> Iterator[Row]:
    """Gather batches, and keep as many of them computing as the backbone takes, and one more ready."""
    batch: list[LoadedImage] = []
    computing: deque[Future[list[Row]]] = deque()
    threads: ThreadPoolExecutor | None = None
    try:
        for row, pixels in seen:
            if not pixels:
                yield row
                continue
            if threads is None:
                threads = ThreadPoolExecutor(backbone().streams, thread_name_prefix="compute")
            batch.append((row, pixels))
            if len(batch) == backbone().batch:
                computing.append(threads.submit(_compute, batch, backbone(), meter))
                batch = []
            if len(computing) > backbone().streams:
                yield from computing.popleft().result()
        if threads is not None and batch:
            computing.append(threads.submit(_compute, batch, backbone(), meter))
        while computing:
            yield from computing.popleft().result()
    finally:
        if threads is not None:
            threads.shutdown(cancel_futures=True)


def _compute(batch: Sequence[LoadedImage], backbone: Backbone, meter: StageTimer) -> list[Row]:
    """Compute each view of those images of a batch that lack it."""
    with meter.time("compute"):
        features: list[dict[View, NDArray[np.float32]]] = [{} for _ in batch]
        for view in {view for _, pixels in batch for view in pixels}:
            lacking = [place for place, (_, pixels) in enumerate(batch) if view in pixels]
            computed = backbone.features(np.stack([batch[place][1][view] for place in lacking]))
            for place, of_view in zip(lacking, computed, strict=True):
                features[place][view] = of_view
    return [
        replace(row, features=np.stack([of_views[view] for view in pixels]))
        for (row, pixels), of_views in zip(batch, features, strict=True)
    ]
