"""Keep the shards and the tables of parts at a URI, and copy them to where they are read."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import CatsDogsError, redact_uri
from ..locks import FEATURES, write_lock
from ..progress import Progress, tell
from ..sources.files import ImageFile
from ..sources.remote import RemoteFolder
from ..storage import list_files, read_or_none, sha256_of, write_atomic
from .rows import digest

_FILE = re.compile(r"part-[1-9]\d*-of-[1-9]\d*\.json|shards/[0-9a-f]{16}/[0-9a-z][0-9a-z.]*")
"""The names of these files, below the folder of a cache."""

_COPY = "catsdogs-"
"""How the names of local copies of artifacts begin."""

_READERS = 8
"""Files that are copied at the same time; a shard has up to 34 MB."""


class RemoteParts:
    """The shards and the tables in an artifacts folder at a URI.

    Parameters
    ----------
    uri : str
        URI of the artifacts folder.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._folder = RemoteFolder(f"{uri.rstrip('/')}/features/")
        self._put: dict[str, str] = {}  # by name the SHA-256 of a table, or "" where the name tells the content
        self._copied: set[str] = set()

    def write(self, name: str, *content: bytes | memoryview) -> None:
        """Put a file there, by its name below the folder of the cache, as a whole; nothing if this was put before.

        Raises
        ------
        CatsDogsError
            It cannot be written.
        """
        sha256 = sha256_of(content[0]) if name.endswith(".json") else ""
        if self._put.get(name) != sha256:
            self._folder.write(name, b"".join(content))
            self._put[name] = sha256

    def fetch(self, copy: Path, *, progress: Progress | None = None) -> None:
        """Make a local folder equal to what is there; a shard is not read if the copy has the content of its name.

        Parameters
        ----------
        copy : Path
            The folder of a local cache, the same in each call.
        progress : callable, optional

        Raises
        ------
        CatsDogsError
            It cannot be listed or read.
        """
        found = {"/".join(file.parts): file for file in self._folder.list_files(missing_ok=True)}
        there = {name: file for name, file in found.items() if _FILE.fullmatch(name)}
        for path in {*list_files(copy)} - {copy / name for name in there}:
            path.unlink()
        new = [name for name in there if name not in self._copied and name not in self._put]
        with ThreadPoolExecutor(_READERS) as threads:
            copied = threads.map(_copy, map(there.__getitem__, new), map(copy.joinpath, new))
            for done, _ in enumerate(copied, 1):
                tell(progress, "copying shards", done, len(new))
        self._copied.update(new)


def _copy(file: ImageFile, path: Path) -> None:
    """Copy a file, but no shard whose copy is intact. One that is damaged there is copied for its intact rows."""
    if path.suffix == ".npy" and path.name.startswith(digest(read_or_none(path) or b"").tobytes().hex()):
        return
    try:
        content = file.read()
    except OSError as error:
        message = f"{file.display_path} cannot be read: {error.strerror or error}"
        raise CatsDogsError(message, "Check the credentials, and rerun: finished work is kept") from None
    write_atomic(path, content)


@contextmanager
def temporary_copy() -> Iterator[Path]:
    """Give a folder for a copy of artifacts; remove those of killed runs, this user's with a lock that nobody holds."""
    for path in Path(tempfile.gettempdir()).glob(f"{_COPY}*/.features.lock"):
        with suppress(CatsDogsError, OSError):
            if path.parent.lstat().st_uid == os.geteuid():  # in another's, links may lead to this user's files
                with write_lock(path.parent, FEATURES):
                    shutil.rmtree(path.parent)
    with tempfile.TemporaryDirectory(prefix=_COPY) as folder:
        yield Path(folder).resolve()


@contextmanager
def name_uris(uris: Mapping[Path, str]) -> Iterator[None]:
    """Have errors name URIs, without secrets, instead of the folders that have local copies of them."""
    try:
        yield
    except CatsDogsError as error:
        for folder, uri in uris.items():
            error.message = error.message.replace(str(folder), redact_uri(uri).rstrip("/"))
        raise
