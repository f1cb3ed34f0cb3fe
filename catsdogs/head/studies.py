"""Score heads on a holdout, by nested cross-validation, and by a learning curve."""

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress, tell
from . import CrossValidation, TrainingSet, cross_validate, fit
from .folds import FOLDS
from .logits import log_losses
from .metrics import best_clip, intervals, log_loss, score_with_intervals
from .paths import selection_loss
from .results import HoldoutMetrics, LearningCurvePoint, NestedMetrics
from .validation import select_transform

_FIRST_SIZE = 250
"""Number of images of the first point of the learning curve; each next point has twice as many."""


def score_holdout(training_set: TrainingSet, held: NDArray[np.bool_], *, fraction: float) -> HoldoutMetrics:
    """Select and train a head on the images that are not held out, and score the others with it.

    Parameters
    ----------
    training_set : TrainingSet
    held : ndarray of shape (n,), bool
        Images to hold out and score.
    fraction : float
        Requested fraction of the images.

    Returns
    -------
    HoldoutMetrics
    """
    rest = training_set.subset(~held)
    fitted = fit(rest, cross_validate(rest))
    labels, logits = training_set.labels[held], fitted.classifier.logits(training_set.features[held])
    metrics = score_with_intervals(labels, logits)
    return HoldoutMetrics(**vars(metrics), images=int(held.sum()), fraction=fraction)


def nested_cv(training_set: TrainingSet, found: CrossValidation, *, progress: Progress | None = None) -> NestedMetrics:
    """Score each fold with a head whose transform, C and clip were selected on the other folds alone.

    Parameters
    ----------
    training_set : TrainingSet
    found : CrossValidation
        Result for this training set, whose values of C are selected from.
    progress : callable, optional

    Returns
    -------
    NestedMetrics
    """
    labels, folds = training_set.labels, training_set.folds
    points = []
    for done, (transform, path) in enumerate(found.paths.items()):
        tell(progress, "nested cross-validation", done, len(found.paths))
        points += [(transform, at, inner) for at, inner in path.inner_logits()]
    logits, clipped = np.empty(len(labels)), np.empty(len(labels))
    for fold in range(FOLDS):
        held = folds == fold
        lowest: dict[str, tuple[float, int, NDArray[np.float64]]] = {}
        for transform, at, inner in points:
            loss = selection_loss(labels[~held], inner[~held, fold])
            if transform not in lowest or loss < lowest[transform][0]:
                lowest[transform] = loss, at, inner[~held, fold]
        transform = select_transform({name: loss for name, (loss, _, _) in lowest.items()})
        _, at, inner = lowest[transform]
        logits[held] = found.paths[transform].out_of_fold(at)[held]
        clipped[held] = log_losses(labels[held], logits[held], clip=best_clip(labels[~held], inner))
    return NestedMetrics(**vars(score_with_intervals(labels, logits)), clipped=float(clipped.mean()))


def learning_curve(
    training_set: TrainingSet, found: CrossValidation, *, progress: Progress | None = None
) -> tuple[LearningCurvePoint, ...]:
    """Cross-validate with increasing numbers of training images, starting at 250, and score all images out of fold.

    Parameters
    ----------
    training_set : TrainingSet
    found : CrossValidation
        Result for all images.
    progress : callable, optional

    Returns
    -------
    tuple of LearningCurvePoint
        In ascending order of images.
    """
    most = int(training_set.train_mask.sum()) * (FOLDS - 1) // FOLDS
    sizes = [_FIRST_SIZE * 2**k for k in range(30) if _FIRST_SIZE * 2**k < most]
    points = []
    for done, size in enumerate([*sizes, most]):
        tell(progress, "learning curve", done, len(sizes) + 1)
        logits = (found if size == most else cross_validate(training_set, size=size)).logits
        interval = intervals(training_set.labels, logits).log_loss
        loss = log_loss(training_set.labels, logits)
        points.append(LearningCurvePoint(images=size, log_loss=loss, interval=interval))
    return tuple(points)
