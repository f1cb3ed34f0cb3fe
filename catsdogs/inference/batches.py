"""Compute feature rows of decoded images, in batches.

Images without missing views pass through. The others are collected into batches, which threads compute while other
threads decode and the caller writes.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES, Backbone, NotFiniteError
from ..cache import KnownRows, no_features
from ..errors import CatsDogsError
from ..images.views import View
from ..progress import Progress, tell
from ..sources import ImageFile
from .loading import ChunkLoader, LoadedImages
from .prefetching import LoadedAhead, load_images


@dataclass(frozen=True, eq=False)
class ComputedRows:
    """The results for some files.

    A file has neither features nor a reason if the cache already has its row, or an earlier file is identical.

    Parameters
    ----------
    records : ndarray of shape (n,), loading.LOADED
    reasons : dict of int to str
        Why images have no features, by position.
    features : dict of View to ndarray of shape (n, 2048), float32
        Features of the views that were missing, the same for all of these files.
    """

    records: NDArray[Any]
    reasons: dict[int, str] = field(default_factory=dict)
    features: dict[View, NDArray[np.float32]] = field(default_factory=dict)

    def store(self, add: Callable[..., None], known: KnownRows) -> dict[int, str]:
        """Add the rows to shards; images that are cached or copies have none.

        Parameters
        ----------
        add : callable
            `CacheWriter.add_rows`, or `ShardWriter.add`.
        known : KnownRows
            That of the loader.

        Returns
        -------
        unreadable : dict of int to str
            Why files could not be read, by position: these have no row.
        """
        records, unreadable = self.records, dict[int, str]()
        if not self.features:
            for position, digest in zip(records["position"].tolist(), records["digest"], strict=True):
                reason = self.reasons.get(position)
                if reason is not None and digest.any():
                    add(digest[np.newaxis], no_features(known.columns[:-1]), None, reason)
                elif reason is not None:
                    unreadable[position] = reason
            records = records[~np.isnan(records["facts"]["width"])]
        if len(records):
            add(records["digest"], {view.name: of_view for view, of_view in self.features.items()}, records["facts"])
        return unreadable


@contextmanager
def compute_rows(
    files: Sequence[ImageFile],
    loader: ChunkLoader,
    backbone: Callable[[], Backbone],
    *,
    ranges: Iterable[range] | None = None,
) -> Iterator[Iterator[ComputedRows]]:
    """Start reading and decoding; yield an iterator over the rows, one for each file.

    Rows with features come in batches, so the rows are not in the order of the files. When the context ends, also by an
    error, all its threads have ended.

    Parameters
    ----------
    files, loader, ranges
        As for `load_images`.
    backbone : callable
        Returns the backbone; called only when the first image needs features.

    Raises
    ------
    CatsDogsError
        From the iterator, as for `load_images`, features are not finite, or by `fail_fast` of the loader.
    """
    with (
        load_images(files, loader, ranges=ranges) as images,
        closing(_compute_batches(images, backbone)) as rows,
    ):
        yield rows


def compute_all(
    files: Sequence[ImageFile],
    views: Sequence[View],
    backbone: Callable[[], Backbone],
    step: str,
    *,
    progress: Progress | None = None,
) -> tuple[NDArray[np.uint8], dict[int, str], NDArray[np.float32]]:
    """Compute all rows and keep them in memory, 8 KB for each image and view.

    Parameters
    ----------
    files : sequence of ImageFile
    views : sequence of View
    backbone : callable
        As for `compute_rows`.
    step : str
        Name of the step for `progress`.
    progress : callable, optional

    Returns
    -------
    digests : ndarray of shape (n, 16), uint8
        In the order of the files.
    reasons : dict of int to str
        Why images have no features, by position.
    features : ndarray of shape (n, views * 2048), float32
        With the views side by side; NaN if an image has none.

    Raises
    ------
    CatsDogsError
        As for `compute_rows`.
    """
    digests, reasons, done = np.zeros((len(files), 16), np.uint8), dict[int, str](), 0
    features = np.full((len(files), len(views), N_FEATURES), np.nan, np.float32)
    with compute_rows(files, ChunkLoader(views), backbone) as computed:
        for rows in computed:
            positions = rows.records["position"]
            digests[positions] = rows.records["digest"]
            reasons |= rows.reasons
            for view, values in rows.features.items():
                features[positions, views.index(view)] = values
            done += len(positions)
            tell(progress, step, done, len(files))
    return digests, reasons, features.reshape(len(files), len(views) * N_FEATURES)


def _compute_batches(images: LoadedAhead, backbone: Callable[[], Backbone]) -> Generator[ComputedRows]:
    """Collect batches; compute `backbone().streams` of them at the same time, and keep one more in the queue."""
    waiting: dict[tuple[View, ...], list[LoadedImages]] = {}
    computing: deque[Future[ComputedRows]] = deque()
    threads: ThreadPoolExecutor | None = None
    with ExitStack() as stack:
        for loaded in images:
            if not loaded.pixels:
                if images.loader.fail_fast:
                    _refuse_unreadable(loaded, images)
                yield ComputedRows(loaded.records, loaded.reasons)
                continue
            if threads is None:
                threads = ThreadPoolExecutor(backbone().streams, thread_name_prefix="compute")
                stack.callback(threads.shutdown, cancel_futures=True)
            pieces = waiting.pop(key := tuple(loaded.pixels), [])
            for batch in _batches(pieces, loaded, backbone().batch_size, images):
                computing.append(threads.submit(_compute, batch, backbone(), images))
            waiting[key] = pieces
            while len(computing) > backbone().streams:
                yield computing.popleft().result()
        for pieces in waiting.values():
            if threads and pieces:
                computing.append(threads.submit(_compute, pieces, backbone(), images))
        while computing:
            yield computing.popleft().result()


def _refuse_unreadable(loaded: LoadedImages, images: LoadedAhead) -> None:
    known = images.loader.known.reasons if images.loader.known else {}
    for position, digest in zip(loaded.records["position"].tolist(), loaded.records["digest"], strict=True):
        if why := loaded.reasons.get(position) or known.get(digest.tobytes()):
            hint = "Fix or remove it, or rerun without --fail-fast; finished work is kept"
            raise CatsDogsError(f"{images.files[position].display_path} is unreadable: {why}", hint)


def _batches(
    pieces: list[LoadedImages], loaded: LoadedImages, size: int, images: LoadedAhead
) -> Iterator[list[LoadedImages]]:
    """Yield batches of `size` images, each in pieces, from those that wait and more; the rest waits in `pieces`."""
    if loaded.slot is not None and (pieces or len(loaded) != size):
        copies = {view: of_view.copy() for view, of_view in loaded.pixels.items()}
        images.release(loaded.slot)  # what waits must not hold memory that is needed for what it waits for
        loaded = replace(loaded, pixels=copies, slot=None)
    while sum(map(len, pieces)) + len(loaded) >= size:
        fitting = size - sum(map(len, pieces))
        yield [*pieces, loaded[:fitting]]
        loaded = loaded[fitting:]
        pieces.clear()
    if len(loaded):
        pieces.append(loaded)


def _compute(pieces: Sequence[LoadedImages], backbone: Backbone, images: LoadedAhead) -> ComputedRows:
    """Compute the missing views of a batch of images, and release their memory."""
    records = np.concatenate([piece.records for piece in pieces])
    try:
        with images.loader.timer.time("compute"):
            features = {
                view: backbone.features(
                    np.concatenate([piece.pixels[view] for piece in pieces]) if pieces[1:] else pieces[0].pixels[view]
                )
                for view in pieces[0].pixels
            }
    except NotFiniteError as error:
        error.message += f" of {images.files[records['position'][error.row]].display_path}"
        raise
    images.release(pieces[0].slot)
    return ComputedRows(records, features=features)
