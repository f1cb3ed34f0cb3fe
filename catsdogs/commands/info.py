"""Describe an artifacts folder: what is in it, what made it, and what is stale."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import head
from ..artifacts import Artifacts
from ..cache import Manifest, pixel_differences, read_duplicates
from ..head.staleness import check_head, submission_staleness
from ..images import identity
from ..storage import NOTE_HINT, list_files, read_json
from .result import Result


@dataclass(frozen=True)
class Stale:
    """Something that is not there, or not as it should be by now.

    Parameters
    ----------
    what : str
        A file or folder below the artifacts.
    why : str
    command : list of str
        What makes it anew, where the commands before it in the list have been run.
    """

    what: str
    why: str
    command: list[str]


@dataclass(frozen=True)
class Info(Result):
    """What the artifacts are and what made them; what is not there is empty.

    Parameters
    ----------
    artifacts : Path
        The folder.
    features : Manifest
    shards : int
        Rows of a run that has not ended, or not well: an `extract` by the same weights and options goes on with them.
    duplicates : dict of str to int
        Pairs of images that are the same or nearly so, as `cache.Duplicates.counts` has them; empty where they must be
        looked for yet.
    head : dict
        What made the head, and as "stale" why it must be trained anew, or None.
    metrics : dict
        The content of metrics.json, where the head is valid.
    source : dict of str to str
        The content of source.json: where the images of each split and the weights are.
    timings : dict of str to dict
        The content of timings.json: how long each step took.
    files : dict of str to int
        Size in bytes of each file, by its path below the folder.
    arrays : dict of str to dict
        "shape" and "dtype" of each file that is an array.
    stale : tuple of Stale
        What must be made anew, in the order in which to run the commands.
    """

    artifacts: Path
    features: Manifest
    shards: int
    duplicates: dict[str, int]
    head: dict[str, Any]
    metrics: dict[str, Any]
    source: dict[str, Any]
    timings: dict[str, Any]
    files: dict[str, int]
    arrays: dict[str, dict[str, Any]]
    stale: tuple[Stale, ...]


def info(artifacts: str | Path = "artifacts") -> Info:
    """Return what the artifacts are, what made them, and what is stale.

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
        There is nothing, or what is there is damaged.
    """
    opened = Artifacts(artifacts)
    manifest = opened.manifest()
    there = opened.head_metadata.exists()
    trained, stale = check_head(opened) if there else (None, None)
    made = {**(trained.metadata.to_dict() if trained else {}), "stale": stale} if there else {}
    duplicates = read_duplicates(opened.cache)
    sizes: dict[str, int] = {}
    for path in [path for path in list_files(opened.root) if path.is_file() and not path.name.startswith(".")]:
        with suppress(FileNotFoundError):  # another run has just taken it away
            sizes[str(path.relative_to(opened.root))] = path.stat().st_size
    return Info(
        artifacts=opened.root,
        features=manifest,
        shards=opened.cache.shard_rows,
        duplicates=duplicates.counts() if duplicates else {},
        head=made,
        metrics={} if stale else read_json(opened.metrics, head.TRAIN_HINT),
        source=read_json(opened.source, NOTE_HINT),
        timings=read_json(opened.timings, NOTE_HINT),
        files=sizes,
        arrays={name: array for name in sizes if (array := _describe_array(opened.root / name))},
        stale=tuple(_find_stale(opened, manifest, trained, stale)),
    )


def _find_stale(
    artifacts: Artifacts, manifest: Manifest, trained: head.Head | None, why: str | None
) -> Iterator[Stale]:
    """Yield what is stale, from left to right: first the features, and then what is made of them."""
    source, noted = read_json(artifacts.source, NOTE_HINT), read_json(artifacts.timings, NOTE_HINT).get("submit")
    data = {split: name if Path(name := str(source.get(split))).exists() else "DATA" for split in manifest.splits}
    if other := pixel_differences(manifest.provenance.pixels, identity.pixels()):
        sources = set(data.values())
        whole = sources.pop() if len(sources) == 1 else "DATA"  # of two, one alone would drop the other's rows
        yield Stale("features", f"of images {other}", _command(artifacts, "extract", whole, "--prune"))
        why = why or "it is of those features"
    else:
        for split in manifest.splits:
            if missing := manifest.missing_views(split):
                again = _command(artifacts, "extract", data[split])
                yield Stale(f"features/{split}", f"view {', '.join(missing)} is not computed", again)
    if "train" not in manifest.splits:
        return
    if why or trained is None:
        yield Stale(artifacts.head_metadata.name, why or "there is none yet", _command(artifacts, "train"))
    if artifacts.cache.labelled("test") is False:
        facts = noted if isinstance(noted, dict) else {}
        clip = [] if facts.get("clip") is None else ["--clip", str(facts["clip"])]
        invalid = "it is of a head that is not valid" if why or trained is None else None
        if reason := invalid or submission_staleness(artifacts, trained):
            yield Stale(artifacts.submission.name, reason, _command(artifacts, "submit", *clip))


def _describe_array(path: Path) -> dict[str, Any] | None:
    """Return shape and dtype as a file's header has them; None where it is no header."""
    with suppress(Exception), path.open("rb") as file:  # a damaged header raises what NumPy's parser and Python's do
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return {"shape": [*shape], "dtype": "record" if dtype.names else str(dtype)}
    return None


def _command(artifacts: Artifacts, *arguments: str) -> list[str]:
    elsewhere = [] if artifacts.root == Path("artifacts") else ["--artifacts", str(artifacts.root)]
    return ["catsdogs", *arguments, *elsewhere]
