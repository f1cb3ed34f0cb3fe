"""An artifacts folder comes in; what is in it and what made it goes out."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from .artifacts import NOTE, Artifacts, read_json
from .cache import count_duplicates, kept_duplicates, read_manifest
from .errors import CatsDogsError
from .head import TRAIN
from .head import load as load_head
from .training import why_stale


def info(artifacts: str | Path = "artifacts") -> dict[str, Any]:
    """Return what the artifacts are and what made them, as values that JSON can hold.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder.

    Returns
    -------
    dict
        "artifacts", the folder; "features", the manifest; "duplicates", how many pairs of images are the same
        or nearly so, empty where they must be looked for yet; "head", what made it, and as "stale" why it must be
        trained anew, or None; "metrics", where the head is valid; "source"; "timings"; "files", each file's size in
        bytes. What is not there is empty.

    Raises
    ------
    CatsDogsError
        There is nothing, or what is there is damaged.
    """
    where = Artifacts(Path(artifacts))
    manifest = read_manifest(where.features)
    if manifest is None:
        raise CatsDogsError(f"there are no artifacts in {where.root}", "Run catsdogs run DATA, or catsdogs demo")
    stale = why_stale(artifacts) if where.head_facts.exists() else None
    try:
        made = load_head(where).facts | {"stale": stale}
    except CatsDogsError:
        made = {"stale": stale} if stale else {}
    duplicates = kept_duplicates(artifacts)
    files = sorted(path for path in where.root.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {
        "artifacts": str(where.root),
        "features": asdict(manifest),
        "duplicates": {} if duplicates is None else count_duplicates(duplicates),
        "head": made,
        "metrics": {} if stale else read_json(where.metrics, TRAIN),
        "source": read_json(where.source, NOTE),
        "timings": read_json(where.timings, NOTE),
        "files": {str(path.relative_to(where.root)): path.stat().st_size for path in files},
    }
