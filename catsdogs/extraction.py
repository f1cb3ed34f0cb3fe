"""A source's images come in; their features go out to the cache, which goes on where it stopped."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path

import numpy as np

from .artifacts import Artifacts, record, record_timing, writing
from .backbone import Backbone, Weights, choose_weights, load
from .belt import compute_rows
from .cache import CacheWriter, DamagedError, Manifest, Origin, count_duplicates, load_duplicates, read_manifest
from .classes import Classes, parse_classes
from .errors import CatsDogsError, printable
from .images import PIXELS, SIZE
from .progress import Progress
from .sources import Source

VIEW = "224"
"""The images as they are, 224 pixels a side."""

_SYNC_SECONDS = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction:
    """What `extract` did.

    Parameters
    ----------
    images : dict of str to int
        By split.
    unreadable : dict of str to dict
        Why images are unreadable, by split and id.
    computed : int
        Images whose features were computed; the others were in the cache, or are unreadable.
    passed_over : int
        Files of the source that are no images, or lie outside of both splits.
    duplicates : dict of str to int
        Pairs of images that are the same or nearly so, as `cache.count_duplicates` has them; empty where they must be
        looked for yet, as the other split is damaged.
    classes : pair of str
        What the labels 0 and 1 are called.
    backbone : str
        Its weights as they were asked for.
    seconds : float
        Wall time, loading included.
    rate : float or None
        Images a second, from the first stored batch to the last; None where there were not two.
    cut_short : tuple of str
        Zips of which the end is missing: there may have been more images in them.
    """

    images: dict[str, int]
    unreadable: dict[str, dict[str, str]]
    computed: int
    passed_over: int
    duplicates: dict[str, int]
    classes: Classes
    backbone: str
    seconds: float
    rate: float | None
    cut_short: tuple[str, ...] = ()


def extract(
    data: str | Path,
    *,
    artifacts: str | Path = "artifacts",
    weights: str | None = None,
    classes: str | Sequence[str] | None = None,
    prune: bool = False,
    strict: bool = False,
    progress: Progress | None = None,
) -> Extraction:
    """Compute the features of every image that is not cached yet.

    Parameters
    ----------
    data : str or Path
        A folder or a zip, in any of the layouts that the README lists.
    artifacts : str or Path
        The artifacts folder; the cache is its ``features/``.
    weights : str, optional
        "imagenet", "random", "random:SEED", or a path that ends in .h5, .weights.h5 or .keras. By default the
        variable CATSDOGS_WEIGHTS, then what the artifacts were made with, then "imagenet".
    classes : str or two str, optional
        Names of the two classes, "ants,bees" or a sequence; a label, and what a probability is of, is the position. By
        default what the two class folders of the training images are named, in natural order; where there are none,
        what the artifacts were made with, or cat and dog. With more than two class folders the others are passed over.
    prune : bool
        Drop rows of images that are not in `data` any more, of other classes, or features that other weights made.
    strict : bool
        End at the first image that cannot be read, with an error that says why.
    progress : callable, optional
        Told how far it is.

    Returns
    -------
    Extraction

    Raises
    ------
    CatsDogsError
        The data or the weights cannot be used, rows would be dropped and `prune` is not set, there is not room enough
        for the features, or, where `strict` is set, an image cannot be read. What is done stays.
    """
    start = time.perf_counter()
    where = Artifacts(Path(artifacts))
    asked = None if classes is None else parse_classes(classes)
    chosen = choose_weights(weights, where)
    manifest = read_manifest(where.features)
    known = _known_origin(manifest, chosen)

    @once
    def backbone() -> Backbone:
        loaded = load(chosen, SIZE, progress=progress)
        if known and loaded.sha256 != known.sha256:
            raise CatsDogsError(
                f"{chosen.name} is not the network any more that {where.features} was made with",
                "Give --artifacts DIR for a cache of its own",
            )
        return loaded

    with Source(data, classes=asked, before=manifest.classes if manifest and manifest.has_labels else None) as source:
        for path in source.cut_short:
            _log.info("%s is cut short: images may be missing", printable(path))
        origin = known or origin_of(chosen, backbone())
        wanted = {split: (images.ids, images.labels) for split, images in source.splits.items()}
        with (
            writing(where),
            CacheWriter(where.features, origin, (VIEW,), wanted, prune=prune, classes=source.classes) as cache,
        ):
            record(where.source, **dict.fromkeys(wanted, str(source.path.resolve())), weights=chosen.given)
            stored = _fill(cache, source, backbone, strict=strict, progress=progress)
        done = Extraction(
            images={split: len(ids) for split, (ids, _) in wanted.items()},
            unreadable=cache.unreadable,
            computed=len(stored),
            passed_over=source.passed_over,
            duplicates=_look_for_duplicates(artifacts, progress),
            classes=source.classes,
            backbone=origin.form,
            seconds=time.perf_counter() - start,
            rate=_rate(stored, backbone().batch) if stored else None,
            cut_short=source.cut_short,
        )
    _log.info("%d of %d images computed in %.1f s", done.computed, sum(done.images.values()), done.seconds)
    if done.computed:
        with writing(where):
            facts = {"images": done.computed, "seconds": round(done.seconds, 3), "rate": done.rate}
            record_timing(where, "extract", **facts, engine=backbone().engine, device=backbone().device)
    return done


def _fill(
    cache: CacheWriter, source: Source, backbone: Callable[[], Backbone], *, strict: bool, progress: Progress | None
) -> list[float]:
    """Store what the cache lacks; return the moment at which each computed row was stored, in seconds."""
    places = [(split, row) for split, images in source.splits.items() for row in range(len(images.ids))]
    files = [file for images in source.splits.values() for file in images.files]
    stored: list[float] = []
    synced = time.perf_counter()
    rows = compute_rows(files, backbone, has=lambda position, digest: cache.has(*places[position], digest))
    for done, row in enumerate(rows, 1):
        if strict and (reason := row.reason or cache.reason(*places[row.position])):
            raise CatsDogsError(
                f"{files[row.position].where} is unreadable: {reason}",
                "Mend it, take it away, or leave out --strict; what is done is kept",
            )
        if row.reason is not None:
            cache.put_unreadable(*places[row.position], row.digest, row.reason)
        elif row.features is not None:
            cache.put(*places[row.position], row.digest, row.features[np.newaxis])
            stored.append(time.perf_counter())
        if time.perf_counter() - synced > _SYNC_SECONDS:
            cache.sync()
            synced = time.perf_counter()
        if progress:
            progress("computing features", done, len(files))
    return stored


def _look_for_duplicates(artifacts: str | Path, progress: Progress | None) -> dict[str, int]:
    try:
        return count_duplicates(load_duplicates(artifacts, progress=progress))
    except DamagedError as error:
        # It is of the split that this run has not filled, and no reason to end it: who mends that looks for them.
        _log.info("duplicates are not looked for yet: %s", error)
        return {}


def _rate(stored: list[float], batch: int) -> float | None:
    later = len(stored) - batch
    return round(later / (stored[-1] - stored[batch - 1]), 1) if later > 0 else None


def _known_origin(manifest: Manifest | None, chosen: Weights) -> Origin | None:
    """Return what made the cache that is there, if it was these weights: then they need not be loaded to know it."""
    if manifest and manifest.origin.fingerprint == chosen.fingerprint() and manifest.origin.pixels == PIXELS:
        return manifest.origin
    return None


def origin_of(chosen: Weights, backbone: Backbone) -> Origin:
    """Return what the cache says of features that `backbone` computes."""
    return Origin(
        form=chosen.name,
        sha256=backbone.sha256,
        fingerprint=chosen.fingerprint(),
        pixels=PIXELS,
        precision=backbone.precision,
        engine=backbone.engine,
        versions=backbone.versions,
    )
