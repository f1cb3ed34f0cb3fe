"""List the files of a folder, and the files of the zips in it."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from ..errors import CatsDogsError
from .files import ImageFile, image_file, open_zip, read_error
from .names import is_system, split_of, stem_of, zips_to_read
from .zips import walk_zip


def walk_folder(folder: Path, open_zips: ExitStack, *, broken: dict[str, str] | None = None) -> Iterator[ImageFile]:
    """Yield every file below `folder`, following links, and every file of the zips that `names.zips_to_read` selects.

    Opened zips are entered into `open_zips`, for the caller to close. For a zip that cannot be opened an error is
    raised; if `broken` is given, the zip's path and the error's message are added to it instead.
    """
    files, folders = _list_folder(folder)
    zips = zips_to_read((parts for _, parts in files), folders)
    for path, parts in files:
        if parts in zips:
            stem = stem_of(path.name)
            # A folder with nothing but Kaggle's download in it is read as the download itself.
            alone = len(zips) == len(parts) == 1 and not split_of(stem)
            within = () if alone else (*parts[:-1], stem)
            try:
                yield from walk_zip(open_zip(path), str(path), within, open_zips)
            except CatsDogsError as error:
                if broken is None:
                    raise
                broken[str(path)] = error.message
        else:
            yield image_file(path, parts)


def _list_folder(folder: Path) -> tuple[list[tuple[Path, tuple[str, ...]]], set[tuple[str, ...]]]:
    """Return the files below a folder with their paths below it, and the paths of its folders in lower case."""
    files: list[tuple[Path, tuple[str, ...]]] = []
    folders: set[tuple[str, ...]] = set()
    pending: list[tuple[Path, tuple[str, ...], frozenset[tuple[int, int]]]] = [(folder, (), frozenset())]
    while pending:
        folder, parts, ancestors = pending.pop()
        try:
            status = folder.stat()
            with os.scandir(folder) as entries:
                listed = [(entry.name, _is_folder(entry)) for entry in entries]
        except OSError as error:
            if is_system((*parts, "")):
                continue
            raise read_error(folder, error) from error
        identity = (status.st_dev, status.st_ino)
        if identity in ancestors:
            continue  # a link to a parent folder
        for name, is_folder in listed:
            below = (*parts, name)
            if is_folder:
                folders.add(tuple(part.lower() for part in below))
                pending.append((folder / name, below, ancestors | {identity}))
            else:
                files.append((folder / name, below))
    return files, folders


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or nowhere that may be looked at
        return False
