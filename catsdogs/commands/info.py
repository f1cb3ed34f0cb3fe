"""Describe an artifacts folder: its content, its provenance, and what is stale."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import head
from ..artifacts import Artifacts
from ..backbone import ModelCache, describe_model_cache
from ..cache import Manifest, pixel_differences, read_duplicates
from ..errors import Problems
from ..head import TrainingMetrics, check_head, page_staleness, read_metrics, read_verdicts, submission_staleness
from ..images import identity
from ..result import Result
from ..storage import NOTE_HINT, list_files, read_json, read_timings


@dataclass(frozen=True)
class Stale:
    """A file or folder that is missing or stale.

    Parameters
    ----------
    what : str
        Its path below the artifacts.
    why : str
    command : list of str
        The command that rebuilds it, after the commands of earlier entries.
    """

    what: str
    why: str
    command: list[str]


@dataclass(frozen=True)
class Info(Result):
    """The content of an artifacts folder and its provenance; missing parts are empty.

    Parameters
    ----------
    artifacts : Path
        The folder.
    features : Manifest
    shards : int
        Rows of an unfinished run: `extract` with the same weights and options continues it.
    duplicates : dict of str to int
        Counts of pairs of identical and near-duplicate images, as in `cache.Duplicates.counts`; empty if they were not
        searched yet.
    corrections : dict of str to int
        Numbers of corrections, as in `Correction`; empty if there are none.
    head : dict
        Content of head.json, and as "stale" why the head must be retrained, or None.
    metrics : TrainingMetrics or None
        The content of metrics.json; None if there is no valid head.
    source : dict of str to str
        The content of source.json: the paths of the images of each split and of the weights.
    timings : dict of str to dict
        The content of timings.json: the duration of each step.
    files : dict of str to int
        Size in bytes of each file, by its path below the folder.
    arrays : dict of str to dict
        "shape" and "dtype" of each file that is an array.
    problems : tuple of str
        Why other files than the features cannot be read, and how to fix it.
    stale : tuple of Stale
        What must be rebuilt, in the order of the commands.
    model_cache : ModelCache
        The networks that are kept for all artifacts; its folder may be deleted at any time.
    """

    artifacts: Path
    features: Manifest
    shards: int
    duplicates: dict[str, int]
    corrections: dict[str, int]
    head: dict[str, Any]
    metrics: TrainingMetrics | None
    source: dict[str, Any]
    timings: dict[str, Any]
    files: dict[str, int]
    arrays: dict[str, dict[str, Any]]
    problems: tuple[str, ...]
    stale: tuple[Stale, ...]
    model_cache: ModelCache


def info(artifacts: str | Path = "artifacts") -> Info:
    """Return the content of the artifacts, their provenance, and what is stale.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder.

    Returns
    -------
    Info

    Raises
    ------
    CatsDogsError
        There are no features, or they are damaged.
    """
    opened = Artifacts(artifacts)
    manifest = opened.cache.require_manifest()
    there, problems = opened.head_metadata.exists(), Problems()
    check = problems.check
    trained, stale = (check(check_head, opened) or (None, "corrections.csv is damaged")) if there else (None, None)
    made = {**(trained.metadata.to_dict() if trained else {}), "stale": stale} if there else {}
    duplicates = read_duplicates(opened.cache)
    sizes: dict[str, int] = {}
    for path in [path for path in list_files(opened.root) if path.is_file() and not path.name.startswith(".")]:
        with suppress(FileNotFoundError):  # another run has just removed it
            sizes[str(path.relative_to(opened.root))] = path.stat().st_size
    found = Info(
        artifacts=opened.root,
        features=manifest,
        source=check(read_json, opened.source, NOTE_HINT) or {},
        timings=check(read_timings, opened.timings) or {},
        shards=opened.cache.shard_rows,
        duplicates=duplicates.counts() if duplicates else {},
        corrections=check(_count_corrections, opened, manifest) or {},
        head=made,
        metrics=read_metrics(opened.metrics, head.TRAIN_HINT) if there and not stale else None,
        files=sizes,
        arrays={name: array for name in sizes if (array := _describe_array(opened.root / name))},
        problems=problems.texts(),
        stale=(),
        model_cache=describe_model_cache(),
    )
    return replace(found, stale=tuple(_find_stale(opened, found, trained)))


def _count_corrections(artifacts: Artifacts, manifest: Manifest) -> dict[str, int]:
    verdicts = read_verdicts(artifacts)
    if not verdicts.by_digest or "train" not in manifest.splits:
        return {}
    listed = artifacts.cache.list("train")
    return verdicts.apply(listed.digests, listed.labels, manifest.classes).counts()


def _find_stale(artifacts: Artifacts, found: Info, trained: head.Head | None) -> Iterator[Stale]:
    """Yield what is stale: first the features, then the files that are made from them."""
    manifest, why = found.features, found.head.get("stale")
    data = {split: name if Path(name := str(found.source.get(split))).exists() else "DATA" for split in manifest.splits}
    if other := pixel_differences(manifest.provenance.pixels, identity.pixels()):
        sources = set(data.values())
        # With one of two sources, the rows of the other would be removed.
        source_path = sources.pop() if len(sources) == 1 else "DATA"
        yield Stale("features", f"computed from images {other}", _command(artifacts, "extract", source_path, "--prune"))
        why = why or "it was trained on stale features"
    else:
        for split in manifest.splits:
            if missing := manifest.missing_views(split):
                again = _command(artifacts, "extract", data[split])
                yield Stale(f"features/{split}", f"view {', '.join(missing)} is missing", again)
    if "train" not in manifest.splits:
        return
    if why or trained is None:
        yield Stale(artifacts.head_metadata.name, why or "missing", _command(artifacts, "train"))
    invalid = "the head is missing or stale" if why or trained is None else None
    if artifacts.cache.labelled("test") is False:
        asked = found.timings.get("submit", {}).get("clip")
        clip = [] if asked is None else ["--clip", str(asked)]
        if reason := invalid or submission_staleness(artifacts, trained):
            yield Stale(artifacts.submission.name, reason, _command(artifacts, "submit", *clip))
    for page in (artifacts.report, artifacts.review):
        if page.exists() and (reason := invalid or page_staleness(found.timings, page, trained)):
            yield Stale(page.name, reason, _command(artifacts, page.stem))


def _describe_array(path: Path) -> dict[str, Any] | None:
    """Return the shape and dtype in a file's NumPy header; None if it has no such header."""
    # A damaged header raises many kinds of errors.
    with suppress(Exception), path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return {"shape": [*shape], "dtype": "record" if dtype.names else str(dtype)}
    return None


def _command(artifacts: Artifacts, *arguments: str) -> list[str]:
    elsewhere = [] if artifacts.root == Path("artifacts") else ["--artifacts", str(artifacts.root)]
    return ["catsdogs", *arguments, *elsewhere]
