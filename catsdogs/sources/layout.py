"""Read the split, label and id of each image, and the two classes, from the paths of a source.

Only paths are used, so the same images get the same ids, labels and order from a folder and from a zip.
"""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..errors import CatsDogsError, printable
from ..storage import to_cell
from .classes import CLASSES, Classes, choose_classes, class_key, label_hint

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Suffixes of image files, in lower or upper case."""

SPLITS = {
    "train": ("train", "training", "training-set", "cats-dogs-training"),
    "test": ("test", "test1", "testing", "test-set", "cats-dogs-testing"),
    "validation": ("val", "valid", "validation"),
}
"""Names of the folders and zips that hold a split: those of Kaggle in 2013 and 2016, of the project of 2017, and of
widespread copies of the data set. A validation folder is the test split of a source without a test folder; otherwise
it is skipped."""

Parts = tuple[str, ...]
"""A file's path below the source: the names of its folders, then its own."""

MAX_NAME = 255
"""Maximum length of an image's name in characters: the limit of file systems, which names in a zip can exceed."""

_SPLIT_NAMES = {name: split for split, names in SPLITS.items() for name in names}
_NAMED_LIKE_A_CLASS = re.compile(r"([A-Za-z]+)\.\d+\.\w+")


@dataclass(frozen=True)
class ImageEntry:
    """One image of a source.

    Parameters
    ----------
    position : int
        Position of its path in the given paths.
    split : str
        "train" or "test".
    id : str
    label : int
        A position in the classes, -1 unknown.
    """

    position: int
    split: str
    id: str
    label: int


def is_image(name: str) -> bool:
    """Whether a file of this name counts as an image."""
    return name.lower().endswith(SUFFIXES)


def is_zip(name: str) -> bool:
    """Whether a file of this name counts as a zip."""
    return name.lower().endswith(".zip")


def is_split_zip(path: PurePosixPath, folders: Collection[str]) -> bool:
    """Whether a path is a zip named like a split, such as ``train.zip``, and `folders` has no folder of that name.

    The names in `folders` are in lower case.
    """
    return is_zip(path.name) and _split_of(path.stem) is not None and str(path.with_suffix("")).lower() not in folders


def is_hidden(parts: Sequence[str]) -> bool:
    """Whether a file or folder, or one of its parent folders, is hidden or was added by the operating system."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def is_skipped(parts: Sequence[str]) -> bool:
    """Whether a file is skipped: it is hidden, is not an image, or is in a folder that is named like an image."""
    return not is_image(parts[-1]) or is_hidden(parts) or any(map(is_image, parts[:-1]))


def read_layout(
    paths: Sequence[Parts], display_path: str, *, classes: Classes | None = None, default_classes: Classes | None = None
) -> tuple[Classes, list[ImageEntry], int]:
    """Determine the classes, and the split, label and id of each image.

    Parameters
    ----------
    paths : sequence of tuple of str
        Each file's path below the source: the names of its folders, then its own.
    display_path : str
        The source's path, for messages.
    classes : pair of str, optional
        By default the names of the two class folders of the training images, else `default_classes`, else cat and dog.
    default_classes : pair of str, optional
        The classes of the existing features or head.

    Returns
    -------
    classes : pair of str
    images : list of ImageEntry
        The training images, then the test images, each split in natural order (cat.2 before cat.10).
    skipped : int
        Number of files that are not images, or that are outside the folders of the splits or of the two classes.

    Raises
    ------
    CatsDogsError
        There are no images, two images have the same id, an image has a label that is neither of the classes, or there
        are more than two class folders and neither `classes` nor `default_classes` selects two of them.
    """
    from natsort import natsort_keygen

    images = [position for position, parts in enumerate(paths) if not is_skipped(parts)]
    if not images:
        raise CatsDogsError(
            f"there are no images in {display_path}", f"Give a folder or a zip with files named *{', *'.join(SUFFIXES)}"
        )
    splits = {p: next(filter(None, map(_split_of, paths[p][:-1])), None) for p in images}
    split_names = set(splits.values())
    validation = None if "test" in split_names else "test"
    splits = {p: validation if split == "validation" else split for p, split in splits.items()}
    training = "train" if "train" in split_names else None
    class_folders = _find_classes([paths[p] for p in images if splits[p] == training])
    classes = classes or choose_classes(class_folders, display_path, default_classes=default_classes)
    keys = {class_key(name): label for label, name in enumerate(classes)}
    labels = {p: _label_of(paths[p], keys) for p in images}
    folders = set(map(class_key, class_folders))
    others = folders - keys.keys() if folders > keys.keys() else set()
    images = [p for p in images if labels[p][0] >= 0 or others.isdisjoint(map(class_key, paths[p][:-1]))]
    entries: list[ImageEntry] = []
    for split in (None, "train", "test"):
        members = {p: (paths[p], *labels[p]) for p in images if splits[p] == split}
        if not members or (split is None and "train" in split_names):
            continue
        in_split = _read_split(members, split, classes, display_path)
        # Class folders beside test/ are the training images; images without labels beside it are skipped.
        beside_test = split is None and not split_names <= {None}
        entries += [entry for entry in in_split if entry.split == "train" or not beside_test]
    # cat.2 and cat.02 have the same natural key. The id and the path make the order, and the error below, independent
    # of the order of the paths.
    natural = natsort_keygen()
    entries.sort(key=lambda entry: (entry.split == "test", natural(entry.id), entry.id, paths[entry.position]))
    for first, second in itertools.pairwise(entries):
        if (first.split, first.id) == (second.split, second.id):
            both = " and ".join(sorted("/".join((display_path, *paths[entry.position])) for entry in (first, second)))
            raise CatsDogsError(f"two images have the same id {first.id}: {both}", "Rename or remove one of them")
    return classes, entries, len(paths) - len(entries)


def _find_classes(paths: Sequence[Parts]) -> tuple[str, ...]:
    """Return the names of the class folders of these images, in natural order; empty if there are none.

    The class folders are the first level of folders, below that of the split, at which the images' paths differ.
    """
    from natsort import natsorted, ns

    cats_and_dogs = {class_key(name): label for label, name in enumerate(CLASSES)}
    labels = [_label_of(parts, cats_and_dogs) for parts in paths]
    if any(label >= 0 and not by_folder for label, by_folder in labels) or all(label >= 0 for label, _ in labels):
        return CLASSES if paths else ()
    within = [parts[_depth_of_split(parts) : -1] for parts in paths]
    levels = enumerate(zip(*within, strict=False))
    depth = next((depth for depth, names in levels if len(set(names)) > 1), min(map(len, within)))
    folders = sorted({printable(folders[depth]) for folders in within if len(folders) > depth})
    names = {class_key(name): name for name in reversed(folders)}.values()
    return tuple(natsorted(names, key=str.lower, alg=ns.PRESORT)) if len(names) > 1 else ()


def _read_split(
    members: dict[int, tuple[Parts, int, bool]], split: str | None, classes: Classes, display_path: str
) -> list[ImageEntry]:
    """Return the images of a split (None: outside any split folder), given path, label and whether a folder sets it."""
    unknown = [parts for parts, label, _ in members.values() if label < 0]
    by_folder = any(label_from_folder for _, _, label_from_folder in members.values())
    # Files of a test split may have any name, even cat.jpg, without being labelled.
    must_be_known = split == "train" or by_folder or (split is None and len(unknown) < len(members))
    if unknown and (must_be_known or (split is None and _look_like_classes(unknown))):
        names = sorted({"/".join(parts) for parts in unknown})
        more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
        neither = f"are labelled neither {' nor '.join(classes)}"
        raise CatsDogsError(
            f"{len(unknown):,} of {len(members):,} images in {display_path} {neither}: {', '.join(names[:3])}{more}",
            f"{label_hint(classes)}; put images without labels into test/; for other classes run catsdogs extract "
            "with --classes A,B",
        )
    split = split or ("test" if unknown else "train")
    return [
        ImageEntry(position, split, _id_of(parts, classes[label] if of_folder else None), -1 if unknown else label)
        for position, (parts, label, of_folder) in members.items()
    ]


def _split_of(name: str) -> str | None:
    """Return the split that a folder, or a zip's stem, of this name stands for, or None."""
    return _SPLIT_NAMES.get(name.lower().replace("_", "-").replace(" ", "-"))


def _depth_of_split(parts: Parts) -> int:
    """Return the number of folders down to that of the split, included; 0 if there is none."""
    return next((depth for depth, folder in enumerate(parts[:-1], 1) if _split_of(folder)), 0)


def _label_of(parts: Parts, keys: Mapping[str, int]) -> tuple[int, bool]:
    """Return the label, and whether it comes from a folder rather than from the file's name.

    The innermost folder below the split's folder is tried first, then the file's name, then folders above the split's.
    """
    split = _depth_of_split(parts)
    *folders, named = (keys.get(class_key(name), -1) for name in (*parts[:-1], parts[-1].split(".")[0]))
    within, around = ([label for label in part if label >= 0] for part in (folders[split:], folders[:split]))
    if within:
        return within[-1], True
    if named >= 0 or not around:
        return named, False
    return around[-1], True


def _look_like_classes(paths: Collection[Parts]) -> bool:
    """Whether images without a known label look like two classes: ants/ and bees/, or bird.1.jpg and fish.2.jpg."""
    if all(len(parts) > 1 for parts in paths):
        return len({parts[:-1] for parts in paths}) > 1
    named = [_NAMED_LIKE_A_CLASS.fullmatch(parts[-1]) for parts in paths]
    return all(named) and len({match[1].lower() for match in named if match}) > 1


def _id_of(parts: Parts, folder: str | None) -> str:
    """Return an image's id; `folder` is its class if that comes from a folder."""
    stem = PurePosixPath(parts[-1]).stem
    if len(stem) > MAX_NAME:
        raise CatsDogsError(
            f"the name of an image has {len(stem):,} characters: {stem[:40]}...", f"Shorten it to {MAX_NAME} characters"
        )
    if folder and not stem.lower().startswith(f"{folder.lower()}."):
        stem = f"{folder}.{stem}"
    return to_cell(stem)
