"""Gather the content of the report: labels, probabilities, metrics and provenance."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import head
from ..artifacts import Artifacts
from ..cache import Duplicates, Manifest, read_duplicates
from ..errors import CatsDogsError
from ..head.logits import to_probabilities
from ..head.results import TrainingMetrics, read_metrics
from ..head.staleness import head_staleness
from ..sources.classes import Classes
from ..storage import NOTE_HINT, read_json, read_timings

Key = tuple[str, str]
"""Split and id, which identify an image."""


@dataclass(frozen=True, eq=False)
class Scored:
    """The images of a split that have a probability, in natural order of their ids.

    Parameters
    ----------
    split : str
    ids : ndarray of shape (n,), str
    labels : ndarray of shape (n,), int8
        Index into the classes; -1 if unknown.
    logits : ndarray of shape (n,), float64
        Log-odds of class 1, by a head that was not trained on the image.
    """

    split: str
    ids: NDArray[np.str_]
    labels: NDArray[np.int8]
    logits: NDArray[np.float64]

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """The probability of class 1 before clipping, (n,)."""
        return to_probabilities(self.logits)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which images are classified correctly at a threshold of 0.5, (n,)."""
        return np.asarray((self.probabilities > 0.5) == (self.labels == 1))

    @property
    def own_logits(self) -> NDArray[np.float64]:
        """The log-odds of each image's own label, (n,)."""
        return np.where(self.labels == 1, self.logits, -self.logits)


@dataclass(frozen=True, eq=False)
class Findings:
    """The content of the report, except the thumbnails.

    Parameters
    ----------
    classes : pair of str
        Probabilities are those of the second class.
    train : Scored
        Training images with their out-of-fold predictions, from predictions.csv.
    test : Scored or None
        Test images, scored by the final head; None if there are no readable test images.
    suspects : tuple of str
        Ids of training images, the most suspect first.
    duplicates : Duplicates or None
        None if they have not been searched for.
    unreadable : dict of str to dict
        By split and id, the reason why an image is unreadable.
    digests : dict of (split, id) to bytes
        BLAKE2b-128 of the bytes of every cached image.
    manifest : Manifest
    metadata : HeadMetadata
    metrics : TrainingMetrics
    timings, source : dict
        The contents of timings.json and source.json. The last one is empty if the features were
        imported, as the location of the images is then unknown.
    """

    classes: Classes
    train: Scored
    test: Scored | None
    suspects: tuple[str, ...]
    duplicates: Duplicates | None
    unreadable: dict[str, dict[str, str]]
    digests: dict[Key, bytes]
    manifest: Manifest
    metadata: head.HeadMetadata
    metrics: TrainingMetrics
    timings: dict[str, Any]
    source: dict[str, Any]


def gather(artifacts: Artifacts) -> Findings:
    """Read the artifacts and verify the checksum of every file.

    Raises
    ------
    CatsDogsError
        The features or the head are missing, the head is stale, or a file is damaged.
    """
    manifest, trained = artifacts.manifest(), head.load(artifacts)
    loaded = {split: artifacts.cache.load(split) for split in artifacts.cache.digests()}
    if stale := head_staleness(artifacts, trained):
        raise CatsDogsError(stale, head.TRAIN_HINT)
    test = None
    if "test" in loaded and (kept := loaded["test"].readable).any():
        images = loaded["test"]
        test = Scored("test", images.ids[kept], images.labels[kept], trained.classifier.logits(images.features[kept]))
    return Findings(
        classes=manifest.classes,
        train=_out_of_fold(artifacts.predictions),
        test=test,
        suspects=tuple(row["id"] for row in _rows(artifacts.suspects)),
        duplicates=read_duplicates(artifacts.cache),
        unreadable={split: images.unreadable for split, images in loaded.items()},
        digests={
            (split, name): digest.tobytes()
            for split, images in loaded.items()
            for name, digest in zip(images.ids.tolist(), images.digests, strict=True)
        },
        manifest=manifest,
        metadata=trained.metadata,
        metrics=read_metrics(artifacts.metrics, head.TRAIN_HINT),
        timings=read_timings(artifacts.timings),
        source=read_json(artifacts.source, NOTE_HINT),
    )


def _out_of_fold(path: Path) -> Scored:
    ids, labels, logits = zip(*((row["id"], row["label"], row["logit"]) for row in _rows(path)), strict=True)
    return Scored("train", np.array(ids), np.array(labels, np.int8), np.array(logits, np.float64))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
