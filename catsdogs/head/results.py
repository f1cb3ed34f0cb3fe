"""Define the content of metrics.json: scores, and how they were computed."""

from dataclasses import dataclass
from pathlib import Path

from ..result import Result
from ..sources.classes import Classes
from ..storage import convert, read_json

Interval = tuple[float, float]
"""Lower and upper end."""


@dataclass(frozen=True, kw_only=True)
class Scores(Result):
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


@dataclass(frozen=True, kw_only=True)
class Intervals(Result):
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


@dataclass(frozen=True, kw_only=True)
class Metrics(Scores):
    """Scores and their 95 % intervals.

    Parameters
    ----------
    log_loss, accuracy, auc, brier, calibration_error
        As for `Scores`.
    intervals : Intervals
    """

    intervals: Intervals


@dataclass(frozen=True, kw_only=True)
class HoldoutMetrics(Metrics):
    """Metrics on a holdout, of a head that was trained and tuned without it.

    Parameters
    ----------
    images : int
        Images held out.
    fraction : float
        Fraction of the images that was requested.
    """

    images: int
    fraction: float


@dataclass(frozen=True, kw_only=True)
class NestedMetrics(Metrics):
    """Metrics of nested cross-validation.

    Parameters
    ----------
    clipped : float
        Log loss with the clips that were selected.
    """

    clipped: float


@dataclass(frozen=True, kw_only=True)
class LabelledTestScores(Scores):
    """Scores on a labelled test split.

    Parameters
    ----------
    images : int
        Images scored.
    unreadable : int
    """

    images: int
    unreadable: int


@dataclass(frozen=True, kw_only=True)
class Clip(Result):
    """The selected clip.

    Parameters
    ----------
    chosen : float
        Probabilities in a submission are clipped to ``[chosen, 1 - chosen]``.
    log_loss : float
        Out of fold, with this clip.
    log_loss_2017 : float
        Out of fold, with the clip of the project of 2017, 0.05.
    """

    chosen: float
    log_loss: float
    log_loss_2017: float


@dataclass(frozen=True, kw_only=True)
class PathPoint(Result):
    """A value of C, and the out-of-fold log loss with it."""

    C: float
    log_loss: float


@dataclass(frozen=True, kw_only=True)
class LearningCurvePoint(Result):
    """How many images each fold's head was trained on, and the out-of-fold log loss with its 95 % interval."""

    images: int
    log_loss: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class CorrectionMetrics(Result):
    """The corrections that were applied, and what they changed.

    The log losses are out of fold, by the same folds, drawn from the labels before correction, and over the images that
    were neither relabelled nor dropped.

    Parameters
    ----------
    relabelled, kept, dropped : int
        Images whose label was corrected, whose label was confirmed, and that were not trained on.
    moved : int
        Images whose folder says something else than when they were judged, and than the verdict, which holds.
    unmatched : int
        Verdicts on images that are not in the training split.
    compared : int
        Images over which the log losses are.
    log_loss_before, log_loss_after : float or None
        Of heads that were trained without and with the corrections; None if no images are compared.
    difference : float or None
        The second minus the first.
    interval : pair of float or None
        95 % interval of the difference, paired by image.
    """

    relabelled: int
    kept: int
    dropped: int
    moved: int
    unmatched: int
    compared: int
    log_loss_before: float | None = None
    log_loss_after: float | None = None
    difference: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingMetrics(Metrics):
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
    corrections : CorrectionMetrics or None
        None if there are no corrections.
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
    corrections: CorrectionMetrics | None = None
    test: LabelledTestScores | None = None
    holdout: HoldoutMetrics | None = None
    nested: NestedMetrics | None = None
    learning_curve: tuple[LearningCurvePoint, ...] = ()


def read_metrics(path: Path, hint: str) -> TrainingMetrics:
    """Read metrics.json.

    Raises
    ------
    CatsDogsError
        It is missing or damaged; the error has this `hint`.
    """
    return convert(path, read_json(path, hint), TrainingMetrics, hint)
