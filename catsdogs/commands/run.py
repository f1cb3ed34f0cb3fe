"""Extract, train and submit in one call; valid earlier results are kept."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..artifacts import Artifacts, ArtifactsFolder
from ..head import TRAIN_HINT, TrainingMetrics, check_head, read_metrics
from ..inference.plan import ComputeOptions
from ..locks import BOTH
from ..progress import Progress
from ..result import Result
from ..sources.classes import parse_classes
from .extract import Extraction, extract
from .scan import list_images, warn_of_training_problem
from .submit import Submission, check_clip, submit
from .train import train


@dataclass(frozen=True)
class Run(Result):
    """The result of `run`.

    Parameters
    ----------
    extraction : Extraction
    trained : bool
        False if the existing head was still valid.
    metrics : TrainingMetrics or None
        The content of metrics.json; None if there are no training images, and so no head.
    submission : Submission or None
        None if there are no unlabelled test images.
    """

    extraction: Extraction
    trained: bool
    metrics: TrainingMetrics | None
    submission: Submission | None


def run(
    data: str | Path,
    *,
    artifacts: ArtifactsFolder = "artifacts",
    weights: str | Path | None = None,
    compute: ComputeOptions = ComputeOptions(),
    classes: str | Sequence[str] | None = None,
    clip: float | None = None,
    prune: bool = False,
    fail_fast: bool = False,
    near_duplicates: bool = True,
    progress: Progress | None = None,
) -> Run:
    """Extract features, train the head and write the submission; skip what is done and still valid.

    Parameters
    ----------
    data, weights, compute, classes, prune, fail_fast, near_duplicates
        As for `extract`.
    artifacts : str or Path
        The artifacts folder.
    clip : float, optional
        As for `submit`.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Returns
    -------
    Run

    Raises
    ------
    CatsDogsError
        As for the three steps. The results of finished steps are kept. If there are too few training images of a class,
        nothing is computed.
    """
    check_clip(clip)
    names = None if classes is None else parse_classes(classes)
    with Artifacts.open(artifacts, *BOTH) as opened:
        with list_images(data, names, opened) as source:
            if source.training_problem and "train" in source.splits:
                raise source.training_problem
            warn_of_training_problem(source, opened)
            extraction = extract(
                source,
                artifacts=opened,
                weights=weights,
                compute=compute,
                prune=prune,
                fail_fast=fail_fast,
                near_duplicates=near_duplicates,
                progress=progress,
            )
        gc.collect()  # free the backbone, as Keras' models are reference cycles: training needs the memory
        if opened.cache.labelled("train") is None:
            return Run(extraction, trained=False, metrics=None, submission=None)
        trained, reason = check_head(opened)
        if stale := trained is None or reason is not None or trained.metadata.near_duplicates != near_duplicates:
            metrics = train(opened, near_duplicates=near_duplicates, progress=progress).metrics
        else:
            metrics = read_metrics(opened.metrics, TRAIN_HINT)
        submission = submit(opened, clip=clip) if opened.cache.labelled("test") is False else None
    return Run(extraction, trained=stale, metrics=metrics, submission=submission)
