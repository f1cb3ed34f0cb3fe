"""List the images of a folder or a zip, with their ids, labels and splits."""

import itertools
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError
from ..paths import user_path
from .classes import Classes
from .files import ImageFile, open_zip, read_error
from .folders import walk_folder
from .layout import is_image, is_skipped, is_zip, read_layout
from .zips import walk_zip


@dataclass(frozen=True, eq=False)
class Split:
    """The images of one split in natural order (cat.2 before cat.10).

    Parameters
    ----------
    ids : tuple of str
    labels : ndarray of shape (n,), int8
        A position in the classes, -1 unknown.
    files : tuple of ImageFile
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int8]
    files: tuple[ImageFile, ...]


class Source:
    """The images under one path, held open for reading; a context manager.

    Parameters
    ----------
    path : str or Path
        A folder or a zip, in any of the layouts that `layout` knows.
    classes, default_classes : pair of str, optional
        As for `layout.read_layout`.

    Attributes
    ----------
    classes : pair of str
        Names of the labels 0 and 1.
    splits : dict of str to Split
        "train" and "test", those that are there.
    skipped : int
        Files that are no images, or lie outside of both splits or classes.

    Raises
    ------
    CatsDogsError
        Nothing there, a zip that is none or is cut short, no image in it, two images with one id, labels that are no
        class, or too many classes.
    """

    def __init__(
        self, path: str | Path, *, classes: Classes | None = None, default_classes: Classes | None = None
    ) -> None:
        self.path, self._given = user_path(path), str(path)
        with ExitStack() as open_zips:
            files = self._list_files(open_zips)
            paths = [file.parts for file in files]
            self.classes, images, self.skipped = read_layout(
                paths, self._given, classes=classes, default_classes=default_classes
            )
            self._open_zips = open_zips.pop_all()
        self.splits: dict[str, Split] = {}
        for split, members in itertools.groupby(images, lambda entry: entry.split):
            ids, labels, positions = zip(*((of.id, of.label, of.position) for of in members), strict=True)
            self.splits[split] = Split(ids, np.array(labels, np.int8), tuple(files[place] for place in positions))

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *raised: object) -> None:
        self._open_zips.close()

    def labelled(self, note: str = "") -> tuple[Split, int]:
        """Return the images of all splits that have a label, and how many have none.

        Raises
        ------
        CatsDogsError
            None has; `note` says more of the classes.
        """
        splits = self.splits.values()
        images = [image for of in splits for image in zip(of.ids, of.labels.tolist(), of.files, strict=True)]
        labelled = [image for image in images if image[1] >= 0]
        if not labelled:
            first, second = self.classes
            raise CatsDogsError(
                f"none of the {len(images):,} images in {self._given} is labelled {first} or {second}{note}",
                f"Put them into folders {first}/ and {second}/, or name them {first}.1.jpg and {second}.1.jpg",
            )
        ids, labels, files = zip(*labelled, strict=True)
        return Split(ids, np.array(labels, np.int8), files), len(images) - len(labelled)

    def _list_files(self, open_zips: ExitStack) -> list[ImageFile]:
        try:
            mode = self.path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CatsDogsError(f"there is no {self.path}", "Give the path of a folder or a zip of images") from error
        except OSError as error:
            raise read_error(self.path, error) from error
        zip_path = self.path
        if stat.S_ISDIR(mode):
            files = list(walk_folder(self.path, open_zips))
            zips = [name for name, *below in (file.parts for file in files) if not below and is_zip(name)]
            if len(zips) != 1 or not all(is_skipped(file.parts) for file in files):
                return files
            # A folder into which Kaggle's download went and nothing else.
            zip_path = self.path / zips[0]
        elif is_image(self.path.name):
            raise CatsDogsError(
                f"{self.path} is one image", "Give a folder or a zip; for single images use catsdogs predict"
            )
        return list(walk_zip(open_zip(zip_path), str(zip_path), (), open_zips))
