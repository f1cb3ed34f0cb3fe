"""List the images of a folder, a zip or tars, at a path or a URI, with their ids, labels and splits."""

import itertools
import json
import stat
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError, redact_uri
from ..paths import is_uri, user_path
from ..storage import sha256_of
from .classes import Classes, label_hint
from .files import ImageFile, image_file, read_error
from .folders import walk_archive, walk_folder
from .ids import assign_ids, drop_copies
from .layout import read_all, read_layout
from .names import is_image
from .remote import find_remote
from .scan import summarise


@dataclass(frozen=True, eq=False)
class Split:
    """The images of one split, in natural order (cat.2 before cat.10).

    Parameters
    ----------
    ids : tuple of str
    labels : ndarray of shape (n,), int8
        Position in the classes; -1 means unknown.
    files : tuple of ImageFile
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int8]
    files: tuple[ImageFile, ...]


def ids_and_labels(splits: Mapping[str, Split]) -> dict[str, tuple[tuple[str, ...], NDArray[np.int8]]]:
    """Return what the cache stores of the images of each split beside their rows."""
    return {split: (images.ids, images.labels) for split, images in splits.items()}


class Source(AbstractContextManager["Source"]):
    """The images of a folder, a zip or tars, kept open for reading; a context manager.

    Parameters
    ----------
    path : str or Path
        A folder or an archive, or the URI of one, in any layout that `layout.read_layout` recognises.
    classes, default_classes : pair of str, optional
        As for `layout.read_layout`.
    every : bool
        Whether every image counts, also copies, with or without labels, as for `layout.read_all`.

    Attributes
    ----------
    place : str
        The absolute path, or the URI without its secrets.
    classes : pair of str
        Names of the labels 0 and 1.
    splits : dict of str to Split
        The splits that exist, of "train" and "test".
    scan : Scan
        What the source holds, and how it is read.
    skipped : int
        Number of files that are no images of a split, for the reasons in `scan`.
    training_problem : CatsDogsError or None
        The error that training on these images would be.

    Raises
    ------
    CatsDogsError
        The path does not exist or cannot be read, the zip is truncated or not a zip, or as for `layout.read_layout`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        classes: Classes | None = None,
        default_classes: Classes | None = None,
        every: bool = False,
    ) -> None:
        self.place = redact_uri(str(path)) if is_uri(path) else str(user_path(path).resolve())
        self._given = redact_uri(str(path))
        with ExitStack() as open_zips:
            files = list(_walk(path, open_zips, classes or default_classes))
            paths = [file.parts for file in files]
            if every:
                layout = read_all(paths, self._given, default_classes=default_classes)
            else:
                layout = read_layout(paths, self._given, classes=classes, default_classes=default_classes)
                layout = drop_copies(layout, files)
            images, self.classes, self.skipped = assign_ids(layout.images, paths), layout.classes, len(layout.skipped)
            self.scan, self.training_problem = summarise(layout, images, paths, self._given)
            self._open_zips = open_zips.pop_all()
        self.splits: dict[str, Split] = {}
        for split, members in itertools.groupby(images, lambda entry: entry.split):
            ids, labels, positions = zip(*((image.id, image.label, image.position) for image in members), strict=True)
            self.splits[split] = Split(ids, np.array(labels, np.int8), tuple(files[position] for position in positions))

    def __exit__(self, *raised: object) -> None:
        self._open_zips.close()

    @property
    def files(self) -> list[ImageFile]:
        """The files of all splits, in order."""
        return [file for images in self.splits.values() for file in images.files]

    @property
    def listing(self) -> str:
        """The SHA-256 of the ids and labels of all images, and the classes: equal if machines list the same."""
        splits = [[split, list(images.ids), images.labels.tolist()] for split, images in self.splits.items()]
        return sha256_of(json.dumps([self.classes, splits]).encode())

    def part(self, positions: range) -> dict[str, Split]:
        """Return the splits with only the images at these positions among `files`, and without empty splits."""
        taken, first = {}, 0
        for name, split in self.splits.items():
            at = slice(max(0, positions.start - first), max(0, positions.stop - first))
            first += len(split.ids)
            if split.ids[at]:
                taken[name] = Split(split.ids[at], split.labels[at], split.files[at])
        return taken

    def labelled(self, note: str = "") -> tuple[Split, int]:
        """Return the labelled images of all splits, and the number of images without a label.

        Raises
        ------
        CatsDogsError
            No image has a label. The message ends with `note`, a remark on the classes.
        """
        splits = self.splits.values()
        images = [
            image for split in splits for image in zip(split.ids, split.labels.tolist(), split.files, strict=True)
        ]
        labelled = [image for image in images if image[1] >= 0]
        if not labelled:
            message = (
                f"none of the {len(images):,} images in {self._given} is labelled {' or '.join(self.classes)}{note}"
            )
            raise CatsDogsError(message, label_hint(self.classes))
        ids, labels, files = zip(*labelled, strict=True)
        return Split(ids, np.array(labels, np.int8), files), len(images) - len(labelled)


def _walk(given: str | Path, open_archives: ExitStack, classes: Classes | None) -> Iterator[ImageFile]:
    """Return the files of a source; `classes` are the names of the labels 0 and 1 in tars."""
    place: str | Path = str(given)
    if is_uri(given):
        file = find_remote(str(given))
    else:
        place = user_path(given)
        try:
            file = None if stat.S_ISDIR(place.stat().st_mode) else image_file(place, (place.name,))
        except (FileNotFoundError, NotADirectoryError) as error:
            hint = "Give the path of a folder or a zip of images"
            raise CatsDogsError(f"{place} does not exist", hint) from error
        except OSError as error:
            raise read_error(place, error) from error
    if file is None:
        return walk_folder(place, open_archives, classes=classes)
    if is_image(file.parts[-1]):
        message = f"{file.display_path} is a single image"
        raise CatsDogsError(message, "Give a folder or a zip; for single images run catsdogs predict")
    return walk_archive(file, open_archives, classes=classes)
