"""Extract, train and submit in one call, whatever of these is not done yet."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts import Artifacts, ArtifactsFolder
from ..head import TRAIN_HINT
from ..head.staleness import check_head
from ..inference.plan import ComputeOptions
from ..locks import BOTH
from ..progress import Progress
from ..storage import read_json
from .extract import Extraction, extract
from .result import Result
from .submit import Submission, check_clip, submit
from .train import train


@dataclass(frozen=True)
class Run(Result):
    """What `run` did.

    Parameters
    ----------
    extraction : Extraction
    trained : bool
        False where the head that was there was still valid.
    metrics : dict
        The content of metrics.json; empty where there are no training images, and so no head.
    submission : Submission or None
        None where there are no test images without labels.
    """

    extraction: Extraction
    trained: bool
    metrics: dict[str, Any]
    submission: Submission | None


def run(
    data: str | Path,
    *,
    artifacts: ArtifactsFolder = "artifacts",
    weights: str | None = None,
    compute: ComputeOptions = ComputeOptions(),
    classes: str | Sequence[str] | None = None,
    clip: float | None = None,
    prune: bool = False,
    fail_fast: bool = False,
    near_duplicates: bool = True,
    progress: Progress | None = None,
) -> Run:
    """Do everything: extract, train, submit; and do again only what is not there yet, or not valid any more.

    Parameters
    ----------
    data, weights, compute, classes, prune, fail_fast, near_duplicates
        As for `extract`.
    artifacts : str or Path
        The artifacts folder.
    clip : float, optional
        As for `submit`.
    progress : callable, optional
        Told how far it is.

    Returns
    -------
    Run

    Raises
    ------
    CatsDogsError
        As the three steps do. What the steps before have done stays.
    """
    check_clip(clip)
    with Artifacts.open(artifacts, *BOTH) as opened:
        extraction = extract(
            data,
            artifacts=opened,
            weights=weights,
            compute=compute,
            classes=classes,
            prune=prune,
            fail_fast=fail_fast,
            near_duplicates=near_duplicates,
            progress=progress,
        )
        gc.collect()  # of the backbone, as Keras' models are circles: training needs the memory
        if opened.cache.labelled("train") is None:
            return Run(extraction, trained=False, metrics={}, submission=None)
        if stale := check_head(opened)[1] is not None:
            metrics = train(opened, near_duplicates=near_duplicates, progress=progress).metrics
        else:
            metrics = read_json(opened.metrics, TRAIN_HINT)
        submission = submit(opened, clip=clip) if opened.cache.labelled("test") is False else None
    return Run(extraction, trained=stale, metrics=metrics, submission=submission)
