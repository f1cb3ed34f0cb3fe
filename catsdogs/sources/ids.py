"""Name the images of a source: an id is a file's name, with as much of its folder as makes it unique in its split."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import PurePosixPath

from ..storage import sha256_of, to_cell
from .files import ImageFile
from .layout import Layout, Parts, Placed
from .names import composed, split_of

MAX_NAME = 255
"""Maximum length of an id in characters: the limit of file systems, which names in a zip can exceed."""


@dataclass(frozen=True)
class ImageEntry(Placed):
    """One image of a source.

    Parameters
    ----------
    position, split, label, label_folder, name
        As for `Placed`.
    id : str
    """

    id: str


def drop_copies(layout: Layout, files: Sequence[ImageFile]) -> Layout:
    """Return the layout with only one of the images with the same name, split, label and content; the others skipped.

    Only files whose name, split, label and size are equal are read.
    """
    groups: dict[object, list[Placed]] = defaultdict(list)
    for image in layout.images:
        groups[image.split, image.label, image.name].append(image)
    copies: dict[int, str] = {}
    for group in groups.values():
        sizes: dict[int, list[int]] = defaultdict(list)
        for image in group if len(group) > 1 else ():
            sizes[files[image.position].length()].append(image.position)
        for positions in sizes.values():
            seen: set[str] = set()
            for position in sorted(positions, key=lambda p: (len(files[p].parts), files[p].parts)):
                if len(positions) > 1 and (content := _digest(files[position])):
                    if content in seen:
                        copies[position] = "identical to another image of that name"
                    seen.add(content)
    images = [image for image in layout.images if image.position not in copies]
    return replace(layout, images=images, skipped=layout.skipped | copies)


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
        named = zip(images, _unique_ids(images, paths), strict=True)
        entries += [ImageEntry(**vars(image), id=id_) for image, id_ in named]
    # cat.2 and cat.02 have the same natural key. The id makes the order independent of that of the paths.
    natural = natsort_keygen()
    return sorted(entries, key=lambda entry: (entry.split == "test", natural(entry.id), entry.id))


def _unique_ids(images: Sequence[Placed], paths: Sequence[Parts]) -> list[str]:
    """Return the ids of the images of one split."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        groups[image.name].append(index)
    ids = [image.name for image in images]
    if repeated := [group for group in groups.values() if len(group) > 1]:
        folders = _without_shared([_telling_folders(image, paths[image.position]) for image in images])
        whole = _without_shared([paths[image.position][:-1] for image in images])
        for group in repeated:
            depth = max(len(folders[index]) for index in group)
            candidates = []
            for index in group:
                suffix = PurePosixPath(paths[images[index].position][-1]).suffix
                candidates.append(_candidates(ids[index], suffix, folders[index], whole[index], depth))
            best = max(zip(*candidates, strict=True), key=lambda column: len(set(column)))  # the shortest of the best
            for index, id_ in zip(group, best, strict=True):
                ids[index] = id_
    return _numbered([_shortened(id_) for id_ in ids], [paths[image.position] for image in images])


def _telling_folders(image: Placed, path: Parts) -> Parts:
    """Return the folders of an image that give neither split nor label."""
    folders = enumerate(path[:-1])
    return tuple(name for depth, name in folders if depth != image.label_folder and not split_of(name))


def _without_shared(folders: Sequence[Parts]) -> list[Parts]:
    """Return folders in composed form, without the outer ones that are all the same."""
    names = [tuple(map(composed, of)) for of in folders]
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*names, strict=False)))
    return [of[shared:] for of in names]


def _candidates(name: str, suffix: str, folders: Parts, whole: Parts, depth: int) -> list[str]:
    """Return ids of an image, with more and more of its path; all images of its name have `depth` folders at most."""
    shorter = [folders[-count:] for count in range(1, depth + 1)]
    named = [_joined(of, name) for of in (*shorter, whole)]
    return [name, *named, *(_joined(of, name + suffix) for of in (folders, whole))]


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


def _digest(file: ImageFile) -> str:
    """Return a digest of a file's content, empty if it cannot be read."""
    try:
        return sha256_of(file.read())
    except OSError:
        return ""
