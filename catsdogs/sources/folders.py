"""List the files of a folder, and of the zips in it that are named like a split."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from ..errors import CatsDogsError
from .files import ImageFile, image_file, open_zip, read_error
from .layout import is_hidden, is_image, is_split_zip
from .zips import walk_zip


def walk_folder(folder: Path, open_zips: ExitStack, *, broken: dict[str, str] | None = None) -> Iterator[ImageFile]:
    """Yield every file below `folder`, links followed, and those within zips that are named like a split.

    Zips opened on the way are entered into `open_zips`, to be closed by the caller. One that cannot be opened raises,
    or goes into `broken`, where that is given, with the reason.
    """
    pending: list[tuple[Path, tuple[str, ...], frozenset[tuple[int, int]]]] = [(folder, (), frozenset())]
    while pending:
        folder, parts, ancestors = pending.pop()
        try:
            status = folder.stat()
            names = os.listdir(folder)  # noqa: PTH208 - names, not paths, are wanted
        except OSError as error:
            if is_hidden(parts):
                continue
            raise read_error(folder, error) from error
        identity = (status.st_dev, status.st_ino)
        if identity in ancestors:
            continue  # a link that leads back to a folder above
        folders = {name.lower() for name in names}
        for name in names:
            path = folder / name
            # A folder that is named like an image is no folder of images, but an image that cannot be read.
            if not is_image(name) and os.path.isdir(path):  # noqa: PTH112 - Path's raises where access is denied
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
