"""Read what the names of files and folders mean: images, zips, splits, classes, and what systems leave behind."""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import lru_cache
from unicodedata import normalize

from ..errors import printable

# fmt: off
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif",
    ".tif", ".tiff",
)
# fmt: on
"""Suffixes of image files, in lower or upper case: the usual ones of the formats that are decoded."""

_SPLIT = re.compile(
    r"(?:cats-dogs-|(?:images?|data)-)?(?P<split>train(?:ing|val)?|test(?:ing)?|val(?:id(?:ation)?)?|dev)"
    r"(?:-?(?:images?|imgs?|pictures?|photos?|sets?|data|split|stg|jpe?g|png|resized|small|full"
    r"|v?\d++(?:x\d++)?(?:px)?|\(\d++\)))*"
)
"""A split's name, after separators have become hyphens: an optional first word, the split, and what it is said to hold:
images, a set, data, a size, a number. Digits are matched possessively, as the time would grow exponentially else."""

_ENDING = re.compile(r"(?<=.)\.[a-z][a-z0-9]{0,9}~?$")
"""What counts as a file's ending where skipped files are counted; cat.1 has none."""

# fmt: off
_SYSTEM = frozenset((
    "__macosx", "$recycle.bin", "recycler", "recycled", "#recycle", "#snapshot", "lost+found", "found.000",
    "system volume information", "network trash folder", "temporary items",
    "thumbs.db", "ehthumbs.db", "desktop.ini",
))
# fmt: on
"""Names in lower case of what Windows, macOS, Linux and network storage add to folders. Besides, names that begin with
a full stop are hidden, and folders whose names begin with an at sign belong to network storage (``@eaDir``)."""


_MAX_DEPTH = 100
"""Folders that a file may be in. A name in a zip of some kilobytes can have thousands, and all parents are kept."""


def is_image(name: str) -> bool:
    """Whether a file of this name counts as an image."""
    return name.lower().endswith(SUFFIXES)


def is_zip(name: str) -> bool:
    """Whether a file of this name counts as a zip."""
    return name.lower().endswith(".zip")


def is_archive(name: str) -> bool:
    """Whether a file of this name counts as a zip or a tar."""
    return is_zip(name) or is_tar(name)


def is_tar(name: str) -> bool:
    """Whether a file of this name counts as a tar."""
    return name.lower().endswith(".tar")


def stem_of(name: str) -> str:
    """Return a file's name without its ending."""
    return name.rpartition(".")[0] or name


def path_of(member: str) -> tuple[str, ...]:
    """Return the folders and the name of a member of an archive; steps up, with which some begin, are left out."""
    return tuple(part for part in member.split("/") if part not in ("", ".", ".."))


def is_system(parts: Sequence[str]) -> bool:
    """Whether a file, or one of its folders, is hidden or was left by an operating system or by network storage."""
    named = any(part.startswith(".") or part.lower() in _SYSTEM for part in parts)
    return named or any(folder.startswith("@") for folder in parts[:-1])


def skip_reason(parts: Sequence[str]) -> str | None:
    """Return why a file is skipped by its path alone, or None if it is an image."""
    if len(parts) - 1 > _MAX_DEPTH:
        return f"in more than {_MAX_DEPTH} folders"
    if is_system(parts):
        return "hidden, or left by the operating system"
    if is_image(parts[-1]):
        return None
    ending = _ENDING.search(parts[-1].lower())
    return f"named *{ending[0]}" if ending else "without an ending"


@lru_cache(1 << 10)
def split_of(name: str) -> str | None:
    """Return the split that a folder, or a zip's stem, of this name stands for: train, test, validation, or None."""
    found = _SPLIT.fullmatch(re.sub(r"[-_ ]+", "-", name.lower()))
    return {"tr": "train", "te": "test"}.get(found["split"][:2], "validation") if found else None


def split_and_subject(name: str) -> tuple[str | None, str]:
    """Return the split that a folder's name begins or ends with, if it does, and the rest of the name."""
    words = re.split(r"[-_ ]+", composed(name).casefold())
    for place in range(1, len(words)):
        first, last = "-".join(words[:place]), "-".join(words[place:])
        if split := split_of(last):
            return split, first
        if split := split_of(first):
            return split, last
    return None, "-".join(words)


def archives_to_read(paths: Iterable[Sequence[str]], folders: Set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Return which zips and tars of a source are read, as folders that are named by their stems.

    These are those that are named like a split; all, if there are neither images nor a zip or tar of training images.
    One is not read if its folder lies beside it.

    Parameters
    ----------
    paths : iterable of sequence of str
        All files of the source.
    folders : set of tuple of str
        Its folders, in lower case.
    """
    files = [path for path in paths if not is_system(path)]
    found = {tuple(path): split_of(stem_of(path[-1])) for path in files if is_archive(path[-1])}
    if "train" in found.values() or any(is_image(path[-1]) for path in files):
        found = {path: split for path, split in found.items() if split}
    return {path for path in found if tuple(part.lower() for part in (*path[:-1], stem_of(path[-1]))) not in folders}


def folders_with_parents(folders: Iterable[Sequence[str]]) -> set[tuple[str, ...]]:
    """Return the paths of folders, and of all folders that they are in, in lower case."""
    few = [tuple(part.lower() for part in path) for path in folders if len(path) <= _MAX_DEPTH]
    return {path[:depth] for path in few for depth in range(1, len(path) + 1)}


def composed(name: str) -> str:
    """Return a name in Unicode's composed form (NFC): macOS stores decomposed ones, other systems what was typed."""
    return normalize("NFC", name)


@lru_cache(1 << 16)
def class_key(name: str) -> str:
    """Return a key that all names of a class share: Cat, cat and cats are one class."""
    key = composed(composed(printable(name.strip())).casefold())
    return key.removesuffix("s") or key


def label_by_prefix(stem: str, keys: Mapping[str, int]) -> int:
    """Return the label of a name that begins with a class: ``cat_001``, ``cat-1``, ``cat 1`` and ``cat1``; else -1."""
    stem = composed(composed(printable(stem)).casefold())
    for key in sorted(keys, key=len, reverse=True):
        rest = stem.removeprefix(key).removeprefix("s")
        if stem.startswith(key) and rest and (rest[0] in "-_ (" or rest.isdecimal()):
            return keys[key]
    return -1
