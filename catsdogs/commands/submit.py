"""Write a Kaggle submission from the head and the cached test features."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import head
from ..artifacts import Artifacts, ArtifactsFolder
from ..errors import CatsDogsError, OptionError
from ..head.staleness import inputs_digest
from ..locks import RESULTS
from ..result import Result
from ..sources.classes import Classes
from ..storage import record_timing, sha256_of, to_csv, write_atomic

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Submission(Result):
    """The result of `submit`.

    Parameters
    ----------
    path : Path
    classes : pair of str
        The probabilities are those of the second.
    images : int
        Rows, one per test image.
    clip : float
        Probabilities are clipped to ``[clip, 1 - clip]``.
    unreadable : dict of str to str
        Reasons why test images are unreadable, by id. Their value is the fraction of the second class in training.
    stale : bool
        Whether the training features have changed since the head was trained.
    """

    path: Path
    classes: Classes
    images: int
    clip: float
    unreadable: dict[str, str]
    stale: bool


def check_clip(clip: float | None) -> None:
    """Refuse a clip that is neither None nor in [0, 0.5).

    Raises
    ------
    CatsDogsError
    """
    if clip is not None and not 0 <= clip < 0.5:
        raise OptionError(f"the clip must be at least 0 and less than 0.5. Got {clip}", "Use a value such as 0.005")


def submit(artifacts: ArtifactsFolder = "artifacts", *, clip: float | None = None) -> Submission:
    """Score the cached test features, and write submission.csv: ``id,label``, the probability of the second class.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder, with a head and test features.
    clip : float, optional
        Probabilities are clipped to ``[clip, 1 - clip]``; by default the clip that was selected in training.

    Returns
    -------
    Submission

    Raises
    ------
    CatsDogsError
        There is no head, or there are no test features of the same kind, or `clip` is not in [0, 0.5).
    """
    check_clip(clip)
    start = time.perf_counter()
    with Artifacts.open(artifacts, RESULTS) as opened:
        trained = head.load(opened)
        features = opened.cache.load("test")
        hint = "Run catsdogs train, which uses the cached features"
        head.check_compatible(trained, features.provenance, features.views, hint)
        if opened.cache.labelled("test"):
            message = "the test images are labelled, and a submission is for unlabelled ones"
            raise CatsDogsError(message, "Run catsdogs train, which scores them")
        used = trained.metadata.clip if clip is None else clip
        probabilities = np.where(
            features.readable, trained.classifier.probabilities(features.features), trained.metadata.positive_share
        )
        rows = zip(features.ids, np.clip(probabilities, used, 1 - used), strict=True)
        content = to_csv(("id", "label"), rows)
        write_atomic(opened.submission, content)
        record_timing(
            opened.timings,
            "submit",
            images=len(features.ids),
            sha256=sha256_of(content),
            clip=clip,
            inputs_digest=inputs_digest(trained, features.digest),
            seconds=round(time.perf_counter() - start, 3),
        )
        _log.info("%d rows in %s", len(features.ids), opened.submission)
        stale = opened.cache.digests().get("train") not in (None, trained.metadata.features.get("train"))
        return Submission(
            opened.submission, trained.metadata.classes, len(features.ids), used, features.unreadable, stale
        )
