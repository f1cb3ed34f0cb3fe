"""Find the cached images that are nearest to an image."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Artifacts
from ..backbone import N_FEATURES
from ..cache import Features, digest, find_nearest
from ..errors import CatsDogsError, OptionError
from ..head.corrections import read_verdicts
from ..images.views import parse_views
from ..inference.batches import compute_all
from ..inference.plan import load_cache_backbone
from ..paths import user_path
from ..progress import Progress
from ..reporting.galleries import GalleryImage
from ..reporting.page import render
from ..reporting.thumbnails import (
    MAX_BYTES,
    SIDE,
    Key,
    Thumbnails,
    ThumbnailSize,
    create_thumbnails,
    digests_by_key,
    load_thumbnail,
)
from ..result import Result
from ..sources import Classes, ImageFile, unreadable_reason
from ..sources.files import given_image
from ..storage import NOTE_HINT, read_json, write_atomic

COUNT = 10
"""Default number of images."""


@dataclass(frozen=True)
class SimilarImage(Result):
    """A cached image that is similar to a given one.

    Parameters
    ----------
    id : str
    split : str
        "train" or "test".
    label : str or None
        Name of its class, corrected if there is a verdict; None if it has no label.
    similarity : float
        Cosine of the features, at most 1.
    preview : ndarray of shape (height, width, 3), uint8, or None
        The image, reduced; None if none was requested, or its file is missing or changed.
    """

    id: str
    split: str
    label: str | None
    similarity: float
    preview: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)

    @property
    def key(self) -> Key:
        """Split and id."""
        return self.split, self.id

    def to_dict(self) -> dict[str, Any]:
        """Return id, split, label and similarity."""
        return {"id": self.id, "split": self.split, "label": self.label, "similarity": self.similarity}


Splits = Mapping[str, Features]
Row = tuple[str, int]
"""Split and row of a cached image."""


def similar(
    image: str | Path,
    *,
    artifacts: str | Path = "artifacts",
    weights: str | Path | None = None,
    count: int = COUNT,
    html: str | Path | None = None,
    previews: int = 0,
    progress: Progress | None = None,
) -> list[SimilarImage]:
    """Find the cached images that are nearest to an image, by the cosine of their features in the first view.

    All images of both splits are compared. The backbone is loaded only for a file whose bytes are not in the cache.

    Parameters
    ----------
    image : str or Path
        The path of a file, or the id of a cached image ("12", or "test/12" if a training image has the same id), which
        is then not among the results.
    artifacts : str or Path
        The artifacts folder, with features; no head is needed.
    weights : str or Path, optional
        As for `extract`; they must be those that computed the cache.
    count : int
        Number of images.
    html : str or Path, optional
        Write a self-contained HTML page with the given image and those that are found to this file.
    previews : int
        If at most this many images are found, each has a preview.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Returns
    -------
    list of SimilarImage
        The nearest first; of equally near ones, training images first, in natural order.

    Raises
    ------
    CatsDogsError
        There are no features, there is neither such a file nor such an id, the image is unreadable, or its features
        cannot be computed as those of the cache were.
    """
    if count < 1:
        raise OptionError(f"the count is {count}", "Give a whole number from 1 on")
    if html is not None and not str(html).lower().endswith((".html", ".htm")):
        raise OptionError(f"{html} is not the name of a page, which would replace it", "Give --html FILE.html")
    opened = Artifacts(artifacts)
    manifest = opened.cache.require_manifest()
    splits = {split: opened.cache.load(split) for split in opened.cache.digests()}
    if train := splits.get("train"):
        corrected = read_verdicts(opened).apply(train.digests, train.labels, manifest.classes)
        splits["train"] = replace(train, labels=corrected.labels)
    file = _file(image)
    query, own = _query(str(image), file, splits, opened, weights, progress)
    nearest = _nearest(splits, manifest.classes, query, own, count)
    found = sorted(nearest, key=lambda near: -near.similarity)[:count]
    if html is None and len(found) > previews:
        return found
    given = GalleryImage(("", str(image)), -1, None)
    if own:
        split, row = own
        given = GalleryImage((split, str(splits[split].ids[row])), int(splits[split].labels[row]), None)
    size = ThumbnailSize(SIDE, MAX_BYTES)
    wanted = dict.fromkeys([near.key for near in found] + [given.key] * bool(own and html), size)
    thumbnails = create_thumbnails(
        wanted,
        digests_by_key(splits),
        source=read_json(opened.source, NOTE_HINT),
        classes=manifest.classes,
        progress=progress,
    )
    if html is not None:
        if file:
            thumbnails.by_key[given.key] = load_thumbnail(file, None, size)
        write_atomic(user_path(html), _page(given, found, thumbnails, manifest.classes))
    if len(found) > previews:
        return found
    return [
        replace(near, preview=shown.pixels()) if (shown := thumbnails.by_key[near.key]).uri else near for near in found
    ]


def _query(
    image: str,
    file: ImageFile | None,
    splits: Splits,
    artifacts: Artifacts,
    weights: str | Path | None,
    progress: Progress | None,
) -> tuple[NDArray[np.float32], Row | None]:
    """Return the features of the given image, of shape (1, 2048), and split and row if it is given by its id."""
    if file is None:
        if (own := _first(splits, lambda split, of: np.isin(of.ids, [image, image.removeprefix(f"{split}/")]))) is None:
            message = f"there is neither a file {image} nor a cached image with this id"
            hint = "Give the path of one image, not of a folder, or an id as in features/train/ids.npy"
            raise CatsDogsError(message, hint)
        return _cached(image, splits, own), own
    try:
        seen = digest(file.read())
    except OSError as error:
        raise _unreadable(image, unreadable_reason(error)) from error
    if cached := _first(splits, lambda _, of: (of.digests == seen).all(axis=1)):
        return _cached(image, splits, cached), None
    backbone = load_cache_backbone(artifacts, weights, progress=progress)
    views = parse_views(artifacts.cache.require_manifest().views[:1])
    _, reasons, features = compute_all([file], views, backbone, "computing features", progress=progress)
    if reasons:
        raise _unreadable(image, reasons[0])
    return features, None


def _file(image: str | Path) -> ImageFile | None:
    """Return the given image, or None if no file has this name, so that it is an id."""
    path = user_path(image)
    # The methods of Path raise if the name is too long.
    return given_image(path) if os.path.exists(path) and not os.path.isdir(path) else None  # noqa: PTH110, PTH112


def _first(splits: Splits, matches: Callable[[str, Features], NDArray[np.bool_]]) -> Row | None:
    """Return the first cached image that matches, or None."""
    found = ((split, np.flatnonzero(matches(split, of_split))) for split, of_split in splits.items())
    return next(((split, int(rows[0])) for split, rows in found if rows.size), None)


def _cached(image: str, splits: Splits, found: Row) -> NDArray[np.float32]:
    split, row = found
    if reason := splits[split].unreadable.get(str(splits[split].ids[row])):
        raise _unreadable(image, reason)
    return splits[split].features[row : row + 1, :N_FEATURES]


def _unreadable(image: str, reason: str) -> CatsDogsError:
    return CatsDogsError(f"{image} is unreadable: {reason}", "Give a readable image")


def _nearest(
    splits: Splits, classes: Classes, query: NDArray[np.float32], own: Row | None, count: int
) -> Iterator[SimilarImage]:
    names = (*classes, None)  # the last one is that of the label -1
    for split, of_split in splits.items():
        row = np.array([own[1]]) if own and own[0] == split else None
        rows, similarities = find_nearest(of_split.features[:, :N_FEATURES], query, count, own=row)
        for at, similarity in zip(rows[0].tolist(), similarities[0].tolist(), strict=True):
            yield SimilarImage(str(of_split.ids[at]), split, names[of_split.labels[at]], min(similarity, 1.0))


def _page(given: GalleryImage, found: list[SimilarImage], thumbnails: Thumbnails, classes: Classes) -> bytes:
    images = [
        GalleryImage(
            near.key, classes.index(near.label) if near.label else -1, None, f"similarity {near.similarity:.3f}"
        )
        for near in found
    ]
    return render("similar", given=given, images=images, thumbnails=thumbnails, classes=classes, corrected={})
