"""Train the head on the cached features and score it out of fold."""

import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from .. import head
from ..artifacts import Artifacts, ArtifactsFolder
from ..backbone import N_FEATURES
from ..cache import Features, group_images, group_keys, load_duplicates
from ..cache.films import MANY, SAMPLE, nearly_same_elsewhere
from ..choices import Study
from ..errors import CatsDogsError, OptionError
from ..head import METHOD, HeadMetadata, TrainingSet
from ..head.corrections import CorrectedLabels, Verdicts, measure_corrections, read_uncorrected_logits, read_verdicts
from ..head.designs import are_few
from ..head.folds import FOLDS, SEED, count_groups, draw_folds, draw_holdout, draw_order
from ..head.logits import to_probabilities
from ..head.metrics import CLIP_2017, best_clip, log_loss, score, score_with_intervals
from ..head.paths import RegularisationPath
from ..head.results import Clip, LabelledTestScores, PathPoint, TrainingMetrics
from ..head.studies import learning_curve, nested_cv, score_holdout
from ..head.suspects import find_suspects
from ..locks import RESULTS
from ..paths import user_path
from ..progress import Progress, tell
from ..result import Result
from ..sources.classes import MIN_IMAGES, Classes
from ..storage import read_table, record_timing, to_csv, to_json

_SUSPECT = ("id", "label", "probability")
"""The columns of suspects.csv, from those of predictions.csv."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training(Result):
    """The result of `train`.

    Parameters
    ----------
    metrics : TrainingMetrics
        The content of metrics.json.
    suspects : int
        Training images in suspects.csv: their label may be wrong.
    seconds : float
        Wall time, including loading.
    """

    metrics: TrainingMetrics
    suspects: int
    seconds: float


def train(
    artifacts: ArtifactsFolder = "artifacts",
    *,
    exclude: str | Path | None = None,
    holdout: float | None = None,
    studies: Collection[Study] = (),
    near_duplicates: bool = True,
    progress: Progress | None = None,
) -> Training:
    """Train a head on the cached features and score it out of fold.

    Writes head.npz, head.json, head.joblib, metrics.json, predictions.csv and suspects.csv. Corrections that `correct`
    has kept are applied. A labelled test split is never trained on; its scores are "test" in metrics.json.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder, with features.
    exclude : str or Path, optional
        A CSV file with a column "id", such as suspects.csv. These images are scored, but not trained on.
    holdout : float, optional
        Fraction of the images. A second head is trained and tuned without them, and scored on them.
    studies : collection of {"nested", "learning_curve"}
        "nested" adds nested cross-validation: transform, C and clip are selected without the fold that is scored. With
        fewer than 2,048 images it is always added, as it takes less time than the selection.
        "learning_curve" also trains on fewer images.
    near_duplicates : bool
        Keep near-duplicates in one fold, and search for them if `extract` did not. If false, only identical images
        share a fold.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Returns
    -------
    Training

    Raises
    ------
    CatsDogsError
        The cache is missing, incomplete or damaged, a class has too few images, or an option is not valid.
    """
    _check_options(holdout, studies)
    start = time.perf_counter()
    with Artifacts.open(artifacts, RESULTS) as opened:
        images = _load_images(opened, exclude, near_duplicates=near_duplicates, progress=progress)
        training_set, corrected = images.training_set, images.corrected
        held_out = _check_images(images, holdout)
        if images.near_duplicates:
            _warn_of_few_pictures(images)
        found = head.cross_validate(training_set, progress=progress)
        tell(progress, "fitting the head", 0, 0)
        fitted = head.fit(training_set, found)
        test = opened.cache.load("test") if opened.cache.labelled("test") else None  # as in the layout of 2017
        metrics = replace(
            _metrics(images, found, fitted),
            test=_score_test(test, fitted) if test else None,
            holdout=score_holdout(training_set, held_out, fraction=holdout) if holdout is not None else None,
            **_run_studies(training_set, found, studies, progress),
        )
        metadata = _metadata(images, test, metrics)
        columns: dict[str, NDArray[Any]] = {
            "id": images.ids,
            "label": training_set.labels,
            "probability": to_probabilities(found.logits),
            "logit": found.logits,
            "fold": training_set.folds,
        }
        if corrected.judged.any():
            without = read_uncorrected_logits(opened, metadata)
            if without is None:
                uncorrected = replace(training_set, labels=images.labels, train_mask=~images.excluded)
                without = head.cross_validate(uncorrected, progress=progress).logits
            metrics = replace(metrics, corrections=measure_corrections(corrected, without, found.logits))
            columns |= {"correction": corrected.kinds, "uncorrected_logit": without}
        suspects = find_suspects(training_set.labels, found.logits)
        suspects = suspects[~corrected.judged[suspects]]
        extra_files = {
            opened.predictions: to_csv([*columns], zip(*columns.values(), strict=True)),
            opened.suspects: to_csv(_SUSPECT, zip(*(columns[name][suspects] for name in _SUSPECT), strict=True)),
            opened.metrics: to_json(metrics.to_dict()),
        }
        head.save(opened, fitted, metadata, extra_files=extra_files)
        seconds = time.perf_counter() - start
        record_timing(opened.timings, "train", images=metrics.images, seconds=round(seconds, 3))
    _log.info("head, %s, C %g, on %d images: log loss %.4f", found.transform, found.C, metrics.images, metrics.log_loss)
    return Training(metrics, len(suspects), seconds)


@dataclass(frozen=True, eq=False)
class _Images:
    """The images that a head is trained on and scored on.

    Parameters
    ----------
    features : Features
        Of all training images, also of those that are not readable.
    ids : ndarray of shape (n,), str
    labels : ndarray of shape (n,), int8
        Before correction.
    groups : ndarray of shape (n,), void
        Equal for images that are in one fold.
    excluded : ndarray of shape (n,), bool
        By the user.
    verdicts : Verdicts
    corrected : CorrectedLabels
    training_set : TrainingSet
    near_duplicates : bool
        Whether near-duplicates are in one fold.
    """

    features: Features
    ids: NDArray[np.str_]
    labels: NDArray[np.int8]
    groups: NDArray[np.void]
    excluded: NDArray[np.bool_]
    verdicts: Verdicts
    corrected: CorrectedLabels
    training_set: TrainingSet
    near_duplicates: bool


def _check_options(holdout: float | None, studies: Collection[Study]) -> None:
    if unknown := ({studies} if isinstance(studies, str) else set(studies)) - set(get_args(Study)):
        raise OptionError(f"{min(unknown, key=str)!a} is not a study", f"Give {' or '.join(get_args(Study))}")
    if holdout is not None and not 0 < holdout < 1:
        raise OptionError(f"the holdout is {holdout}", "Give a fraction above 0 and below 1, such as 0.15")


def _load_images(
    artifacts: Artifacts, exclude: str | Path | None, *, near_duplicates: bool, progress: Progress | None
) -> _Images:
    """Load the features, and apply all corrections; refuse too few images with a label."""
    features = artifacts.cache.load()
    rows = features.readable & (features.labels >= 0)
    first = "".join(f", such as {name}: {reason}" for name, reason in list(features.unreadable.items())[:1])
    hint = f"Give at least {MIN_IMAGES} of each class; {len(features.unreadable):,} are unreadable{first}"
    _require_enough(features.labels[rows], "readable training images", features.classes, first and hint)
    ids, labels, digests = features.ids[rows], features.labels[rows], features.digests[rows]
    duplicates = load_duplicates(artifacts.cache, near=near_duplicates, progress=progress)
    groups = group_keys(digests, group_images(artifacts.cache, features, duplicates)[rows])
    excluded, verdicts = _excluded(exclude, ids), read_verdicts(artifacts)
    corrected = verdicts.apply(digests, labels, features.classes)
    training_set = TrainingSet(
        features=features.features if rows.all() else features.features[rows],  # a copy doubles the memory
        labels=corrected.labels,
        folds=draw_folds(groups, labels, seed=SEED),  # of the labels before correction, so that losses are paired
        order=draw_order(digests, seed=SEED),
        train_mask=~excluded & ~corrected.dropped,
    )
    return _Images(features, ids, labels, groups, excluded, verdicts, corrected, training_set, duplicates.near)


def _check_images(images: _Images, holdout: float | None) -> NDArray[np.bool_]:
    """Return which rows are held out; refuse too few images in either part, or too few different ones."""
    groups, classes, training_set = images.groups, images.features.classes, images.training_set
    labels, trained_on = training_set.labels, training_set.train_mask
    _require_enough(labels[trained_on], "remaining training images", classes)
    for name, count in zip(classes, count_groups(groups[trained_on], labels[trained_on]), strict=True):
        if count < FOLDS:
            raise CatsDogsError(
                f"too few different training images of the class {name}: {count}",
                f"Give at least {FOLDS} of each class; identical images and near-duplicates count once, for one class. "
                "If they are not the same to you, train with --no-near-duplicates",
            )
    if holdout is None:
        return np.zeros(len(labels), bool)
    held_out = draw_holdout(groups, labels, holdout, seed=SEED)
    hint = f"Set --holdout so that at least {MIN_IMAGES} of each class are on both sides, or add images"
    _require_enough(labels[~held_out & trained_on], "remaining training images", classes, hint)
    _require_enough(labels[held_out], "images held out", classes, hint)
    return held_out


def _require_enough(labels: NDArray[np.int8], what: str, classes: Classes, hint: str = "") -> None:
    for label, name in enumerate(classes):
        if (count := int(np.sum(labels == label))) < MIN_IMAGES:
            message = f"{what} of the class {name}: {count}"
            raise CatsDogsError(message, hint or f"Give at least {MIN_IMAGES} of each class")


def _run_studies(
    training_set: TrainingSet, found: head.CrossValidation, studies: Collection[Study], progress: Progress | None
) -> dict[str, Any]:
    """Return the metrics of the studies by their names; few images have nested cross-validation in any case."""
    done: dict[str, Any] = {}
    if "nested" in studies or are_few(len(training_set.labels)):
        done["nested"] = nested_cv(training_set, found, progress=progress)
    if "learning_curve" in studies:
        done["learning_curve"] = learning_curve(training_set, found, progress=progress)
    return done


def _metrics(images: _Images, found: head.CrossValidation, fitted: head.FittedHead) -> TrainingMetrics:
    labels, folds = images.training_set.labels, images.training_set.folds
    clip = best_clip(labels, found.logits)
    return TrainingMetrics(
        **vars(score_with_intervals(labels, found.logits)),
        how=f"out of fold, {FOLDS} folds; transform and C were selected on the same folds",
        images=len(labels),
        excluded=int(np.sum(~images.training_set.train_mask)),
        transform=found.transform,
        C=found.C,
        gradient=fitted.gradient_norm,
        paths=_points(found.paths),
        trials=_points(found.trials),
        clip=Clip(
            chosen=clip,
            log_loss=log_loss(labels, found.logits, clip=clip),
            log_loss_2017=log_loss(labels, found.logits, clip=CLIP_2017),
        ),
        folds=tuple(score(labels[folds == fold], found.logits[folds == fold]) for fold in range(FOLDS)),
        classes=images.features.classes,
        unreadable=len(images.features.unreadable),
        near_duplicates=images.near_duplicates,
    )


def _points(paths: Mapping[str, RegularisationPath]) -> dict[str, tuple[PathPoint, ...]]:
    return {name: tuple(PathPoint(C=c, log_loss=loss) for c, loss in path.points) for name, path in paths.items()}


def _score_test(test: Features, fitted: head.FittedHead) -> LabelledTestScores | None:
    readable, unreadable = test.readable, len(test.unreadable)
    if not readable.any():
        return None
    scores = score(test.labels[readable], fitted.classifier.logits(test.features[readable]))
    return LabelledTestScores(**vars(scores), images=int(readable.sum()), unreadable=unreadable)


def _metadata(images: _Images, test: Features | None, metrics: TrainingMetrics) -> HeadMetadata:
    features = images.features
    return HeadMetadata(
        method=METHOD,
        classes=features.classes,
        provenance=features.provenance,
        views=features.views,
        features={"train": features.digest, **({"test": test.digest} if test else {})},
        transform=metrics.transform,
        C=metrics.C,
        clip=metrics.clip.chosen,
        positive_share=float(images.training_set.labels.mean()),
        excluded=tuple(images.ids[images.excluded].tolist()),
        dropped=tuple(images.ids[images.corrected.dropped].tolist()),
        corrections=images.verdicts.sha256,
        near_duplicates=images.near_duplicates,
        versions={"scikit-learn": version("scikit-learn")},
    )


def _warn_of_few_pictures(images: _Images) -> None:
    """Warn if many images are nearly the same as images that no pair connects to them, or if most are copies."""
    groups, training_set = images.groups, images.training_set
    n, different = len(groups), len(np.unique(groups))
    sample = training_set.order[:SAMPLE]
    near = nearly_same_elsewhere(training_set.features[sample, :N_FEATURES], groups[sample])
    if near > MANY:
        _log.warning(
            "%.0f %% of the training images are nearly the same as images in other folds. If they are frames of films, "
            "or the same things again, the scores are too good: keep a few of each",
            100 * near,
        )
    elif 2 * different < n:
        _log.warning("the %s training images show only %s different pictures, in several versions each", n, different)


def _excluded(path: str | Path | None, ids: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Return which rows the CSV file lists; none if no file was given."""
    if path is None:
        return np.zeros(len(ids), bool)
    hint = 'Give a CSV file with a column "id", such as suspects.csv'
    listed = [row["id"] for row in read_table(user_path(path), ("id",), hint)]
    if unknown := set(listed) - set(ids.tolist()):
        raise CatsDogsError(f"{min(unknown)!a} in {path} is not the id of a training image", hint)
    return np.isin(ids, listed)
