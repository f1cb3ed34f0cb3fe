"""An artifacts folder comes in; what is in it and what made it goes out."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from .artifacts import NOTE, Artifacts, read_json
from .cache import read_manifest
from .errors import CatsDogsError
from .head import TRAIN
from .training import is_current


def info(artifacts: str | Path = "artifacts") -> dict[str, Any]:
    """Return what the artifacts are and what made them, as values that JSON can hold.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder.

    Returns
    -------
    dict
        "artifacts", the folder; "features", the manifest; "head", what made it, and as "current" whether it was
        trained on these very features; "metrics"; "source"; "timings"; "files", each file's size in bytes. What is
        not there is empty.

    Raises
    ------
    CatsDogsError
        There is nothing, or what is there is damaged.
    """
    where = Artifacts(Path(artifacts))
    manifest = read_manifest(where.features)
    if manifest is None:
        raise CatsDogsError(f"there are no artifacts in {where.root}", "Run catsdogs run DATA, or catsdogs demo")
    facts = read_json(where.head_facts, TRAIN)
    files = sorted(path for path in where.root.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {
        "artifacts": str(where.root),
        "features": asdict(manifest),
        "head": facts | {"current": _is_current(artifacts)} if facts else {},
        "metrics": read_json(where.metrics, TRAIN),
        "source": read_json(where.source, NOTE),
        "timings": read_json(where.timings, NOTE),
        "files": {str(path.relative_to(where.root)): path.stat().st_size for path in files},
    }


def _is_current(artifacts: str | Path) -> bool:
    try:
        return is_current(artifacts)
    except CatsDogsError:
        return False  # the features are not complete, or damaged; what mends that is said where they are used
