"""Read and write the cache's manifest: what made the features, and what is complete."""

from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ..backbone import Int8Similarity
from ..errors import CatsDogsError
from ..sources.classes import CLASSES, Classes
from ..storage import read_json, sync_folder, to_sealed_json, unseal, write_atomic

FORMAT = 1
"""Version of the cache's format. Raise it when the program before would misread what is written now."""

SPLITS = ("train", "test")

_Split = Annotated[str, msgspec.Meta(pattern="^(train|test)$")]
_View = Annotated[str, msgspec.Meta(pattern="^[0-9a-z]{1,32}$")]
_Name = Annotated[str, msgspec.Meta(pattern=r"^((train|test)/)?[0-9a-z]+(\.[0-9a-z]+)+$")]
"""What becomes a path: none outside of the cache, whoever wrote the manifest."""

IMPORTED = "imported"
"""The engine of features that somebody else computed."""

UNKNOWN = "unknown"
"""What their `pixels` say."""

_BACKBONE_FIELDS, _PROVENANCE_FIELDS = ("sha256", "fingerprint"), ("pixels", "precision", "engine", "versions")
"""What of a `Provenance` the file holds under its own name, in "backbone" and beside it."""

_REMEDY = "Restore it from a copy, or remove the folder it is in and run catsdogs extract"


@dataclass(frozen=True)
class Provenance:
    """What made a cache's features.

    Parameters
    ----------
    weights_name : str
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
    network : str
        SHA-256 of the quantized network that lies beside the features; empty where nothing is quantized.
    """

    weights_name: str
    sha256: str
    fingerprint: str
    pixels: str
    precision: str
    engine: str
    versions: dict[str, str] = field(default_factory=dict)
    network: str = ""

    @property
    def key(self) -> list[str]:
        """What a row's value depends on besides its image and its view."""
        return [self.sha256, self.pixels, self.precision, *filter(None, [self.network])]


def differences(pixels: str, others: str) -> str:
    """Return what a provenance says of its pixels that is not said of others; "" where nothing is known of either."""
    if UNKNOWN in (pixels, others):
        return ""
    return ", ".join(part for part in pixels.split(", ") if part not in others.split(", "))


@dataclass(frozen=True)
class SplitEntry:
    """What the manifest says of one split.

    Parameters
    ----------
    images, labelled : int
        How many there are, and how many of them have a label.
    complete : bool
        Whether all of them were computed, or found unreadable, and compared with their files.
    done : dict of str to int
        Rows that are there, by view.
    unreadable : int
    sha256 : dict of str to str
        Of the files that stay as they are: all small ones, or, while the split is being filled, those of the ids and
        the labels.
    """

    images: int
    labelled: int
    complete: bool
    done: dict[str, int]
    unreadable: int
    sha256: dict[str, str]


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` holds.

    Parameters
    ----------
    provenance : Provenance
    views : tuple of str
        Names of the views, each of them a file in every split.
    splits : dict of str to SplitEntry
        By split.
    renames : tuple of str
        Files whose ``.new`` takes their place by this manifest.
    removals : tuple of str
        Files that go by this manifest.
    classes : pair of str
        What the labels 0 and 1 are called.
    int8_similarity : Int8Similarity or None
        None where nothing is quantized, and while rows are being written.
    """

    provenance: Provenance
    views: tuple[_View, ...]
    splits: dict[_Split, SplitEntry]
    renames: tuple[_Name, ...] = ()
    removals: tuple[_Name, ...] = ()
    classes: Classes = CLASSES
    int8_similarity: Int8Similarity | None = None

    @property
    def has_labels(self) -> bool:
        """Whether any image has one: only then do the classes mean something."""
        return any(entry.labelled for entry in self.splits.values())


def read(folder: Path) -> Manifest | None:
    """Return the manifest, or None where there is none; nothing is written, whatever it has still to carry out.

    Raises
    ------
    CatsDogsError
        It is damaged, or of another format.
    """
    path = folder / "manifest.json"
    content = read_json(path, _REMEDY)
    if not content and not path.exists():
        return None
    if "splits" not in content:  # a whole file, perhaps, in this one's place
        raise CatsDogsError(f"{path} is damaged: it is no manifest", _REMEDY)
    if "format" in content and content["format"] != FORMAT:
        raise CatsDogsError(
            f"{path} is of format {content['format']}, and this version reads format {FORMAT}",
            "Use the version of catsdogs that wrote it, or remove the folder it is in and run catsdogs extract",
        )
    if not unseal(content):
        raise CatsDogsError(f"{path} is damaged: it does not match its own SHA-256", _REMEDY)
    try:
        return _from_content(content)
    except (msgspec.ValidationError, KeyError, TypeError, UnicodeEncodeError) as error:
        raise CatsDogsError(f"{path} is damaged: {error}", _REMEDY) from error


def roll_forward(folder: Path) -> Manifest | None:
    """Carry out what a run that was killed had committed, and remove what it had not; return the manifest.

    For the one that holds the folder for writing.
    """
    manifest = read(folder)
    if manifest and (manifest.renames or manifest.removals):
        manifest = _carry_out(folder, manifest)
    for split in SPLITS:
        for stray in [*(folder / split).glob("*.npy.new"), *(folder / split).glob("*.csv.new")]:
            stray.unlink()
    kept = network_files(manifest.provenance.network) if manifest else ()
    for stray in set(folder.glob("int8.*")) - {folder / name for name in kept}:
        stray.unlink()
    (folder / "manifest.json.new").unlink(missing_ok=True)
    return manifest


def network_files(sha256: str) -> tuple[str, ...]:
    """Return the names of the files of a quantized network; none where there is none."""
    return tuple(f"int8.{sha256[:16]}.{suffix}" for suffix in ("xml", "bin")) if sha256 else ()


def write(folder: Path, manifest: Manifest) -> None:
    """Commit a manifest, then carry out what it says and take that off it."""
    write_atomic(folder / "manifest.json", to_bytes(manifest))
    if manifest.renames or manifest.removals:
        _carry_out(folder, manifest)


def to_bytes(manifest: Manifest) -> bytes:
    """Return the content of `manifest.json`, its own SHA-256 last."""
    content = asdict(manifest)
    made = content["provenance"]
    int8 = (
        {"int8": {"network": made["network"], "compared": content["int8_similarity"] or {}}} if made["network"] else {}
    )
    # Format 1 has "form" and "compared" for what is called `weights_name` and `int8_similarity` here.
    return to_sealed_json(
        {
            "format": FORMAT,
            "classes": content["classes"],
            "backbone": {"form": made["weights_name"]} | {name: made[name] for name in _BACKBONE_FIELDS},
            **{name: made[name] for name in _PROVENANCE_FIELDS},
            **int8,
            "views": content["views"],
            "splits": {split: content["splits"][split] for split in SPLITS if split in content["splits"]},
            "renames": content["renames"],
            "removals": content["removals"],
        }
    )


def _from_content(content: dict[str, Any]) -> Manifest:
    backbone, int8 = content["backbone"], content.get("int8", {"network": "", "compared": {}})
    made = {name: content[name] for name in _PROVENANCE_FIELDS} | {name: backbone[name] for name in _BACKBONE_FIELDS}
    made |= {"weights_name": backbone["form"], "network": int8["network"]}
    rest = {name: content[name] for name in ("views", "splits", "renames", "removals")}
    rest |= {"classes": content.get("classes", CLASSES), "int8_similarity": int8["compared"] or None}
    return msgspec.convert({"provenance": made, **rest}, Manifest)


def _carry_out(folder: Path, manifest: Manifest) -> Manifest:
    for name in manifest.renames:
        with suppress(FileNotFoundError):  # done already, by the run that was killed
            (folder / f"{name}.new").replace(folder / name)
    for name in manifest.removals:
        (folder / name).unlink(missing_ok=True)
    for split in sorted({Path(name).parent.name for name in (*manifest.renames, *manifest.removals)}):
        with suppress(FileNotFoundError):  # emptied and removed already
            sync_folder(folder / split)
        if split not in manifest.splits:
            with suppress(OSError):  # something of the user's own lies in it
                (folder / split).rmdir()
    done = replace(manifest, renames=(), removals=())
    write(folder, done)
    return done
