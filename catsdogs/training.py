"""The cached features come in; the head, its metrics and the out-of-fold predictions go out."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import head
from .artifacts import Artifacts, record_timing, to_csv, to_json, writing
from .cache import Features, Origin, digests, labelled_splits, load_features, read_manifest
from .errors import CatsDogsError
from .folds import FOLDS, draw_folds
from .layout import CLASSES
from .metrics import score
from .progress import Progress

SEED = 0
"""Of the folds."""

CLIP = 0.005
"""No probability in a submission is nearer to 0 or 1 than this: a wrong answer then costs 5.3 and not more."""


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """What `train` did.

    Parameters
    ----------
    metrics : dict
        The content of metrics.json.
    seconds : float
        Wall time, loading included.
    """

    metrics: dict[str, Any]
    seconds: float


def train(artifacts: str | Path = "artifacts", *, partial: bool = False, progress: Progress | None = None) -> Training:
    """Train a head on the cached features, and say out of fold how good it is.

    Writes head.npz, head.json, head.joblib, metrics.json and predictions.csv. A labelled test split is never trained
    on: it is scored, and metrics.json says under "test" how well.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder, with features in it.
    partial : bool
        Train on the rows that are there although the cache is not complete.
    progress : callable, optional
        Told how far it is.

    Returns
    -------
    Training

    Raises
    ------
    CatsDogsError
        The cache is missing, incomplete or damaged, or there are too few images of a class.
    """
    start = time.perf_counter()
    where = Artifacts(Path(artifacts))
    features = load_features(artifacts, partial=partial)
    rows = _usable(features)
    x, labels = features.features[rows], features.labels[rows]
    folds = draw_folds(features.digests[rows], labels, seed=SEED)
    found = head.cross_validate(x, labels, folds, progress=progress)
    if progress:
        progress("fitting the head", 0, 0)
    estimator = head.fit(x, labels, found.c)
    test = _labelled_test(artifacts, partial=partial)
    metrics: dict[str, Any] = {
        **score(labels, found.probabilities),
        "how": f"out of fold, {FOLDS} folds; C was chosen by the same folds",
        "images": len(labels),
        "unreadable": len(features.unreadable),
        "C": found.c,
        "path": [{"C": c, "log_loss": loss} for c, loss in found.path],
        "folds": [score(labels[folds == fold], found.probabilities[folds == fold]) for fold in range(FOLDS)],
    }
    if test and test.readable.any():
        kept = test.readable
        metrics["test"] = {
            **score(test.labels[kept], estimator.predict_proba(test.features[kept])[:, 1]),
            "images": int(kept.sum()),
            "unreadable": len(test.unreadable),
        }
    with writing(where):
        table = zip(features.ids[rows], labels, found.probabilities, folds, strict=True)
        predictions = to_csv(("id", "label", "probability", "fold"), table)
        trained_on = {"train": features.digest, **({"test": test.digest} if test else {})}
        facts = {"C": found.c, "clip": CLIP, "positive_share": float(labels.mean())}
        facts = _provenance(features.origin, features.views, trained_on) | facts
        head.save(where, estimator, facts, beside={where.predictions: predictions, where.metrics: to_json(metrics)})
        seconds = time.perf_counter() - start
        record_timing(where, "train", images=len(labels), seconds=round(seconds, 3))
    _log.info("head with C %.3g on %d images: log loss %.4f", found.c, len(labels), metrics["log_loss"])
    return Training(metrics, seconds)


def why_stale(artifacts: str | Path = "artifacts") -> str | None:
    """Return why the head must be trained anew, or None where it and what was written with it are as they should be."""
    where = Artifacts(Path(artifacts))
    manifest = read_manifest(where.features)
    try:
        trained = head.load(where)
    except CatsDogsError as error:
        return error.message
    if damaged := head.damaged_files(where, trained):
        return f"{damaged[0]} is missing, or was changed"
    if manifest:
        labelled = labelled_splits(artifacts)
        now = {split: digest for split, digest in digests(artifacts).items() if split == "train" or labelled[split]}
        made_by = _provenance(manifest.origin, manifest.views, now)
        if all(trained.facts[name] == value for name, value in made_by.items()):
            return None
    return "the head is not of the features as they are now"


def _usable(features: Features) -> NDArray[np.bool_]:
    rows = features.readable & (features.labels >= 0)
    for label, name in enumerate(CLASSES):
        count = int(np.sum(features.labels[rows] == label))
        if count < FOLDS:
            raise CatsDogsError(
                f"readable training images of the class {name}: {count}", f"Give at least {FOLDS} of each class"
            )
    return rows


def _labelled_test(artifacts: str | Path, *, partial: bool = False) -> Features | None:
    """Return the test split where it has labels, as in the layout of 2017."""
    if not labelled_splits(artifacts).get("test"):
        return None
    return load_features(artifacts, "test", partial=partial)


def _provenance(origin: Origin, views: Sequence[str], trained_on: Mapping[str, str]) -> dict[str, Any]:
    return {
        "classes": list(CLASSES),
        "backbone": {"form": origin.form, "sha256": origin.sha256},
        "pixels": origin.pixels,
        "precision": origin.precision,
        "views": list(views),
        "features": dict(trained_on),
        "versions": {"scikit-learn": version("scikit-learn")},
    }
