"""Paths below a source come in; out goes what they say: which is an image, its split, its label and its id.

Only names are looked at here, so the same pictures get the same ids and labels from a folder and from a zip.
"""

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
    "test": ("test", "test1", "testing", "test-set", "cats-dogs-testing", "val", "valid", "validation"),
}
"""Names of folders and zips that say which split lies in them: Kaggle's of 2013 and 2016, those of the 2017
project, and those of the copies of the data set that are about."""

_CLASS_NAMES = {name: label for label, single in enumerate(CLASSES) for name in (single, single + "s")}
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


def is_split_name(name: str) -> bool:
    """Whether a folder or a zip's stem of this name says which split lies in it."""
    return _split_of(name) is not None


def is_passed_over(parts: Sequence[str]) -> bool:
    """Whether the file is hidden, a system's own, or no image."""
    return not is_image(parts[-1]) or any(part.startswith(".") or part == "__MACOSX" for part in parts)


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
    passed_over : int
        How many of `paths` are no images, or lie beside the folders of the splits.

    Raises
    ------
    CatsDogsError
        No image, or labels that are neither of the classes.
    """
    images = [position for position, parts in enumerate(paths) if not is_passed_over(parts)]
    if not images:
        raise CatsDogsError(
            f"there are no images in {where}", f"It should hold files that end in {', '.join(SUFFIXES)}"
        )
    splits = {p: next(filter(None, map(_split_of, paths[p][:-1])), None) for p in images}
    if any(splits.values()):
        images = [p for p in images if splits[p]]
    labels = {p: _label_of(paths[p]) for p in images}
    placed: list[Placed] = []
    for split in (None, "train", "test"):
        members = [p for p in images if splits[p] == split]
        if members:
            placed += _place_split(members, split, {p: paths[p] for p in members}, labels, where)
    return placed, len(paths) - len(placed)


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


def _split_of(name: str) -> str | None:
    return _SPLIT_NAMES.get(name.lower().replace("_", "-").replace(" ", "-"))


def _label_of(parts: tuple[str, ...]) -> tuple[int, bool]:
    """Return the label, and whether it is a folder that says it rather than the file's name."""
    for folder in reversed(parts[:-1]):
        if folder.lower() in _CLASS_NAMES:
            return _CLASS_NAMES[folder.lower()], True
    return _CLASS_NAMES.get(parts[-1].split(".")[0].lower(), -1), False


def _look_labelled(paths: Collection[tuple[str, ...]]) -> bool:
    """Whether unknown names still look like two classes: ants/ and bees/, or bird.1.jpg and fish.2.jpg."""
    if all(len(parts) > 1 for parts in paths):
        return len({parts[:-1] for parts in paths}) > 1
    named = [_NAMED_LIKE_A_CLASS.fullmatch(parts[-1]) for parts in paths]
    return all(named) and len({match[1].lower() for match in named if match}) > 1


def _id_of(parts: tuple[str, ...], label: int, by_folder: bool) -> str:
    stem = PurePosixPath(parts[-1]).stem
    if by_folder and not stem.lower().startswith(f"{CLASSES[label]}."):
        stem = f"{CLASSES[label]}.{stem}"
    return printable(stem)


def _first(names: list[str], count: int = 3) -> str:
    more = len(names) - count
    return ", ".join(names[:count]) + (f" and {more:,} more" if more > 0 else "")
