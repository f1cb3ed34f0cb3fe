"""A cache's folder comes in; out goes what its manifest says: what made the features, and what is complete."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..artifacts import read_json, sync_folder, to_json, write_atomically
from ..errors import CatsDogsError
from ..layout import CLASSES

FORMAT = 1
"""Version of the cache's format. Raise it when the program before would misread what is written now."""

_REMEDY = "Restore it from a copy, or remove the folder it is in and run catsdogs extract"


@dataclass(frozen=True)
class Origin:
    """What made a cache's features.

    Parameters
    ----------
    form : str
        The backbone's weights as they were asked for, without folders: "imagenet", "random:0", "mine.keras".
    sha256 : str
        Identity of the backbone: SHA-256 of its weights and its configuration.
    fingerprint : str
        What tells the same weights without loading them, such as the SHA-256 of their file.
    pixels, precision : str
        How the pixels were made, and in what precision the features were computed.
    engine : str
        What computed them.
    versions : dict of str to str
        Of the packages that took part.
    """

    form: str
    sha256: str
    fingerprint: str
    pixels: str
    precision: str
    engine: str
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> list[str]:
        """What a row's value depends on besides its image and its view."""
        return [self.sha256, self.pixels, self.precision]


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` holds.

    Parameters
    ----------
    origin : Origin
    views : tuple of str
        Names of the views, each of them a file in every split.
    splits : dict of str to dict
        By split: "images"; "labelled", how many of them have labels; "complete"; "done", rows by view;
        "unreadable"; and "sha256", by file, when complete.
    renames : tuple of str
        Files whose ``.new`` takes their place by this manifest.
    """

    origin: Origin
    views: tuple[str, ...]
    splits: dict[str, dict[str, Any]]
    renames: tuple[str, ...] = ()


def read(folder: Path) -> Manifest | None:
    """Return the manifest, the renames it names carried out, or None where there is none.

    Raises
    ------
    CatsDogsError
        It is damaged, or of another format.
    """
    path = folder / "manifest.json"
    content = read_json(path, _REMEDY)
    if not content:
        return None
    claimed = content.pop("sha256", None)
    if "format" in content and content["format"] != FORMAT:
        raise CatsDogsError(
            f"{path} is of format {content['format']}, and this version reads format {FORMAT}",
            "Use the version of catsdogs that wrote it, or give another --artifacts DIR",
        )
    if claimed != hashlib.sha256(to_json(content)).hexdigest():
        raise CatsDogsError(f"{path} is damaged: it does not match its own SHA-256", _REMEDY)
    made = {name: content[name] for name in ("pixels", "precision", "engine", "versions")}
    manifest = Manifest(
        Origin(**content["backbone"], **made),
        tuple(content["views"]),
        content["splits"],
        tuple(content["renames"]),
    )
    _rename(folder, manifest.renames)
    return manifest


def write(folder: Path, manifest: Manifest) -> None:
    """Commit a manifest, then carry out the renames it names and take them off it."""
    made = asdict(manifest.origin)
    content = {
        "format": FORMAT,
        "classes": list(CLASSES),
        "backbone": {name: made.pop(name) for name in ("form", "sha256", "fingerprint")},
        **made,
        "views": list(manifest.views),
        "splits": {split: manifest.splits[split] for split in sorted(manifest.splits, reverse=True)},
        "renames": list(manifest.renames),
    }
    content["sha256"] = hashlib.sha256(to_json(content)).hexdigest()
    write_atomically(folder / "manifest.json", to_json(content))
    if manifest.renames:
        _rename(folder, manifest.renames)
        write(folder, Manifest(manifest.origin, manifest.views, manifest.splits))


def _rename(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        with suppress(FileNotFoundError):  # done already, by the run that was killed or by another reader
            (folder / f"{name}.new").replace(folder / name)
    for split in {Path(name).parent for name in names}:
        sync_folder(folder / split)
