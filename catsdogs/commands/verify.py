"""An artifacts folder comes in; out goes whether every file is what was written, or which is not and what mends it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ..artifacts import NOTE, Artifacts, read_json, require_unlocked
from ..cache import digests, kept_duplicates, load_features, read_manifest, read_network
from ..errors import CatsDogsError
from ..head import TRAIN, Head, load
from .submit import inputs_digest
from .train import head_staleness


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Parameters
    ----------
    images : dict of str to int
        Rows whose checksums hold, by split.
    head : bool
        Whether there is a head, and it is whole and of these features.
    submission : bool
        Whether there is a submission, and it is as it was written.
    problems : tuple of str
        What is not well, and what mends it, a line each.
    """

    images: dict[str, int]
    head: bool
    submission: bool
    problems: tuple[str, ...]


def verify(artifacts: str | Path = "artifacts") -> Verification:
    """Hold every file against its checksum; nothing is written.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder.

    Returns
    -------
    Verification

    Raises
    ------
    CatsDogsError
        There is nothing to verify, or another process is writing it.
    """
    where = Artifacts(Path(artifacts))
    require_unlocked(where)
    images: dict[str, int] = {}
    problems: list[CatsDogsError] = []
    try:
        manifest = read_manifest(where.features)
    except CatsDogsError as error:
        manifest = None
        problems.append(error)
    else:
        if manifest is None:
            raise CatsDogsError(f"there are no features in {where.root}", "Run catsdogs extract DATA first")
    for split in manifest.splits if manifest else ():
        try:
            images[split] = len(load_features(artifacts, split).ids)
        except CatsDogsError as error:
            problems.append(error)
    if manifest and manifest.provenance.network:
        try:
            read_network(where.features, manifest.provenance.network)
        except CatsDogsError as error:
            problems.append(error)
    head = manifest is not None and (where.head_metadata.exists() or where.head.exists())
    submission = where.submission.exists()
    if head and (stale := head_staleness(artifacts)):
        problems.append(CatsDogsError(stale, TRAIN))
        head = False
    if manifest and all(entry["complete"] for entry in manifest.splits.values()) and kept_duplicates(artifacts) is None:
        problems.append(CatsDogsError(f"{where.duplicates} is missing, or not as it was written", TRAIN))
    for note in (where.source, where.timings):
        try:
            read_json(note, NOTE)
        except CatsDogsError as error:
            problems.append(error)
    if submission and not is_as_written(where):
        problems.append(
            CatsDogsError(f"{where.submission} is not as it was written", "Run catsdogs submit: it writes it anew")
        )
        submission = False
    elif submission and head and (late := submission_staleness(where, load(where))):
        problems.append(CatsDogsError(f"{where.submission} is stale: {late}", "Run catsdogs submit: it writes it anew"))
        submission = False
    return Verification(images, head, submission, tuple(map(str, problems)))


def submission_staleness(where: Artifacts, trained: Head) -> str | None:
    """Return why the submission that is there is not what `submit` would write now; older ones have no note of that."""
    noted = read_json(where.timings, NOTE).get("submit")
    made = noted.get("inputs_digest") if isinstance(noted, dict) else None
    now = inputs_digest(trained, digests(where.root).get("test", ""))
    return None if made in (None, now) else "it is of another head, or of other features"


def is_as_written(artifacts: Artifacts) -> bool:
    """Whether submission.csv has the SHA-256 that was noted when it was written."""
    try:
        noted = read_json(artifacts.timings, NOTE).get("submit", {}).get("sha256")
        return bool(noted == hashlib.sha256(artifacts.submission.read_bytes()).hexdigest())
    except (CatsDogsError, OSError, AttributeError):
        return False
