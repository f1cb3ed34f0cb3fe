"""List the files of a folder, and the files of each zip in it that is named like a split."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from ..errors import CatsDogsError
from .files import ImageFile, image_file, open_zip, read_error
from .layout import is_hidden, is_image, is_split_zip
from .zips import walk_zip


def walk_folder(folder: Path, open_zips: ExitStack, *, broken: dict[str, str] | None = None) -> Iterator[ImageFile]:
    """Yield every file below `folder`, following links, and every file of a zip that is named like a split.

    Opened zips are entered into `open_zips`, for the caller to close. For a zip that cannot be opened an error is
    raised; if `broken` is given, the zip's path and the error's message are added to it instead.
    """
    pending: list[tuple[Path, tuple[str, ...], frozenset[tuple[int, int]]]] = [(folder, (), frozenset())]
    while pending:
        folder, parts, ancestors = pending.pop()
        try:
            status = folder.stat()
            names = os.listdir(folder)  # noqa: PTH208 - names are needed, not paths
        except OSError as error:
            if is_hidden(parts):
                continue
            raise read_error(folder, error) from error
        identity = (status.st_dev, status.st_ino)
        if identity in ancestors:
            continue  # a link to a parent folder
        folders = {name.lower() for name in names}
        for name in names:
            path = folder / name
            # A folder that is named like an image counts as an image that cannot be read.
            if not is_image(name) and os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises an error if access is denied
                pending.append((path, (*parts, name), ancestors | {identity}))
            elif is_split_zip(PurePosixPath(name), folders):
                try:
                    yield from walk_zip(open_zip(path), str(path), (*parts, path.stem), open_zips)
                except CatsDogsError as error:
                    if broken is None:
                        raise
                    broken[str(path)] = error.message
            else:
                yield image_file(path, (*parts, name))
