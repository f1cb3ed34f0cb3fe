"""Find out whether the head and the submission are current, and if not, why they are stale."""

from pathlib import Path
from typing import Any

from ..artifacts import Artifacts
from ..errors import CatsDogsError
from ..storage import read_timings, sha256_of
from .corrections import read_verdicts
from .files import Head, compare_features, damaged_files, load
from .metadata import METHOD


def check_head(artifacts: Artifacts) -> tuple[Head | None, str | None]:
    """Load the head, and find out whether it is stale.

    Returns
    -------
    head : Head or None
        None if it cannot be loaded.
    reason : str or None
        Result of `head_staleness`, or the reason why the head cannot be loaded.
    """
    try:
        trained = load(artifacts)
    except CatsDogsError as error:
        return None, error.message
    return trained, head_staleness(artifacts, trained)


def head_staleness(artifacts: Artifacts, trained: Head) -> str | None:
    """Return why the head is stale, or None if the head and all files written with it are current.

    Only changes that can change its values make a head stale; another version of a package or another name of the
    weights does not.

    Raises
    ------
    CatsDogsError
        corrections.csv cannot be read, or is damaged.
    """
    cache = artifacts.cache
    manifest, features = cache.manifest, cache.digests()
    if damaged := damaged_files(artifacts, trained):
        return f"{damaged[0]} is missing, or was changed"
    if manifest is None or "train" not in features:
        return "there are no complete training features"
    metadata = trained.metadata
    compared = {
        "the method of training": (metadata.method, METHOD),
        "the classes": (metadata.classes, manifest.classes),
        **compare_features(trained, manifest.provenance, manifest.views),
        "the corrections": (metadata.corrections, read_verdicts(artifacts).sha256),
        "the training features": (metadata.features.get("train"), features["train"]),
        "the test features": (metadata.features.get("test"), features.get("test") if cache.labelled("test") else None),
    }
    changed = (what for what, (of_head, now) in compared.items() if of_head != now)
    return next((f"{what} changed after the head was trained" for what in changed), None)


def submission_staleness(artifacts: Artifacts, trained: Head | None) -> str | None:
    """Return why submission.csv is stale, or None if it is current.

    Parameters
    ----------
    artifacts : Artifacts
    trained : Head or None
        The current head. None if there is no head or it is stale; then only changes to the file are checked.
    """
    if not artifacts.submission.exists():
        return "there is none yet"
    try:
        noted = read_timings(artifacts.timings).get("submit", {})
        unchanged = noted.get("sha256") == sha256_of(artifacts.submission.read_bytes())
    except (CatsDogsError, OSError):
        unchanged = False
    if not unchanged:
        return "it was changed after it was written"
    if trained is None:
        return None
    if noted.get("inputs_digest") == inputs_digest(trained, artifacts.cache.digests().get("test", "")):
        return None
    return "it was computed from another head or other features"


def page_staleness(timings: dict[str, Any], page: Path, trained: Head | None) -> str | None:
    """Return why report.html or review.html is stale by timings.json, or None if it shows the current head."""
    shown = timings.get(page.stem, {}).get("head")
    return None if trained and shown == trained.metadata.files["head.npz"] else "it shows another head"


def inputs_digest(trained: Head, test: str) -> dict[str, str]:
    """Return what a submission depends on: the SHA-256 of head.npz, and the digest of the test features."""
    return {"head": trained.metadata.files["head.npz"], "features": test}
