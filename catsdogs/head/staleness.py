"""Tell whether the head and the submission are what would be written now, and if not, why."""

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from ..artifacts import Artifacts
from ..cache import Features, Manifest
from ..errors import CatsDogsError
from ..storage import NOTE_HINT, read_json
from .files import Head, damaged_files, load


def head_staleness(artifacts: Artifacts) -> str | None:
    """Return why the head must be trained anew, or None where it and all that was written with it are current.

    Parameters
    ----------
    artifacts : Artifacts
    """
    cache = artifacts.cache
    manifest = cache.manifest
    try:
        trained = load(artifacts)
    except CatsDogsError as error:
        return error.message
    if damaged := damaged_files(artifacts, trained):
        return f"{damaged[0]} is missing, or was changed"
    if manifest:
        now = {split: digest for split, digest in cache.digests().items() if split == "train" or cache.labelled(split)}
        made_by = head_inputs(manifest, now)
        if all(trained.metadata[name] == value for name, value in made_by.items()):
            return None
    return "the head is not of the features as they are now"


def submission_staleness(artifacts: Artifacts, trained: Head | None) -> str | None:
    """Return why submission.csv is not what `submit` would write now, or None where it is.

    Parameters
    ----------
    artifacts : Artifacts
    trained : Head or None
        The current head. None where there is none, or it is stale: then only changes to the file are told.
    """
    if not artifacts.submission.exists():
        return "there is none yet"
    if not _is_unchanged(artifacts):
        return "it is not as it was written"
    if trained is None:
        return None
    made = read_json(artifacts.timings, NOTE_HINT)["submit"].get("inputs_digest")
    now = inputs_digest(trained, artifacts.cache.digests().get("test", ""))
    return None if made == now else "it is of another head, or of other features"


def _is_unchanged(artifacts: Artifacts) -> bool:
    """Whether submission.csv has the SHA-256 that was noted when it was written."""
    try:
        noted = read_json(artifacts.timings, NOTE_HINT).get("submit", {}).get("sha256")
        return bool(noted == hashlib.sha256(artifacts.submission.read_bytes()).hexdigest())
    except (CatsDogsError, OSError, AttributeError):
        return False


def head_inputs(cache: Manifest | Features, trained_on: Mapping[str, str]) -> dict[str, Any]:
    """Return what a head follows from, as head.json has it.

    Parameters
    ----------
    cache : Manifest or Features
        What made the features, and their classes and views.
    trained_on : dict of str to str
        `Features.digest` of the splits that it was trained on and scored on.
    """
    provenance = cache.provenance
    network = {"network": provenance.network} if provenance.network else {}
    return {
        "classes": list(cache.classes),
        "backbone": {"weights_name": provenance.weights_name, "sha256": provenance.sha256, **network},
        "pixels": provenance.pixels,
        "precision": provenance.precision,
        "views": list(cache.views),
        "features": dict(trained_on),
        "versions": {"scikit-learn": version("scikit-learn")},
    }


def inputs_digest(trained: Head, test: str) -> dict[str, str]:
    """Return what a submission follows from: the SHA-256 of the head's coefficients, and the test features' digest."""
    return {"head": trained.metadata["files"]["head.npz"], "features": test}
