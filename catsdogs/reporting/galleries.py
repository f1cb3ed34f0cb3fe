"""Select the images that the report shows."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..cache import Features
from .findings import Findings, Scored, rows_in
from .thumbnails import Key
from .unusual import choose_unusual

SEED = 0
"""Seed of the random samples."""

FEW, SOME, MANY = 8, 16, 24
"""Sizes of the galleries: multiples of eight, the images in a row on a wide screen."""

_PAIRS = 8

_OF_A_KIND = 3
"""Number of unusual images of each kind."""


@dataclass(frozen=True)
class GalleryImage:
    """One image in a gallery.

    Parameters
    ----------
    key : pair of str
        Split and id.
    label : int
        Index into the classes; -1 if unknown.
    probability : float or None
        Of class 1; None if the image has not been scored.
    note : str
        What else to show of it.
    """

    key: Key
    label: int
    probability: float | None
    note: str = ""

    @property
    def id(self) -> str:
        """The id."""
        return self.key[1]


@dataclass(frozen=True)
class Gallery:
    """Images of one kind, the most relevant first.

    Parameters
    ----------
    images : tuple of GalleryImage
    total : int
        Number of images of this kind, including those that are not shown.
    """

    images: tuple[GalleryImage, ...]
    total: int


@dataclass(frozen=True)
class Pair:
    """Two identical images (similarity 1), or two near-duplicates (cosine similarity below 1)."""

    first: GalleryImage
    second: GalleryImage
    similarity: float


def choose_galleries(findings: Findings) -> dict[str, Gallery]:
    """Select the images of each gallery.

    Parameters
    ----------
    findings : Findings

    Returns
    -------
    dict of str to Gallery
        "wrong", "right_0" and "right_1" (by class), the most confident first; "uncertain", the nearest to 0.5 first;
        "random_wrong" and "random_right", samples of the images that are in none of these, in natural order;
        "suspects", the most suspect first; "test", the test images nearest to 0.5.
    """
    train = findings.train
    surest = np.argsort(train.own_logits, kind="stable")
    right = surest[train.right[surest]][::-1]
    galleries = {
        "wrong": _gallery(train, surest[~train.right[surest]], MANY),
        "uncertain": _gallery(train, _nearest_to_half(train), SOME),
        "right_0": _gallery(train, right[train.labels[right] == 0], FEW),
        "right_1": _gallery(train, right[train.labels[right] == 1], FEW),
    }
    seen = {image.id for gallery in galleries.values() for image in gallery.images}
    others = ~np.isin(train.ids, list(seen))
    for name, of_kind in (("random_wrong", others & ~train.right), ("random_right", others & train.right)):
        rows = np.flatnonzero(of_kind)
        drawn = np.random.default_rng(SEED).permutation(len(rows))[:FEW]
        galleries[name] = Gallery(_images(train, rows[np.sort(drawn)]), len(rows))
    row = {name: number for number, name in enumerate(train.ids.tolist())}
    suspects = np.array([row[name] for name in findings.suspects], np.intp)
    galleries["suspects"] = _gallery(train, suspects, SOME)
    if findings.test:
        galleries["test"] = _gallery(findings.test, _nearest_to_half(findings.test), SOME)
    return galleries


def choose_unusual_galleries(findings: Findings, features: Features) -> dict[str, Gallery]:
    """Select the unusual training images of each kind that has any, with what was measured as their notes."""
    train, rows = findings.train, rows_in(features, findings.train)
    position = {row: at for at, row in enumerate(rows.tolist())}
    galleries = {}
    for kind, unusual in choose_unusual(features, rows, _OF_A_KIND).items():
        images = _images(train, np.array([position[row] for row in unusual], np.intp))
        shown = zip(images, unusual.values(), strict=True)
        galleries[kind] = Gallery(tuple(replace(image, note=text) for image, text in shown), len(train.ids))
    return {kind: gallery for kind, gallery in galleries.items() if gallery.images}


def choose_pairs(findings: Findings) -> tuple[Pair, ...]:
    """Select pairs of duplicates: pairs across classes first, then pairs across splits, then the most similar ones."""
    if findings.duplicates is None:
        return ()
    pairs = findings.duplicates.pairs
    probabilities = {
        (scored.split, name): probability
        for scored in filter(None, (findings.train, findings.test))
        for name, probability in zip(scored.ids.tolist(), scored.probabilities.tolist(), strict=True)
    }

    def image(split: str, name: str, label: int) -> GalleryImage:
        return GalleryImage((split, name), label, probabilities.get((split, name)))

    across = findings.duplicates.across_classes
    order = np.lexsort((-pairs["similarity"], pairs["split"] == pairs["other_split"], ~across))
    return tuple(Pair(image(*pair[:3]), image(*pair[3:6]), pair[6]) for pair in pairs[order[:_PAIRS]].tolist())


def _gallery(scored: Scored, rows: NDArray[np.intp], most: int) -> Gallery:
    return Gallery(_images(scored, rows[:most]), len(rows))


def _images(scored: Scored, rows: NDArray[np.intp]) -> tuple[GalleryImage, ...]:
    columns = (of_all[rows].tolist() for of_all in (scored.ids, scored.labels, scored.probabilities))
    images = zip(*columns, strict=True)
    return tuple(GalleryImage((scored.split, name), label, probability) for name, label, probability in images)


def _nearest_to_half(scored: Scored) -> NDArray[np.intp]:
    return np.argsort(np.abs(scored.logits), kind="stable")
