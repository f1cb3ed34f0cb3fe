"""Compute feature rows from image files, in batches.

Threads read, digest and decode some way ahead, in the files' order. What the caller has already is passed by; the
rest is gathered into batches, which other threads put through the backbone while the first go on decoding and the
caller writes.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES, Backbone
from ..images.views import View
from ..progress import Progress
from ..sources import ImageFile
from .loading import PREFETCH, LoadedImage, chunk_positions, decoding_threads, load_image
from .timing import StageTimer


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
        One row for each view that was missing.
    reason : str or None
        Why there are no features.
    """

    position: int
    digest: NDArray[np.uint8]
    features: NDArray[np.float32] | None = None
    reason: str | None = None


@contextmanager
def compute_rows(
    files: Sequence[ImageFile],
    backbone: Callable[[], Backbone],
    views: Sequence[View],
    missing_views: Callable[[int, NDArray[np.uint8]], Sequence[View]],
    *,
    timer: StageTimer,
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
    timer : StageTimer
        Told how long reading, decoding and computing took.

    Raises
    ------
    CatsDogsError
        From the iterator: the machine fails, its disk, its memory or a connection, rather than one image. What else
        there is to read would fare no better, and good rows are not to be taken for bad ones.
    """
    closing = Event()

    def load(positions: Sequence[int]) -> list[LoadedImage]:
        return [load_image(files, missing_views, timer, position) for position in positions if not closing.is_set()]

    count = decoding_threads()
    threads = ThreadPoolExecutor(count, thread_name_prefix="decode")
    chunks = iter(chunk_positions(len(files), count, views))
    ahead = deque(threads.submit(load, positions) for positions in islice(chunks, PREFETCH * count))

    def loaded_in_order() -> Iterator[LoadedImage]:
        while ahead:
            yield from ahead.popleft().result()
            ahead.extend(threads.submit(load, positions) for positions in islice(chunks, 1))

    try:
        yield _computed(loaded_in_order(), backbone, timer)
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
    with compute_rows(files, backbone, views, lambda position, digest: views, timer=StageTimer()) as computed:
        for row in computed:
            rows.append(row)
            if progress:
                progress(step, len(rows), len(files))
    rows.sort(key=lambda row: row.position)
    nothing = np.full((len(views), N_FEATURES), np.nan, np.float32)
    features = [nothing if row.features is None else row.features for row in rows]
    return rows, np.reshape(np.array(features, np.float32), (len(rows), len(views) * N_FEATURES))


def _computed(loaded: Iterator[LoadedImage], backbone: Callable[[], Backbone], timer: StageTimer) -> Iterator[Row]:
    """Gather batches, and keep as many of them computing as the backbone takes, and one more ready."""
    batch: list[LoadedImage] = []
    computing: deque[Future[list[Row]]] = deque()
    threads: ThreadPoolExecutor | None = None
    try:
        for image in loaded:
            if not image.pixels:
                yield Row(image.position, image.digest, reason=image.reason)
                continue
            if threads is None:
                threads = ThreadPoolExecutor(backbone().streams, thread_name_prefix="compute")
            batch.append(image)
            if len(batch) == backbone().batch:
                computing.append(threads.submit(_compute, batch, backbone(), timer))
                batch = []
            if len(computing) > backbone().streams:
                yield from computing.popleft().result()
        if threads is not None and batch:
            computing.append(threads.submit(_compute, batch, backbone(), timer))
        while computing:
            yield from computing.popleft().result()
    finally:
        if threads is not None:
            threads.shutdown(cancel_futures=True)


def _compute(batch: Sequence[LoadedImage], backbone: Backbone, timer: StageTimer) -> list[Row]:
    """Compute each view of those images of a batch that lack it."""
    with timer.time("compute"):
        features: list[dict[View, NDArray[np.float32]]] = [{} for _ in batch]
        for view in {view for image in batch for view in image.pixels}:
            missing = [place for place, image in enumerate(batch) if view in image.pixels]
            computed = backbone.features(np.stack([batch[place].pixels[view] for place in missing]))
            for place, of_view in zip(missing, computed, strict=True):
                features[place][view] = of_view
    return [
        Row(image.position, image.digest, np.stack([of_views[view] for view in image.pixels]))
        for image, of_views in zip(batch, features, strict=True)
    ]
