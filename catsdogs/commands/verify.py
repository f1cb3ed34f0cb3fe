"""Check every file of an artifacts folder against its checksum."""

from dataclasses import dataclass
from pathlib import Path

from ..artifacts import Artifacts
from ..cache import duplicates, read_duplicates, read_network
from ..errors import CatsDogsError, Problems
from ..head import TRAIN_HINT, check_head, read_verdicts, submission_staleness
from ..locks import RESULTS, require_unlocked
from ..result import Result
from ..storage import NOTE_HINT, read_json, read_timings


@dataclass(frozen=True)
class Verification(Result):
    """The result of `verify`.

    Parameters
    ----------
    images : dict of str to int
        Rows that match their checksums, by split.
    head : bool
        Whether there is a head that is intact and was trained on these features.
    submission : bool
        Whether there is a submission that is intact and up to date.
    problems : tuple of str
        Each problem and how to fix it.
    """

    images: dict[str, int]
    head: bool
    submission: bool
    problems: tuple[str, ...]


def verify(artifacts: str | Path = "artifacts") -> Verification:
    """Check every file against its checksum, without writing anything.

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
        There are no features, or another process is writing.
    """
    opened = Artifacts(artifacts)
    require_unlocked(opened.root, RESULTS)
    images: dict[str, int] = {}
    problems = Problems()
    check = problems.check
    manifest = check(lambda: opened.cache.manifest)
    if manifest is None and not problems:
        opened.cache.require_manifest()
    for split in manifest.splits if manifest else ():
        if features := check(opened.cache.load, split):
            images[split] = len(features.ids)
    if manifest and manifest.provenance.network:
        check(read_network, opened.features, manifest.provenance.network)
    head = manifest is not None and (opened.head_metadata.exists() or opened.head.exists())
    submission = opened.submission.exists()
    trained = None
    if head:
        trained, stale = check(check_head, opened) or (None, None)
        if stale:
            trainable = "train" in opened.cache.digests()
            hint = TRAIN_HINT if trainable else "Run catsdogs extract with the training images, and then catsdogs train"
            problems.append(CatsDogsError(stale, hint))
        trained, head = (None, False) if stale else (trained, trained is not None)
    complete = manifest is not None and not any(map(manifest.missing_views, manifest.splits))
    if complete and read_duplicates(opened.cache) is None:
        path = opened.features / duplicates.ARRAY
        hint = "Run catsdogs train, or catsdogs extract with the same images: both search for duplicates"
        problems.append(CatsDogsError(f"{path} is missing, damaged or stale", hint))
    check(read_verdicts, opened)
    check(read_json, opened.source, NOTE_HINT)
    check(read_timings, opened.timings)
    if submission and (reason := submission_staleness(opened, trained)):
        problems.append(CatsDogsError(f"{opened.submission}: {reason}", "Run catsdogs submit"))
        submission = False
    return Verification(images, head, submission, problems.texts())
