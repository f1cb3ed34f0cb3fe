"""Read and write the cache's manifest: the provenance of the features, and the committed files."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, get_args

import msgspec

from ..backbone import Int8Similarity, Quantized
from ..choices import Split
from ..errors import CatsDogsError, OptionError
from ..images.facts import FACTS_COLUMN
from ..sources.classes import CLASSES, Classes
from ..storage import list_files, read_sealed, sha256_of, sync_folder, to_json, to_sealed_json, write_atomic

FORMAT = 2
"""Version of the cache's format. Increase it if older versions of the program would misread the cache."""

SPLITS: tuple[str, ...] = get_args(Split)

SplitName = Annotated[str, msgspec.Meta(pattern="^(train|test)$")]
_View = Annotated[str, msgspec.Meta(pattern="^[0-9a-z]{1,32}$")]
_Name = Annotated[str, msgspec.Meta(pattern=r"^((train|test)/)?[0-9a-z]+(\.[0-9a-z]+)+$")]
"""Strings that become part of a path. They cannot lead out of the cache, even in an untrusted manifest."""

IMPORTED = "imported"
"""The engine of features that were computed elsewhere and imported."""

UNKNOWN = "unknown"
"""The `pixels` of imported features."""

_HINT = (
    "Restore this file from a copy, or remove it and run catsdogs extract with all images and the same options: "
    "intact rows are not computed again"
)

_VERSION_HINT = "Use the version of catsdogs that wrote it, or remove the folder of this file and run catsdogs extract"

_NETWORK_HINT = (
    "Restore the two int8 files from a copy, or run catsdogs extract with the same images and --precision int8"
)


@dataclass(frozen=True)
class Provenance:
    """How the features of a cache were computed.

    Parameters
    ----------
    weights_name : str
        The backbone's weights as the user gave them, without folders: "imagenet", "random:0", "mine.keras".
    sha256 : str
        Identity of the backbone: SHA-256 of its weights and its configuration.
    fingerprint : str
        Identifies the weights without loading them, such as the SHA-256 of their file.
    pixels : str
        How image files became pixels, as `images.identity.pixels` returns it.
    precision : str
        The precision in which the features were computed.
    engine : str
        The engine that computed them.
    versions : dict of str to str
        Versions of the packages that were used, by name.
    network : str
        SHA-256 of the quantized network that is stored beside the features; empty if nothing is quantized.
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
        """Everything that a row's values depend on, except the image and the view."""
        return [self.sha256, self.pixels, self.precision, self.engine, self.network]


def require_split(split: str) -> None:
    """Refuse a split that does not exist.

    Raises
    ------
    OptionError
    """
    if split not in SPLITS:
        raise OptionError(f"there is no split {split!a}", f"Give one of {', '.join(SPLITS)}")


def pixel_differences(pixels: str, others: str) -> str:
    """Return the parts of one pixels' identity that are not in another, for messages; "" if one is "unknown"."""
    if UNKNOWN in (pixels, others):
        return ""
    return ", ".join(part for part in pixels.split(", ") if part not in others.split(", "))


def describe(provenance: Provenance, views: Sequence[str], other: Provenance) -> str:
    """Describe a provenance and views for a message; of the pixels, only the differences from another provenance."""
    precision = " ".join(filter(None, [provenance.precision, provenance.network[:8]]))
    pixels = pixel_differences(provenance.pixels, other.pixels)
    made_by = [provenance.sha256[:8], precision, provenance.engine, f"view {', '.join(views)}", pixels]
    return f"{provenance.weights_name} ({', '.join(filter(None, made_by))})"


@dataclass(frozen=True)
class SplitEntry:
    """The manifest's entry for one split.

    Parameters
    ----------
    images, labelled, unreadable : int
        The numbers of all images, of labelled images, and of unreadable images.
    views : tuple of str
        The views in which the split has rows.
    sha256 : dict of str to str
        SHA-256 of each file of the split except the features, which have a checksum for each row.
    """

    images: int
    labelled: int
    unreadable: int
    views: tuple[_View, ...]
    sha256: dict[str, str]


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`.

    Parameters
    ----------
    provenance : Provenance
    views : tuple of str
        Names of the views.
    splits : dict of str to SplitEntry
        By split.
    classes : pair of str
        Names of the labels 0 and 1.
    int8_similarity : Int8Similarity or None
        None if nothing is quantized.
    renames : tuple of str
        Files X that this manifest commits, and that must still be renamed from ``X.new`` to X.
    removals : tuple of str
        Files that must still be removed.
    """

    provenance: Provenance
    views: tuple[_View, ...]
    splits: dict[SplitName, SplitEntry]
    classes: Classes = CLASSES
    int8_similarity: Int8Similarity | None = None
    renames: tuple[_Name, ...] = ()
    removals: tuple[_Name, ...] = ()

    @property
    def has_labels(self) -> bool:
        """Whether any image has a label; otherwise the classes have no meaning."""
        return any(entry.labelled for entry in self.splits.values())

    def missing_views(self, split: str) -> list[str]:
        """Return the views in which a split has no rows, because they were added by a run without this split."""
        return [view for view in self.views if view not in self.splits[split].views]

    def files(self) -> set[str]:
        """Return the names of all committed files, with their folders."""
        of_splits = {f"{split}/{name}" for split, entry in self.splits.items() for name in entry.sha256}
        views = {f"{split}/{view}.npy" for split, entry in self.splits.items() for view in entry.views}
        return of_splits | views | set(network_files(self.provenance.network))

    def digests(self) -> dict[str, str]:
        """Return `Features.digest` for each split that has all views."""
        found = {}
        for split, entry in self.splits.items():
            if not self.missing_views(split):
                sums = {name: sha256 for name, sha256 in entry.sha256.items() if name.partition(".")[0] != FACTS_COLUMN}
                found[split] = sha256_of(to_json([self.provenance.key, self.views, sums]))
        return found


def read(folder: Path, name: str = "manifest.json") -> Manifest | None:
    """Read the manifest, or return None if there is none; its pending renames and removals are not carried out.

    Raises
    ------
    CatsDogsError
        The manifest is damaged, or has another format.
    """
    return read_sealed(folder / name, Manifest, FORMAT, _HINT, version_hint=_VERSION_HINT)


def roll_forward(folder: Path) -> Manifest | None:
    """Finish the commit of a killed run, and remove its uncommitted files; return the manifest.

    The caller must hold the folder's features lock.
    """
    manifest = read(folder)
    if manifest and (manifest.renames or manifest.removals):
        manifest = commit(folder, manifest)
    remove_uncommitted(folder, manifest)
    return manifest


def remove_uncommitted(folder: Path, manifest: Manifest | None) -> None:
    """Remove files ``X.new``, and networks, that the manifest of a cache does not commit."""
    kept = {folder / name for name in network_files(manifest.provenance.network)} if manifest else set()
    new = [f"{split}/*.{kind}.new" for split in SPLITS for kind in ("npy", "csv")]
    for pattern in (*new, "manifest.json.new", "int8.*"):
        for path in set(folder.glob(pattern)) - kept:
            path.unlink()


def network_files(sha256: str) -> tuple[str, ...]:
    """Return the names of the files of the quantized network with this SHA-256; none if it is empty."""
    return tuple(f"int8.{sha256[:16]}.{suffix}" for suffix in ("xml", "bin")) if sha256 else ()


def network_content(network: Quantized | None) -> dict[str, bytes]:
    """Return the content of a network's files, by name; the names contain its SHA-256, so they never clash."""
    return dict(zip(network_files(network.sha256), (network.graph, network.weights), strict=True)) if network else {}


def read_network(folder: Path, sha256: str) -> Quantized:
    """Read the network with this SHA-256, from beside the features or, before they are assembled, beside the shards.

    Raises
    ------
    CatsDogsError
        The network is missing or damaged.
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
        raise CatsDogsError(f"{graph} or {weights.name} does not match its SHA-256", _NETWORK_HINT)
    return network


def commit(folder: Path, manifest: Manifest) -> Manifest:
    """Commit a manifest, carry out its renames and removals, and remove them from it; return the final manifest."""
    write_atomic(folder / "manifest.json", to_bytes(manifest))
    if not manifest.renames and not manifest.removals:
        return manifest
    for name in manifest.renames:
        with suppress(FileNotFoundError):  # renamed already, by a run that was then killed
            (folder / f"{name}.new").replace(folder / name)
    for name in manifest.removals:
        (folder / name).unlink(missing_ok=True)
    for split in sorted({Path(name).parent.name for name in (*manifest.renames, *manifest.removals)}):
        with suppress(FileNotFoundError):  # the folder has been removed already
            sync_folder(folder / split)
        if split not in manifest.splits:
            with suppress(OSError):  # it contains files of the user
                (folder / split).rmdir()
    return commit(folder, replace(manifest, renames=(), removals=()))


def to_bytes(manifest: Manifest) -> bytes:
    """Return the content of `manifest.json`, with its own SHA-256 last."""
    return to_sealed_json({"format": FORMAT, **asdict(manifest)})
