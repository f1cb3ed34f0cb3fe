"""Read and write the cache's manifest: what made the features, and what is complete."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import msgspec

from ..backbone import Int8Similarity, Quantized
from ..errors import CatsDogsError
from ..images.facts import FACTS_COLUMN
from ..sources.classes import CLASSES, Classes
from ..storage import list_files, read_sealed, sync_folder, to_json, to_sealed_json, write_atomic

FORMAT = 2
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

_HINT = (
    "Restore it from a copy, or remove it and run catsdogs extract with all images and the same options: it computes "
    "nothing again that is whole"
)

_VERSION_HINT = "Use the version of catsdogs that wrote it, or remove the folder it is in and run catsdogs extract"


_NETWORK_HINT = "Restore both from a copy, or run catsdogs extract with the same images and --precision int8"


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
        return [self.sha256, self.pixels, self.precision, self.engine, self.network]


def pixel_differences(pixels: str, others: str) -> str:
    """Return what a provenance says of its pixels that is not said of others; "" where nothing is known of either."""
    if UNKNOWN in (pixels, others):
        return ""
    return ", ".join(part for part in pixels.split(", ") if part not in others.split(", "))


def describe(provenance: Provenance, views: Sequence[str], other: Provenance) -> str:
    """Say what made features; of the pixels, only what another says otherwise of its own."""
    precision = " ".join(filter(None, [provenance.precision, provenance.network[:8]]))
    pixels = pixel_differences(provenance.pixels, other.pixels)
    made_by = [provenance.sha256[:8], precision, provenance.engine, f"view {', '.join(views)}", pixels]
    return f"{provenance.weights_name} ({', '.join(filter(None, made_by))})"


@dataclass(frozen=True)
class SplitEntry:
    """What the manifest says of one split.

    Parameters
    ----------
    images, labelled, unreadable : int
        How many there are, how many of them have a label, and how many cannot be read.
    views : tuple of str
        Those in which it has rows.
    sha256 : dict of str to str
        Of its small files: all but the features themselves, each row of which has a checksum.
    """

    images: int
    labelled: int
    unreadable: int
    views: tuple[_View, ...]
    sha256: dict[str, str]


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` holds.

    Parameters
    ----------
    provenance : Provenance
    views : tuple of str
        Names of the views.
    splits : dict of str to SplitEntry
        By split.
    classes : pair of str
        What the labels 0 and 1 are called.
    int8_similarity : Int8Similarity or None
        None where nothing is quantized.
    renames : tuple of str
        Files whose ``.new`` takes their place by this manifest.
    removals : tuple of str
        Files that go by this manifest.
    """

    provenance: Provenance
    views: tuple[_View, ...]
    splits: dict[_Split, SplitEntry]
    classes: Classes = CLASSES
    int8_similarity: Int8Similarity | None = None
    renames: tuple[_Name, ...] = ()
    removals: tuple[_Name, ...] = ()

    @property
    def has_labels(self) -> bool:
        """Whether any image has one: only then do the classes mean something."""
        return any(entry.labelled for entry in self.splits.values())

    def missing_views(self, split: str) -> list[str]:
        """Return the views in which a split has no rows: they were added by a run that was not given it."""
        return [view for view in self.views if view not in self.splits[split].views]

    def files(self) -> set[str]:
        """Return the names of the files that it speaks of, with their folders'."""
        of_splits = {f"{split}/{name}" for split, entry in self.splits.items() for name in entry.sha256}
        views = {f"{split}/{view}.npy" for split, entry in self.splits.items() for view in entry.views}
        return of_splits | views | set(network_files(self.provenance.network))

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of what made them and of all that they hold but the facts, of splits with all views."""
        found = {}
        for split, entry in self.splits.items():
            if not self.missing_views(split):
                of_rows = {name: of for name, of in entry.sha256.items() if name.partition(".")[0] != FACTS_COLUMN}
                found[split] = hashlib.sha256(to_json([self.provenance.key, self.views, of_rows])).hexdigest()
        return found


def read(folder: Path, name: str = "manifest.json") -> Manifest | None:
    """Return the manifest, or None where there is none; nothing is written, whatever it has still to carry out.

    Raises
    ------
    CatsDogsError
        It is damaged, or of another format.
    """
    return read_sealed(folder / name, Manifest, FORMAT, _HINT, version_hint=_VERSION_HINT)


def roll_forward(folder: Path) -> Manifest | None:
    """Carry out what a run that was killed had committed, and remove what it had not; return the manifest.

    For the one that holds the folder for writing.
    """
    manifest = read(folder)
    if manifest and (manifest.renames or manifest.removals):
        manifest = commit(folder, manifest)
    remove_uncommitted(folder, manifest)
    return manifest


def remove_uncommitted(folder: Path, manifest: Manifest | None) -> None:
    """Remove what was written beside the files of a cache and is not in its manifest."""
    kept = {folder / name for name in network_files(manifest.provenance.network)} if manifest else set()
    beside = [f"{split}/*.{kind}.new" for split in SPLITS for kind in ("npy", "csv")]
    for pattern in (*beside, "manifest.json.new", "int8.*"):
        for stray in set(folder.glob(pattern)) - kept:
            stray.unlink()


def network_files(sha256: str) -> tuple[str, ...]:
    """Return the names of the files of a quantized network; none where there is none."""
    return tuple(f"int8.{sha256[:16]}.{suffix}" for suffix in ("xml", "bin")) if sha256 else ()


def network_content(network: Quantized | None) -> dict[str, bytes]:
    """Return the content of a network's files, whose names hold its SHA-256, so that they take no other's place."""
    return dict(zip(network_files(network.sha256), (network.graph, network.weights), strict=True)) if network else {}


def read_network(folder: Path, sha256: str) -> Quantized:
    """Read the network with that SHA-256, which lies beside the features or, while they are computed, beside shards.

    Raises
    ------
    CatsDogsError
        It is missing, or damaged.
    """
    names = network_files(sha256)
    found = [path.parent for path in list_files(folder / "shards") if path.name == names[0]]
    here = folder if (folder / names[0]).exists() or not found else found[0]
    graph, weights = (here / name for name in names)
    try:
        network = Quantized(graph.read_bytes(), weights.read_bytes())
    except OSError as error:
        raise CatsDogsError(f"{error.filename} cannot be read ({error.strerror})", _NETWORK_HINT) from error
    if network.sha256 != sha256:
        raise CatsDogsError(f"{graph} or its {weights.suffix} is not the network that it was", _NETWORK_HINT)
    return network


def commit(folder: Path, manifest: Manifest) -> Manifest:
    """Commit a manifest, carry out what it says, and take that off it; return what is left."""
    write_atomic(folder / "manifest.json", to_bytes(manifest))
    if not manifest.renames and not manifest.removals:
        return manifest
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
    return commit(folder, replace(manifest, renames=(), removals=()))


def to_bytes(manifest: Manifest) -> bytes:
    """Return the content of `manifest.json`, its own SHA-256 last."""
    return to_sealed_json({"format": FORMAT, **asdict(manifest)})
