"""Name the images of a source: an id is a file's name, with as much of its folder as makes it unique in its split."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePosixPath

from ..storage import sha256_of, to_cell
from .files import ImageFile
from .layout import Parts, Placed
from .names import composed, split_of

MAX_NAME = 255
"""Maximum length of an id in characters: the limit of file systems, which names in a zip can exceed."""


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
    is_renamed : bool
        Whether the id is more than the name, which is not unique.
    """

    position: int
    split: str
    id: str
    label: int
    is_renamed: bool


def drop_copies(placed: Sequence[Placed], files: Sequence[ImageFile]) -> tuple[list[Placed], set[int]]:
    """Return the images, of files with one name, split, label and content only one, and the positions of the others.

    Only files whose name, split, label and size are equal are read.
    """
    groups: dict[object, list[Placed]] = defaultdict(list)
    for image in placed:
        groups[image.split, image.label, image.name].append(image)
    copies: set[int] = set()
    for group in groups.values():
        sizes: dict[int, list[int]] = defaultdict(list)
        for image in group if len(group) > 1 else ():
            sizes[files[image.position].length()].append(image.position)
        for positions in sizes.values():
            seen: set[bytes] = set()
            for position in sorted(positions, key=lambda p: (len(files[p].parts), files[p].parts)):
                if len(positions) > 1 and (content := _digest(files[position])):
                    if content in seen:
                        copies.add(position)
                    seen.add(content)
    return [image for image in placed if image.position not in copies], copies


def assign_ids(placed: Sequence[Placed], paths: Sequence[Parts]) -> list[ImageEntry]:
    """Return the images with their ids, the training images first, each split in natural order (cat.2 before cat.10).

    The id is the file's name without its ending, after the class if a folder gives it. Names that occur more than once
    in a split begin with as many folders, the innermost first, as make them unique: without folders that all images
    of the split share, or that give the split or the label. Where that is not enough, all folders are used, then the
    ending, then numbers.
    """
    from natsort import natsort_keygen

    entries = []
    for split in dict.fromkeys(image.split for image in placed):
        images = [image for image in placed if image.split == split]
        entries += [
            ImageEntry(image.position, split, id_, image.label, id_ != image.name)
            for image, id_ in zip(images, _unique_ids(images, paths), strict=True)
        ]
    # cat.2 and cat.02 have the same natural key. The id makes the order independent of that of the paths.
    natural = natsort_keygen()
    return sorted(entries, key=lambda entry: (entry.split == "test", natural(entry.id), entry.id))


def _unique_ids(images: Sequence[Placed], paths: Sequence[Parts]) -> list[str]:
    """Return the ids of the images of one split."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        groups[image.name].append(index)
    ids = {index: image.name for index, image in enumerate(images)}
    if repeated := [group for group in groups.values() if len(group) > 1]:
        folders = _telling_folders(images, paths)
        whole = _without_shared([paths[image.position][:-1] for image in images])
        for group in repeated:
            best = {i: ids[i] for i in group}
            files = {i: (ids[i], PurePosixPath(paths[images[i].position][-1]).suffix) for i in group}
            for candidate in _candidates({i: folders[i] for i in group}, {i: whole[i] for i in group}, files):
                if len(set(candidate.values())) > len(set(best.values())):
                    best = candidate
                if len(set(best.values())) == len(group):
                    break
            ids |= best
    return _numbered([_shortened(ids[index]) for index in range(len(images))], [paths[i.position] for i in images])


def _telling_folders(images: Sequence[Placed], paths: Sequence[Parts]) -> list[Parts]:
    """Return the folders of each image that give neither split nor label, and that not all images share."""
    return _without_shared(
        [
            tuple(
                name
                for depth, name in enumerate(paths[image.position][:-1])
                if depth != image.label_folder and not split_of(name)
            )
            for image in images
        ]
    )


def _without_shared(folders: Sequence[Parts]) -> list[Parts]:
    """Return folders in composed form, without the outer ones that are all the same."""
    names = [tuple(map(composed, of)) for of in folders]
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*names, strict=False)))
    return [of[shared:] for of in names]


def _candidates(
    folders: Mapping[int, Parts], whole: Mapping[int, Parts], files: Mapping[int, tuple[str, str]]
) -> Iterator[dict[int, str]]:
    """Yield ids of images with one name, with more and more of their paths; `files` are their names and endings."""
    for count in range(1, max(map(len, folders.values())) + 1):
        yield {i: _joined(of[-count:], files[i][0]) for i, of in folders.items()}
    yield {i: _joined(of, files[i][0]) for i, of in whole.items()}
    for each in (folders, whole):
        yield {i: _joined(of, "".join(files[i])) for i, of in each.items()}


def _joined(folders: Parts, name: str) -> str:
    return to_cell("/".join((*folders, name)))


def _numbered(ids: list[str], paths: Sequence[Parts]) -> list[str]:
    """Return ids with numbers behind those that are still equal, in the order of their paths (equal in some zips)."""
    if len(set(ids)) == len(ids):
        return ids
    final, used, seen, number = list(ids), set(ids), set[str](), dict.fromkeys(ids, 2)
    for index in sorted(range(len(ids)), key=lambda index: (ids[index], paths[index])):
        id_ = ids[index]
        if id_ in seen:
            while (numbered := f"{id_}~{number[id_]}") in used:
                number[id_] += 1
            final[index] = numbered
            used.add(numbered)
        seen.add(id_)
    return final


def _shortened(id_: str) -> str:
    """Return an id that is not too long: its start, and a digest of it all."""
    if len(id_) <= MAX_NAME:
        return id_
    digest = sha256_of(id_.encode("utf-8", "surrogateescape"))[:12]
    return f"{id_[: MAX_NAME - 13]}~{digest}"


def _digest(file: ImageFile) -> bytes:
    """Return a digest of a file's content, empty if it cannot be read."""
    try:
        return hashlib.sha256(file.read()).digest()
    except OSError:
        return b""
