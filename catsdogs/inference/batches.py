"""Compute feature rows of decoded images, in batches.

Images without missing views pass through. The others are collected into batches, which threads compute while other
threads decode and the caller writes.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES, Backbone
from ..cache import KnownRows
from ..images.views import View
from ..progress import Progress, tell
from ..sources import ImageFile
from .loading import LoadedImage, load_images
from .timing import StageTimer


@dataclass(frozen=True, eq=False)
class ComputedRow:
    """The result for one file.

    It has neither features nor a reason if the cache already has the row, or an earlier file is identical.

    Parameters
    ----------
    position : int
        Index of the file in the sequence of files.
    digest : ndarray of shape (16,), uint8
        Digest of the file's bytes; zeros if the file could not be read.
    features : dict of View to ndarray of shape (2048,), float32
        Features of the views that were missing.
    facts : record of `images.facts.FACTS` or None
        Measurements of the image, if they were missing.
    reason : str or None
        Why the image has no features.
    """

    position: int
    digest: NDArray[np.uint8]
    features: dict[View, NDArray[np.float32]] = field(default_factory=dict)
    facts: np.void | None = None
    reason: str | None = None


@contextmanager
def compute_rows(
    files: Sequence[ImageFile],
    views: Sequence[View],
    backbone: Callable[[], Backbone],
    *,
    known: KnownRows | None = None,
    timer: StageTimer,
) -> Iterator[Iterator[ComputedRow]]:
    """Start reading and decoding; yield an iterator with one row for each file.

    Rows with features come in batches, so the rows are not in the order of the files. When the context ends, also by an
    error, all its threads have ended.

    Parameters
    ----------
    files, views, known
        As for `load_images`.
    backbone : callable
        Returns the backbone; called only when the first image needs features.
    timer : StageTimer
        Records the time for reading, decoding and computing.

    Raises
    ------
    CatsDogsError
        From the iterator, as for `load_images`.
    """
    with (
        load_images(files, views, known=known, timer=timer) as images,
        closing(_compute_batches(images, backbone, timer)) as rows,
    ):
        yield rows


def compute_all(
    files: Sequence[ImageFile],
    views: Sequence[View],
    backbone: Callable[[], Backbone],
    step: str,
    *,
    progress: Progress | None = None,
) -> tuple[list[ComputedRow], NDArray[np.float32]]:
    """Compute all rows and keep them in memory, 8 KB for each image and view.

    Parameters
    ----------
    files, views, backbone
        As for `compute_rows`.
    step : str
        Name of the step for `progress`.
    progress : callable, optional

    Returns
    -------
    rows : list of ComputedRow
        In the order of the files.
    features : ndarray of shape (n, views * 2048), float32
        Features of the rows, with the views side by side; NaN if a row has none.

    Raises
    ------
    CatsDogsError
        As for `compute_rows`.
    """
    rows: list[ComputedRow] = []
    features = np.full((len(files), len(views), N_FEATURES), np.nan, np.float32)
    with compute_rows(files, views, backbone, timer=StageTimer()) as computed:
        for row in computed:
            rows.append(row)
            for view, values in row.features.items():
                features[row.position, views.index(view)] = values
            tell(progress, step, len(rows), len(files))
    rows.sort(key=lambda row: row.position)
    return rows, features.reshape(len(files), len(views) * N_FEATURES)


def _compute_batches(
    images: Iterable[LoadedImage], backbone: Callable[[], Backbone], timer: StageTimer
) -> Generator[ComputedRow]:
    """Collect batches; compute `backbone().streams` of them at the same time, and keep one more in the queue."""
    batch: list[LoadedImage] = []
    computing: deque[Future[list[ComputedRow]]] = deque()
    threads: ThreadPoolExecutor | None = None
    with ExitStack() as stack:
        for image in images:
            if not image.pixels:
                yield ComputedRow(image.position, image.digest, facts=image.facts, reason=image.reason)
                continue
            if threads is None:
                threads = ThreadPoolExecutor(backbone().streams, thread_name_prefix="compute")
                stack.callback(threads.shutdown, cancel_futures=True)
            batch.append(image)
            if len(batch) == backbone().batch_size:
                computing.append(threads.submit(_compute, batch, backbone(), timer))
                batch = []
            if len(computing) > backbone().streams:
                yield from computing.popleft().result()
        if threads and batch:
            computing.append(threads.submit(_compute, batch, backbone(), timer))
        while computing:
            yield from computing.popleft().result()


def _compute(batch: Sequence[LoadedImage], backbone: Backbone, timer: StageTimer) -> list[ComputedRow]:
    """Compute the missing views of a batch of images."""
    rows = [ComputedRow(image.position, image.digest, facts=image.facts) for image in batch]
    with timer.time("compute"):
        for view in {view for image in batch for view in image.pixels}:
            missing = [(row, image) for row, image in zip(rows, batch, strict=True) if view in image.pixels]
            computed = backbone.features(np.stack([image.pixels[view] for _, image in missing]))
            for (row, _), features in zip(missing, computed, strict=True):
                row.features[view] = features
    return rows
