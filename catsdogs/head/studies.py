"""Score heads by holdout, by nested cross-validation, and with fewer images."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress, tell
from . import CrossValidation, TrainingSet, cross_validate, fit
from .folds import FOLDS, draw_folds
from .logits import log_losses
from .metrics import best_clip, intervals, log_loss, score_with_intervals

_FEWEST = 250
"""Images with which the learning curve starts; each point has twice as many as the one before."""


def score_holdout(training_set: TrainingSet, held: NDArray[np.bool_], *, seed: int) -> dict[str, Any]:
    """Train on all but some of the images, with everything chosen there, and score those.

    Parameters
    ----------
    training_set : TrainingSet
    held : ndarray of shape (n,), bool
    seed : int
        Of the intervals.

    Returns
    -------
    dict
        As `score` does, with "intervals" and "images".
    """
    rest = training_set.subset(~held)
    fitted = fit(rest, cross_validate(rest))
    labels, logits = training_set.labels[held], fitted.classifier.logits(training_set.features[held])
    return {**score_with_intervals(labels, logits, seed=seed), "images": int(held.sum())}


def nested_cv(
    training_set: TrainingSet, groups: NDArray[np.void], *, seed: int, progress: Progress | None = None
) -> dict[str, Any]:
    """Score each fold by a head of which transform, C and clip were chosen on the other folds alone.

    Parameters
    ----------
    training_set : TrainingSet
    groups : ndarray of shape (n,)
        Keys as `draw_folds` takes them.
    seed : int
        Of the inner folds and the intervals.
    progress : callable, optional

    Returns
    -------
    dict
        As `score` does, with "intervals", and as "clipped" the log loss with the clips that were chosen.
    """
    labels, logits, clipped = training_set.labels, np.empty(len(groups)), np.empty(len(groups))
    for fold in range(FOLDS):
        tell(progress, "nested folds", fold, FOLDS)
        held = training_set.folds == fold
        rest = training_set.subset(~held)
        rest = replace(rest, folds=draw_folds(groups[~held], rest.labels, seed=seed + 1 + fold))
        found = cross_validate(rest)
        clip = best_clip(rest.labels, found.logits)
        logits[held] = fit(rest, found).classifier.logits(training_set.features[held])
        clipped[held] = log_losses(labels[held], logits[held], clip=clip)
    return {**score_with_intervals(labels, logits, seed=seed), "clipped": float(clipped.mean())}


def learning_curve(
    training_set: TrainingSet, found: CrossValidation, *, seed: int, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Train on fewer images, from 250 on, and score all of them out of fold.

    Parameters
    ----------
    training_set : TrainingSet
    found : CrossValidation
        Of all of them.
    seed : int
    progress : callable, optional

    Returns
    -------
    list of dict
        "images" that each fold's head was trained on, "log_loss" and its "interval", in ascending order.
    """
    most = int(training_set.train_mask.sum()) * (FOLDS - 1) // FOLDS
    sizes = [_FEWEST * 2**k for k in range(30) if _FEWEST * 2**k < most]
    points = []
    for done, size in enumerate([*sizes, most]):
        tell(progress, "learning curve", done, len(sizes) + 1)
        logits = (found if size == most else cross_validate(training_set, size=size)).logits
        interval = intervals(training_set.labels, logits, seed=seed)["log_loss"]
        points.append({"images": size, "log_loss": log_loss(training_set.labels, logits), "interval": interval})
    return points
