"""Image files come in; a row for each goes out: its features, or the reason why it has none.

Threads read, digest and decode some way ahead, in the files' order. What the caller has already is passed by; the
rest is gathered into batches and computed by the backbone while the threads go on.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .backbone import Backbone
from .cache import WIDTH, digest
from .images import UnreadableImageError, decode, room_to_read
from .progress import Progress
from .sources import ImageFile, must_be_the_file_s_own

AHEAD = 64
"""How many images may wait between the threads and the backbone: 10 MB of pixels."""


@dataclass(frozen=True, eq=False)
class Row:
    """What became of one file. Neither features nor reason: the caller had it already.

    Parameters
    ----------
    position : int
        Of the file among those given.
    digest : ndarray of shape (16,), uint8
        Of the file's bytes; zeros where it could not be read.
    features : ndarray of shape (2048,), float32, or None
    reason : str or None
        Why there are no features.
    """

    position: int
    digest: NDArray[np.uint8]
    features: NDArray[np.float32] | None = None
    reason: str | None = None


def compute_rows(
    files: Sequence[ImageFile],
    backbone: Callable[[], Backbone],
    *,
    has: Callable[[int, NDArray[np.uint8]], bool] = lambda position, digest: False,
) -> Iterator[Row]:
    """Yield a row for each file, those that need computing a batch at a time.

    Parameters
    ----------
    files : sequence of ImageFile
    backbone : callable
        Returns the backbone; called when the first image is there to be computed, and not if there is none.
    has : callable
        Says of a position and a digest whether the caller has that row already; called from several threads.

    Raises
    ------
    CatsDogsError
        The machine fails, its disk, its memory or a connection, rather than one image: what else there is to read
        would fare no better, and good rows are not to be taken for bad ones.
    """
    batch: list[tuple[Row, NDArray[np.uint8]]] = []
    for row, pixels in _seen_in_order(files, has):
        if pixels is None:
            yield row
            continue
        batch.append((row, pixels))
        if len(batch) == backbone().batch:
            yield from _compute(batch, backbone())
            batch = []
    if batch:
        yield from _compute(batch, backbone())


def compute_all(
    files: Sequence[ImageFile], backbone: Callable[[], Backbone], step: str, *, progress: Progress | None = None
) -> tuple[list[Row], NDArray[np.float32]]:
    """Compute all rows and keep them in memory: 8 KB an image.

    Parameters
    ----------
    files, backbone
        As for `compute_rows`.
    step : str
        What `progress` is told.
    progress : callable, optional

    Returns
    -------
    rows : list of Row
        In the order of the files.
    features : ndarray of shape (n, 2048), float32
        Theirs; NaN where a row has none.

    Raises
    ------
    CatsDogsError
        As for `compute_rows`.
    """
    rows: list[Row] = []
    for row in compute_rows(files, backbone):
        rows.append(row)
        if progress:
            progress(step, len(rows), len(files))
    rows.sort(key=lambda row: row.position)
    nothing = np.full(WIDTH, np.nan, np.float32)
    features = [nothing if row.features is None else row.features for row in rows]
    return rows, np.reshape(np.array(features, np.float32), (len(rows), WIDTH))


def _compute(batch: Sequence[tuple[Row, NDArray[np.uint8]]], backbone: Backbone) -> Iterator[Row]:
    features = backbone.features(np.stack([pixels for _, pixels in batch]))
    for (row, _), of_row in zip(batch, features, strict=True):
        yield replace(row, features=of_row)


def _seen_in_order(
    files: Sequence[ImageFile], has: Callable[[int, NDArray[np.uint8]], bool]
) -> Iterator[tuple[Row, NDArray[np.uint8] | None]]:
    from joblib import cpu_count

    def see(position: int) -> tuple[Row, NDArray[np.uint8] | None]:
        with room_to_read(files[position].size()) as counted:
            return read_and_decode(position, counted)

    def read_and_decode(position: int, counted: int) -> tuple[Row, NDArray[np.uint8] | None]:
        try:
            data = files[position].read()
        except OSError as error:
            reason = f"it cannot be read: {error.strerror or error}"
            return Row(position, np.zeros(16, np.uint8), reason=reason), None
        row = Row(position, digest(data))
        if has(position, row.digest):
            return row, None
        try:
            return row, decode(data, counted=counted)
        except UnreadableImageError as error:
            return replace(row, reason=str(error)), None
        except MemoryError as error:
            must_be_the_file_s_own(error, files[position].where)
            raise

    with ThreadPoolExecutor(cpu_count(), thread_name_prefix="decode") as threads:
        ahead: deque[Future[tuple[Row, NDArray[np.uint8] | None]]] = deque()
        try:
            for position in range(len(files)):
                ahead.append(threads.submit(see, position))
                if len(ahead) > AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
