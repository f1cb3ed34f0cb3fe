"""Choose the images that are worth a look."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .findings import Findings, Key, Scored

SEED = 0
"""Of the images that are drawn at random."""

FEW, SOME, MANY = 8, 16, 24
"""Images in a gallery: whole rows of eight on a wide screen."""

_PAIRS = 8


@dataclass(frozen=True)
class GalleryImage:
    """One image in a gallery.

    Parameters
    ----------
    key : pair of str
        Its split and id.
    label : int
        A position in the classes, -1 unknown.
    probability : float or None
        Of class 1; None where it has none.
    """

    key: Key
    label: int
    probability: float | None

    @property
    def id(self) -> str:
        """Its id."""
        return self.key[1]


@dataclass(frozen=True)
class Gallery:
    """Images of one kind, the most telling first.

    Parameters
    ----------
    images : tuple of GalleryImage
    total : int
        How many there are of that kind, with those that are not shown.
    """

    images: tuple[GalleryImage, ...]
    total: int


@dataclass(frozen=True)
class Pair:
    """Two images that are the same, or nearly so; a similarity of 1 is of equal bytes."""

    first: GalleryImage
    second: GalleryImage
    similarity: float


def choose_galleries(findings: Findings) -> dict[str, Gallery]:
    """Choose what to show of each kind.

    Parameters
    ----------
    findings : Findings

    Returns
    -------
    dict of str to Gallery
        "wrong" and "right_0", "right_1", by class, the surest first; "uncertain", the nearest to one half first;
        "random_wrong" and "random_right", in natural order, of those that none of these shows; "suspects", the most
        suspect first; and "test", its most uncertain.
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


def choose_pairs(findings: Findings) -> tuple[Pair, ...]:
    """Choose pairs of equal images: those across classes first, then across splits, then the most alike."""
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

    across = (pairs["label"] != pairs["other_label"]) & (pairs["label"] >= 0) & (pairs["other_label"] >= 0)
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
