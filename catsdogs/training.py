"""The cached features come in; the head, its metrics and the out-of-fold predictions go out."""

import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import head
from .artifacts import Artifacts, record_timing, to_csv, to_json, write_atomically, writing
from .cache import Features, labelled_splits, load_features
from .errors import CatsDogsError
from .folds import FOLDS, draw_folds
from .layout import CLASSES
from .metrics import score
from .progress import Progress

SEED = 0
"""Of the folds."""

CLIP = 0.005
"""No probability in a submission is nearer to 0 or 1 than this: a wrong answer then costs 5.3 and not more."""


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
    if test:
        kept = test.readable
        metrics["test"] = {
            **score(test.labels[kept], estimator.predict_proba(test.features[kept])[:, 1]),
            "images": int(kept.sum()),
            "unreadable": len(test.unreadable),
        }
    with writing(where):
        table = zip(features.ids[rows], labels, found.probabilities, folds, strict=True)
        write_atomically(where.predictions, to_csv(("id", "label", "probability", "fold"), table))
        write_atomically(where.metrics, to_json(metrics))
        facts = {"C": found.c, "clip": CLIP, "positive_share": float(labels.mean())}
        head.save(where, estimator, _provenance(features, test) | facts)
        seconds = time.perf_counter() - start
        record_timing(where, "train", images=len(labels), seconds=round(seconds, 3))
    return Training(metrics, seconds)


def is_current(artifacts: str | Path = "artifacts") -> bool:
    """Whether the head that is there was trained on these very features, by this version of scikit-learn."""
    where = Artifacts(Path(artifacts))
    features, test = load_features(artifacts), _labelled_test(artifacts)
    try:
        facts = head.load(where).facts
    except CatsDogsError:
        return False
    written = (where.metrics, where.predictions, where.estimator)
    made_so = all(facts[name] == value for name, value in _provenance(features, test).items())
    return made_so and all(path.is_file() for path in written)


def _usable(features: Features) -> NDArray[np.bool_]:
    rows = features.readable & (features.labels >= 0)
    for label, name in enumerate(CLASSES):
        count = int(np.sum(features.labels[rows] == label))
        if count < FOLDS:
            raise CatsDogsError(
                f"the training split has {count} readable images of the class {name}",
                f"Give at least {FOLDS} of each class",
            )
    return rows


def _labelled_test(artifacts: str | Path, *, partial: bool = False) -> Features | None:
    """Return the test split where it has labels, as in the layout of 2017."""
    if not labelled_splits(artifacts).get("test"):
        return None
    test = load_features(artifacts, "test", partial=partial)
    return test if test.readable.any() else None


def _provenance(features: Features, test: Features | None) -> dict[str, Any]:
    origin = asdict(features.origin)
    return {
        "classes": list(CLASSES),
        "backbone": {name: origin[name] for name in ("form", "sha256")},
        "pixels": origin["pixels"],
        "precision": origin["precision"],
        "views": list(features.views),
        "features": {"train": features.digest, **({"test": test.digest} if test else {})},
        "versions": {"scikit-learn": version("scikit-learn")},
    }
