"""List the files of a folder, a zip or a tar, at a path or a URI, and the files of the archives in a folder."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from ..errors import CatsDogsError
from ..paths import is_uri
from .classes import Classes
from .files import ImageFile, StoredFile, image_file, read_error
from .names import archives_to_read, is_system, is_tar, split_of, stem_of
from .remote import READERS, list_remote
from .tars import list_tar
from .zips import walk_zip


def walk_archive(
    file: StoredFile, open_archives: ExitStack, *, parts: tuple[str, ...] = (), classes: Classes | None = None
) -> Iterator[ImageFile]:
    """Yield every file of a zip or a tar, which has the path `parts` below the source.

    `classes` are the names of a tar's labels 0 and 1. The zip is entered into `open_archives`, for the caller to close.

    Raises
    ------
    CatsDogsError
        It cannot be opened.
    """
    if is_tar(file.parts[-1]):
        yield from list_tar(file, parts, classes)
    else:
        yield from walk_zip(file.open(), file.display_path, parts, open_archives)


def walk_folder(
    folder: str | Path,
    open_archives: ExitStack,
    *,
    classes: Classes | None = None,
    broken: dict[str, str] | None = None,
) -> Iterator[ImageFile]:
    """Yield every file below `folder`, following links, and those of the archives that `archives_to_read` selects.

    Parameters
    ----------
    folder : str or Path
        The URI or the path of a folder.
    open_archives : ExitStack
        Opened zips are entered into it, for the caller to close.
    classes : pair of str, optional
        The names of the labels 0 and 1 in tars.
    broken : dict of str to str, optional
        For an archive that cannot be opened, its path and the error's message are added to it. By default an error is
        raised.
    """
    files, folders = list_remote(str(folder)) if is_uri(folder) else _list_folder(Path(folder))
    selected = archives_to_read((file.parts for file in files), folders)
    archives = [file for file in files if file.parts in selected]
    yield from (file for file in files if file.parts not in selected)
    # The headers of a tar are read one after the other, each by a request if it is remote.
    with ThreadPoolExecutor(READERS if any(file.is_remote for file in archives) else 1) as threads:
        listed = threads.map(lambda file: _list_archive(file, archives, open_archives, classes), archives)
        for file, members in zip(archives, listed, strict=True):
            if isinstance(members, list):
                yield from members
            elif broken is None:
                raise members
            else:
                broken[file.display_path] = members.message


def _list_archive(
    file: StoredFile, archives: Sequence[StoredFile], open_archives: ExitStack, classes: Classes | None
) -> list[ImageFile] | CatsDogsError:
    """Return the files of one of the archives in a folder, or why it cannot be opened."""
    *folders, name = file.parts
    stem = stem_of(name)
    # A folder with nothing but Kaggle's download in it is read as the download itself. Tars are parts of one set.
    alone = len(archives) == len(file.parts) == 1 and not split_of(stem)
    parts = (*folders,) if alone or is_tar(name) else (*folders, stem)
    try:
        return list(walk_archive(file, open_archives, parts=parts, classes=classes))
    except CatsDogsError as error:
        return error


def _list_folder(folder: Path) -> tuple[list[StoredFile], set[tuple[str, ...]]]:
    """Return the files below a folder, and the paths of its folders in lower case."""
    files: list[StoredFile] = []
    folders: set[tuple[str, ...]] = set()
    identities: dict[Path, tuple[int, int]] = {}

    def refuse(error: OSError) -> None:
        path = Path(error.filename)
        if not is_system((*path.relative_to(folder).parts, "")):
            raise read_error(path, error) from error

    for parent, below, names in os.walk(folder, onerror=refuse, followlinks=True):
        path = Path(parent)
        try:
            status = path.stat()
        except OSError as error:  # it was removed since it was listed
            refuse(error)
            continue
        identities[path] = status.st_dev, status.st_ino
        if identities[path] in map(identities.get, path.parents):
            below.clear()  # a link to a parent folder
            continue
        parts = path.relative_to(folder).parts
        files += [image_file(path / name, (*parts, name)) for name in names]
        folders |= {tuple(part.lower() for part in (*parts, name)) for name in below}
    return files, folders
