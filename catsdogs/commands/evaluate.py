"""Score the head on the labelled images of a folder or a zip."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import head
from ..artifacts import Artifacts
from ..errors import CatsDogsError, Problems
from ..head import Metrics, read_verdicts, score_with_intervals
from ..images.views import parse_views
from ..inference.batches import compute_all
from ..inference.plan import load_head_backbone
from ..progress import Progress
from ..result import Result
from ..sources import Classes, Source


@dataclass(frozen=True)
class Evaluation(Result):
    """The result of `evaluate`.

    Parameters
    ----------
    scores : Metrics
        Log loss, accuracy and the others, with their 95 % intervals.
    classes : pair of str
        Names of the classes; the scored probabilities are those of the second.
    images : int
        Images scored.
    seen : int or None
        Scored images that are identical to training images of the head; None if its training features are missing.
    corrected : int or None
        Scored images of which corrections.csv says another label, or "drop"; None if that file is damaged. They are
        scored by the labels in `data`.
    unlabelled : int
        Images without a label.
    skipped : int
        Files that are not images, or are outside of the splits or classes.
    unreadable : dict of str to str
        Reasons why labelled images are unreadable, by path.
    """

    scores: Metrics
    classes: Classes
    images: int
    seen: int | None
    corrected: int | None
    unlabelled: int
    skipped: int
    unreadable: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return the scores and all other fields in one dictionary."""
        rest = super().to_dict()
        return {**rest.pop("scores"), **rest}


def evaluate(
    data: str | Path,
    *,
    artifacts: str | Path = "artifacts",
    weights: str | Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score the head on the labelled images of a folder or a zip, without writing anything.

    Parameters
    ----------
    data : str or Path
        As for `extract`; the labelled images of both splits are scored by these labels, without corrections.
    artifacts : str or Path
        The artifacts folder, with a head.
    weights : str or Path, optional
        As for `extract`; the head must have been trained with them.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Returns
    -------
    Evaluation

    Raises
    ------
    CatsDogsError
        There is no head, it was trained with other weights, or `data` has no readable labelled image or other classes
        than the head.
    """
    opened = Artifacts(artifacts)
    trained = head.load(opened)
    backbone = load_head_backbone(trained, opened, weights, progress=progress)
    views = parse_views(trained.metadata.views)
    with Source(data, classes=trained.metadata.classes) as source:
        images, unlabelled = source.labelled(", the classes of the head")
        files = images.files
        known = _trained_on(opened, trained)
        digests, reasons, features = compute_all(files, views, backbone, "evaluating", progress=progress)
    readable = np.array([position not in reasons for position in range(len(files))])
    unreadable = {files[position].display_path: reason for position, reason in reasons.items()}
    if not readable.any():
        path, reason = next(iter(unreadable.items()))
        message = f"none of the {len(files):,} labelled images in {data} is readable, such as {path}: {reason}"
        raise CatsDogsError(message, "Give readable images")
    labels, logits = images.labels[readable], trained.classifier.logits(features[readable])
    corrected = Problems().check(_count_corrected, opened, digests[readable], labels, trained.metadata.classes)
    return Evaluation(
        scores=score_with_intervals(labels, logits),
        classes=trained.metadata.classes,
        images=len(labels),
        seen=None if known is None else sum(digest.tobytes() in known for digest in digests[readable]),
        corrected=corrected,
        unlabelled=unlabelled,
        skipped=source.skipped,
        unreadable=unreadable,
    )


def _count_corrected(
    artifacts: Artifacts, digests: NDArray[np.uint8], labels: NDArray[np.int8], classes: Classes
) -> int:
    return int(read_verdicts(artifacts).apply(digests, labels, classes).changed.sum())


def _trained_on(artifacts: Artifacts, trained: head.Head) -> set[bytes] | None:
    """Return the digests of the images that the head was trained on, or None if the cache has changed since."""
    cached = artifacts.cache.digests().get("train")
    if cached is None or cached != trained.metadata.features.get("train"):
        return None
    features = artifacts.cache.load()
    if features.digest != cached:  # another run has just replaced them
        return None
    rows = (features.labels >= 0) & ~np.isin(features.ids, trained.metadata.excluded + trained.metadata.dropped)
    return {digest.tobytes() for digest in features.digests[rows]}
