"""Tell whether the head and the submission are what would be written now, and if not, why."""

import hashlib
from collections.abc import Mapping

from ..artifacts import Artifacts
from ..cache import Manifest, digests, labelled_splits
from ..errors import CatsDogsError
from ..storage import NOTE_HINT, read_json
from .files import Head, damaged_files, load
from .metadata import METHOD


def check_head(artifacts: Artifacts, manifest: Manifest, features: Mapping[str, str]) -> tuple[Head | None, str | None]:
    """Load the head, and say why it must be trained anew.

    Parameters
    ----------
    artifacts, manifest, features
        As for `head_staleness`.

    Returns
    -------
    head : Head or None
        None where it cannot be loaded.
    reason : str or None
        As `head_staleness` has it, or why the head cannot be loaded.
    """
    try:
        trained = load(artifacts)
    except CatsDogsError as error:
        return None, error.message
    return trained, head_staleness(artifacts, trained, manifest, features)


def head_staleness(artifacts: Artifacts, trained: Head, manifest: Manifest, features: Mapping[str, str]) -> str | None:
    """Return why the head must be trained anew, or None where it and all that was written with it are current.

    What its numbers depend on decides, and nothing else: another version of a package or another name of the weights
    makes no other head.

    Parameters
    ----------
    artifacts : Artifacts
    trained : Head
    manifest : Manifest
        Of the features that are there.
    features : dict of str to str
        Their digests, as `current_features` returns them.
    """
    if damaged := damaged_files(artifacts, trained):
        return f"{damaged[0]} is missing, or was changed"
    if "train" not in features:
        return "there are no complete training features"
    metadata, provenance = trained.metadata, manifest.provenance
    compared = {
        "the method of training": (metadata.method, METHOD),
        "the classes": (metadata.classes, manifest.classes),
        "the backbone": (metadata.backbone.sha256, provenance.sha256),
        "the quantized network": (metadata.backbone.network, provenance.network),
        "the way pixels are made": (metadata.pixels, provenance.pixels),
        "the precision": (metadata.precision, provenance.precision),
        "the views": (metadata.views, manifest.views),
        "the training features": (metadata.features.get("train"), features["train"]),
        "the test features": (metadata.features.get("test"), features.get("test")),
    }
    for what, (of_head, now) in compared.items():
        if of_head != now:
            return f"{what} changed after the head was trained"
    return None


def current_features(artifacts: Artifacts) -> dict[str, str]:
    """Return the digests of the splits that `train` would use: the training split, and a labelled test split."""
    labelled = labelled_splits(artifacts)
    return {split: digest for split, digest in digests(artifacts).items() if split == "train" or labelled[split]}


def submission_staleness(artifacts: Artifacts, trained: Head | None, test: str) -> str | None:
    """Return why submission.csv is not what `submit` would write now, or None where it is.

    Parameters
    ----------
    artifacts : Artifacts
    trained : Head or None
        The current head. None where there is none, or it is stale: then only changes to the file are told.
    test : str
        Digest of the test features; empty where there are none.
    """
    if not artifacts.submission.exists():
        return "there is none yet"
    try:
        noted = read_json(artifacts.timings, NOTE_HINT).get("submit", {})
        unchanged = noted.get("sha256") == hashlib.sha256(artifacts.submission.read_bytes()).hexdigest()
    except (CatsDogsError, OSError, AttributeError):
        unchanged = False
    if not unchanged:
        return "it is not as it was written"
    if trained is None or noted.get("inputs_digest") == inputs_digest(trained, test):
        return None
    return "it is of another head, or of other features"


def inputs_digest(trained: Head, test: str) -> dict[str, str]:
    """Return what a submission follows from: the SHA-256 of the head's coefficients, and the test features' digest."""
    return {"head": trained.metadata.files["head.npz"], "features": test}
