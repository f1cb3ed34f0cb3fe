"""Extract, train and submit in one call, whatever of these is not done yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts import Artifacts, ArtifactsPath
from ..cache import labelled_splits, read_manifest
from ..head import TRAIN_HINT
from ..head.staleness import check_head, current_features
from ..inference.plan import ComputeOptions
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
    artifacts: ArtifactsPath = "artifacts",
    weights: str | None = None,
    compute: ComputeOptions = ComputeOptions(),
    classes: str | Sequence[str] | None = None,
    clip: float | None = None,
    prune: bool = False,
    fail_fast: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Do everything: extract, train, submit; and do again only what is not there yet, or not valid any more.

    Parameters
    ----------
    data, weights, compute, classes, prune, fail_fast
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
    extraction = extract(
        data,
        artifacts=artifacts,
        weights=weights,
        compute=compute,
        classes=classes,
        prune=prune,
        fail_fast=fail_fast,
        progress=progress,
    )
    artifacts = Artifacts.at(artifacts)
    labelled = labelled_splits(artifacts)
    if "train" not in labelled:
        return Run(extraction, trained=False, metrics={}, submission=None)
    manifest = read_manifest(artifacts.features)
    stale = manifest is None or check_head(artifacts, manifest, current_features(artifacts))[1] is not None
    metrics = train(artifacts, progress=progress).metrics if stale else read_json(artifacts.metrics, TRAIN_HINT)
    return Run(
        extraction=extraction,
        trained=stale,
        metrics=metrics,
        submission=submit(artifacts, clip=clip) if labelled.get("test") is False else None,
    )
