"""Paths below a source come in; out goes what they say: which is an image, its split, label, id, and place.

Only names are looked at here, so the same pictures get the same ids, labels and order from a folder and a zip.
"""

import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from .errors import CatsDogsError, printable

CLASSES = ("cat", "dog")
"""The two classes; a label is a position in this tuple, -1 is unknown."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Endings, in any case, of the files that are taken for images."""

SPLITS = {
    "train": ("train", "training", "training-set", "cats-dogs-training"),
    "test": ("test", "test1", "testing", "test-set", "cats-dogs-testing"),
    "validation": ("val", "valid", "validation"),
}
"""Names of folders and zips that say which split lies in them: Kaggle's of 2013 and 2016, those of the 2017
project, and those of the copies of the data set that are about. A validation split is the test split of a
source that has no other; beside one it belongs to no split."""

MAX_NAME = 255
"""A file's name may have this many characters, as on every file system; a zip can hold longer ones."""

_CLASS_NAMES = {name.lower(): label for label, single in enumerate(CLASSES) for name in (single, single + "s")}
_SPLIT_NAMES = {name: split for split, names in SPLITS.items() for name in names}
_NAMED_LIKE_A_CLASS = re.compile(r"([A-Za-z]+)\.\d+\.\w+")


@dataclass(frozen=True)
class Placed:
    """What the path at `position` says: its split, its id, and its label (1 dog, 0 cat, -1 unknown)."""

    position: int
    split: str
    id: str
    label: int


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return name.lower().endswith(SUFFIXES)


def is_zip(name: str) -> bool:
    """Whether a file of this name is taken for a zip."""
    return name.lower().endswith(".zip")


def is_split_name(name: str) -> bool:
    """Whether a folder or a zip's stem of this name says which split lies in it."""
    return _split_of(name) is not None


def is_hidden(parts: Sequence[str]) -> bool:
    """Whether the file or folder, or one that it lies in, is hidden or a system's own."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def is_passed_over(parts: Sequence[str]) -> bool:
    """Whether the file is hidden, no image, or within a folder that is named like an image."""
    return not is_image(parts[-1]) or is_hidden(parts) or any(map(is_image, parts[:-1]))


def place(paths: Sequence[tuple[str, ...]], where: str) -> tuple[list[Placed], int]:
    """Decide split, label and id of each image.

    Parameters
    ----------
    paths : sequence of tuple of str
        Each file's path below the source, folder by folder.
    where : str
        The source's name, for messages.

    Returns
    -------
    placed : list of Placed
        The training images, then those for testing, each split in natural order (cat.2 before cat.10).
    passed_over : int
        How many of `paths` are no images, or lie beside the folders of the splits.

    Raises
    ------
    CatsDogsError
        No image, two with one id, or labels that are neither of the classes.
    """
    images = [position for position, parts in enumerate(paths) if not is_passed_over(parts)]
    if not images:
        raise CatsDogsError(
            f"there are no images in {where}", f"It should hold files that end in {', '.join(SUFFIXES)}"
        )
    splits = {p: next(filter(None, map(_split_of, paths[p][:-1])), None) for p in images}
    named = set(splits.values())
    splits = {
        p: ("test" if "test" not in named else None) if split == "validation" else split for p, split in splits.items()
    }
    labels = {p: _label_of(paths[p]) for p in images}
    placed: list[Placed] = []
    for split in (None, "train", "test"):
        members = [p for p in images if splits[p] == split]
        if not members or (split is None and "train" in named):
            continue
        found = _place_split(members, split, {p: paths[p] for p in members}, labels, where)
        # Class folders beside test/ are what there is to train on; pictures without labels there are nothing.
        beside = split is None and not named <= {None}
        placed += [p for p in found if p.split == "train" or not beside]
    placed.sort(key=lambda p: paths[p.position])  # else the walk's order would say which of three are named below
    ordered = [_in_natural_order([p for p in placed if p.split == split]) for split in ("train", "test")]
    for first, second in (pair for members in ordered for pair in itertools.pairwise(members)):
        if first.id == second.id:
            both = " and ".join(sorted("/".join((where, *paths[p.position])) for p in (first, second)))
            raise CatsDogsError(f"two images have the id {first.id}: {both}", "Rename or remove one of them")
    return list(itertools.chain(*ordered)), len(paths) - len(placed)


def _place_split(
    members: list[int],
    split: str | None,
    paths: dict[int, tuple[str, ...]],
    labels: dict[int, tuple[int, bool]],
    where: str,
) -> list[Placed]:
    unknown = [p for p in members if labels[p][0] < 0]
    by_folder = any(labels[p][1] for p in members)
    some_known = len(unknown) < len(members)
    # A test split's files may be named anything, "cat.jpg" too, without being labelled.
    must_be_known = split == "train" or by_folder or (split is None and some_known)
    if unknown and (must_be_known or (split is None and _look_labelled(paths.values()))):
        names = sorted({"/".join(paths[p]) for p in unknown})
        raise CatsDogsError(
            f"{len(unknown):,} of {len(members):,} images in {where} are labelled neither {CLASSES[0]} nor "
            f"{CLASSES[1]}: {_first(names)}",
            f"Put them into folders {CLASSES[0]}/ and {CLASSES[1]}/, or name them {CLASSES[0]}.1.jpg and "
            f"{CLASSES[1]}.1.jpg; images without labels belong into test/",
        )
    labelled = not unknown
    return [
        Placed(
            position=p,
            split=split or ("train" if labelled else "test"),
            id=_id_of(paths[p], *labels[p]),
            label=labels[p][0] if labelled else -1,
        )
        for p in members
    ]


def _in_natural_order(placed: list[Placed]) -> list[Placed]:
    from natsort import natsort_keygen

    key = natsort_keygen()
    # The natural keys of cat.2 and cat.02 are equal: the id itself then decides, and not the walk's order.
    return sorted(placed, key=lambda p: (key(p.id), p.id))


def _split_of(name: str) -> str | None:
    return _SPLIT_NAMES.get(name.lower().replace("_", "-").replace(" ", "-"))


def _label_of(parts: tuple[str, ...]) -> tuple[int, bool]:
    """Return the label, and whether it is a folder that says it rather than the file's name.

    The nearest folder within that of the split comes first, then the name, and last a folder around the split's.
    """
    split = next((depth for depth, folder in enumerate(parts[:-1], 1) if is_split_name(folder)), 0)
    labels = [_CLASS_NAMES.get(folder.lower(), -1) for folder in parts[:-1]]
    within, around = ([label for label in part if label >= 0] for part in (labels[split:], labels[:split]))
    named = _CLASS_NAMES.get(parts[-1].split(".")[0].lower(), -1)
    if within:
        return within[-1], True
    if named >= 0 or not around:
        return named, False
    return around[-1], True


def _look_labelled(paths: Collection[tuple[str, ...]]) -> bool:
    """Whether unknown names still look like two classes: ants/ and bees/, or bird.1.jpg and fish.2.jpg."""
    if all(len(parts) > 1 for parts in paths):
        return len({parts[:-1] for parts in paths}) > 1
    named = [_NAMED_LIKE_A_CLASS.fullmatch(parts[-1]) for parts in paths]
    return all(named) and len({match[1].lower() for match in named if match}) > 1


def _id_of(parts: tuple[str, ...], label: int, by_folder: bool) -> str:
    stem = PurePosixPath(parts[-1]).stem
    if len(stem) > MAX_NAME:
        raise CatsDogsError(
            f"an image's name has {len(stem):,} characters: {stem[:40]}...",
            f"Give it one of at most {MAX_NAME}",
        )
    if by_folder and not stem.lower().startswith(f"{CLASSES[label]}."):
        stem = f"{CLASSES[label]}.{stem}"
    return printable(stem)


def _first(names: list[str], count: int = 3) -> str:
    more = len(names) - count
    return ", ".join(names[:count]) + (f" and {more:,} more" if more > 0 else "")
