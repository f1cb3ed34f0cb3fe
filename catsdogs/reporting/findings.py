"""Gather the content of the report: labels, probabilities, metrics and provenance."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import head
from ..artifacts import Artifacts
from ..cache import Duplicates, Features, Manifest, read_duplicates
from ..errors import CatsDogsError
from ..head import TrainingMetrics, head_staleness, read_metrics, to_probabilities
from ..sources.classes import Classes
from ..storage import NOTE_HINT, read_json, read_table, read_timings
from .thumbnails import Key, digests_by_key


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
    corrections : dict of str to str
        By id of a training image, what a correction does: "relabelled", "kept" or "dropped".
    suspects : tuple of str
        Ids of training images, the most suspect first.
    duplicates : Duplicates or None
        Their labels are the corrected ones; None if they have not been searched for.
    unreadable : dict of str to dict
        By split and id, the reason why an image is unreadable.
    digests : dict of (split, id) to bytes
        BLAKE2b-128 of the bytes of every cached image.
    manifest : Manifest
    metadata : HeadMetadata
    metrics : TrainingMetrics
    timings, source : dict
        The contents of timings.json, without the pages' own, and of source.json. The last one has only splits, and
        none if the features were imported or drawn from Parquet, as the location of the images is then unknown.
    """

    classes: Classes
    train: Scored
    test: Scored | None
    corrections: dict[str, str]
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
    manifest, trained = artifacts.cache.require_manifest(), head.load(artifacts)
    loaded = {split: artifacts.cache.load(split) for split in artifacts.cache.digests()}
    if stale := head_staleness(artifacts, trained):
        raise CatsDogsError(stale, head.TRAIN_HINT)
    test = None
    if "test" in loaded and (kept := loaded["test"].readable).any():
        images = loaded["test"]
        test = Scored("test", images.ids[kept], images.labels[kept], trained.classifier.logits(images.features[kept]))
    predictions = read_table(artifacts.predictions, ("id", "label", "logit"), head.TRAIN_HINT)
    ids, labels, logits = zip(*((row["id"], row["label"], row["logit"]) for row in predictions), strict=True)
    train = Scored("train", np.array(ids), np.array(labels, np.int8), np.array(logits, np.float64))
    return Findings(
        classes=manifest.classes,
        train=train,
        test=test,
        corrections={row["id"]: kind for row in predictions if (kind := row.get("correction"))},
        suspects=tuple(row["id"] for row in read_table(artifacts.suspects, ("id",), head.TRAIN_HINT)),
        duplicates=_find_duplicates(artifacts, train),
        unreadable={split: images.unreadable for split, images in loaded.items()},
        digests=digests_by_key(loaded),
        manifest=manifest,
        metadata=trained.metadata,
        metrics=read_metrics(artifacts.metrics, head.TRAIN_HINT),
        # A page that said how long pages took would be another one each time.
        timings={step: of for step, of in read_timings(artifacts.timings).items() if step not in ("report", "review")},
        source={split: place for split, place in read_json(artifacts.source, NOTE_HINT).items() if split in loaded},
    )


def rows_in(features: Features, scored: Scored) -> NDArray[np.intp]:
    """Return the row of each scored image in the features of its split, (n,)."""
    row = {name: number for number, name in enumerate(features.ids.tolist())}
    return np.array([row[name] for name in scored.ids.tolist()], np.intp)


def _find_duplicates(artifacts: Artifacts, train: Scored) -> Duplicates | None:
    """Return the stored pairs, with the labels that the head was trained on."""
    if (found := read_duplicates(artifacts.cache)) is None:
        return None
    pairs, label_of = found.pairs.copy(), dict(zip(train.ids.tolist(), train.labels.tolist(), strict=True))
    for prefix in ("", "other_"):
        in_train = np.flatnonzero(pairs[f"{prefix}split"] == "train")
        pairs[f"{prefix}label"][in_train] = [label_of[name] for name in pairs[f"{prefix}id"][in_train].tolist()]
    return replace(found, pairs=pairs)
