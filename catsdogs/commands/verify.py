"""Check every file of an artifacts folder against its checksum."""

from dataclasses import dataclass

from ..artifacts import Artifacts, ArtifactsPath
from ..cache import digests, load_features, read_duplicates, read_manifest, read_network
from ..errors import CatsDogsError
from ..head import TRAIN_HINT
from ..head.staleness import check_head, current_features, submission_staleness
from ..locks import require_unlocked
from ..storage import NOTE_HINT, read_json
from .result import Result


@dataclass(frozen=True)
class Verification(Result):
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


def verify(artifacts: ArtifactsPath = "artifacts") -> Verification:
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
    artifacts = Artifacts.at(artifacts)
    require_unlocked(artifacts)
    images: dict[str, int] = {}
    problems: list[CatsDogsError] = []
    try:
        manifest = read_manifest(artifacts.features)
    except CatsDogsError as error:
        manifest = None
        problems.append(error)
    else:
        if manifest is None:
            raise CatsDogsError(f"there are no features in {artifacts.root}", "Run catsdogs extract DATA first")
    for split in manifest.splits if manifest else ():
        try:
            images[split] = len(load_features(artifacts, split).ids)
        except CatsDogsError as error:
            problems.append(error)
    if manifest and manifest.provenance.network:
        try:
            read_network(artifacts.features, manifest.provenance.network)
        except CatsDogsError as error:
            problems.append(error)
    head = manifest is not None and (artifacts.head_metadata.exists() or artifacts.head.exists())
    submission = artifacts.submission.exists()
    trained = None
    if manifest and head:
        trained, stale = check_head(artifacts, manifest, current_features(artifacts))
        if stale:
            problems.append(CatsDogsError(stale, TRAIN_HINT))
            trained, head = None, False
    if manifest and all(entry["complete"] for entry in manifest.splits.values()) and read_duplicates(artifacts) is None:
        problems.append(CatsDogsError(f"{artifacts.duplicates} is missing, or not as it was written", TRAIN_HINT))
    for note in (artifacts.source, artifacts.timings):
        try:
            read_json(note, NOTE_HINT)
        except CatsDogsError as error:
            problems.append(error)
    test = digests(artifacts).get("test", "") if trained else ""
    if submission and (reason := submission_staleness(artifacts, trained, test)):
        problems.append(CatsDogsError(f"{artifacts.submission}: {reason}", "Run catsdogs submit: it writes it anew"))
        submission = False
    return Verification(images, head, submission, tuple(map(str, problems)))
