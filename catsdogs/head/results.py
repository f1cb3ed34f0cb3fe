"""Define the content of metrics.json: scores, and how they were computed.

The classes are msgspec structs, which are like frozen dataclasses, but omit the keys of studies that were not run.
"""

from pathlib import Path
from typing import Any

import msgspec

from ..errors import CatsDogsError
from ..sources.classes import Classes
from ..storage import finite, read_json

Interval = tuple[float, float]
"""Lower and upper end."""


class _Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values that JSON can hold, as in metrics.json."""
        return dict(finite(msgspec.to_builtins(self)))


class Scores(_Record, frozen=True):
    """How well probabilities agree with labels.

    Parameters
    ----------
    log_loss : float
        By the natural logarithm, unclipped.
    accuracy : float
        At one half.
    auc : float or None
        Area under the ROC curve; None if one class is missing.
    brier : float
        Mean squared error.
    calibration_error : float
        Expected calibration error of class 1 over 15 bins of equal width.
    """

    log_loss: float
    accuracy: float
    auc: float | None
    brier: float
    calibration_error: float


class Intervals(_Record, frozen=True):
    """The 95 % interval of each value of `Scores`: a lower and an upper end.

    Parameters
    ----------
    log_loss, accuracy, brier, calibration_error : pair of float
    auc : pair of float or None
        None if one class is missing.
    """

    log_loss: Interval
    accuracy: Interval
    auc: Interval | None
    brier: Interval
    calibration_error: Interval


class Metrics(Scores, frozen=True):
    """Scores and their 95 % intervals.

    Parameters
    ----------
    log_loss, accuracy, auc, brier, calibration_error
        As for `Scores`.
    intervals : Intervals
    """

    intervals: Intervals


class HoldoutMetrics(Metrics, frozen=True):
    """Metrics on a holdout, of a head that was trained and tuned without it.

    Parameters
    ----------
    images : int
        Images held out.
    share : float
        Fraction of the images that was asked for.
    """

    images: int
    share: float


class NestedMetrics(Metrics, frozen=True):
    """Metrics of nested cross-validation.

    Parameters
    ----------
    clipped : float
        Log loss with the clips that were selected.
    """

    clipped: float


class LabelledTestScores(Scores, frozen=True):
    """Scores on a labelled test split.

    Parameters
    ----------
    images : int
        Images scored.
    unreadable : int
    """

    images: int
    unreadable: int


class Clip(_Record, frozen=True):
    """The selected clip.

    Parameters
    ----------
    chosen : float
        Probabilities in a submission are clipped to ``[chosen, 1 - chosen]``.
    log_loss : float
        Out of fold, with this clip.
    log_loss_2017 : float
        Out of fold, with the clip of 2017, 0.05; "log_loss_at_0.05" in the file.
    """

    chosen: float
    log_loss: float
    log_loss_2017: float = msgspec.field(name="log_loss_at_0.05")


class PathPoint(_Record, frozen=True):
    """A value of C, and the out-of-fold log loss with it."""

    C: float
    log_loss: float


class LearningCurvePoint(_Record, frozen=True):
    """How many images each fold's head was trained on, and the out-of-fold log loss with its 95 % interval."""

    images: int
    log_loss: float
    interval: Interval


class TrainingMetrics(Metrics, frozen=True):
    """The content of metrics.json: out-of-fold metrics of the head, and how it was selected.

    Parameters
    ----------
    log_loss, accuracy, auc, brier, calibration_error, intervals
        As for `Metrics`, out of fold.
    how : str
        How the predictions were made.
    images : int
        Images scored, including the excluded ones.
    excluded : int
        Images that were not trained on.
    transform : str
        Of the features: "identity", "sqrt" or "rbf".
    C : float
        Inverse regularisation strength, as in scikit-learn.
    gradient : float
        Norm of the objective's gradient at the fitted coefficients.
    paths : dict of str to tuple of PathPoint
        Regularisation path of each transform, in ascending order of C.
    trials : dict of str to tuple of PathPoint
        The same on a part of the images, if there are many.
    clip : Clip
    folds : tuple of Scores
        Of each fold.
    classes : pair of str
        Names of the labels 0 and 1.
    unreadable : int
        Unreadable training images.
    near_duplicates : bool
        Whether near-duplicates share a fold, or only identical images.
    test : LabelledTestScores or None
        None if there is no labelled test split.
    holdout : HoldoutMetrics or None
    nested : NestedMetrics or None
        None if it was not run.
    learning_curve : tuple of LearningCurvePoint
        In ascending order of images; empty if it was not run.
    """

    how: str
    images: int
    excluded: int
    transform: str
    C: float
    gradient: float
    paths: dict[str, tuple[PathPoint, ...]]
    trials: dict[str, tuple[PathPoint, ...]]
    clip: Clip
    folds: tuple[Scores, ...]
    classes: Classes
    unreadable: int
    near_duplicates: bool
    test: LabelledTestScores | None = None
    holdout: HoldoutMetrics | None = None
    nested: NestedMetrics | None = None
    learning_curve: tuple[LearningCurvePoint, ...] = ()


def read_metrics(path: Path, remedy: str) -> TrainingMetrics:
    """Read metrics.json.

    Raises
    ------
    CatsDogsError
        It is missing or damaged; `remedy` is the hint.
    """
    try:
        return msgspec.convert(read_json(path, remedy), TrainingMetrics)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise CatsDogsError(f"{path} is damaged: {error}", remedy) from error
