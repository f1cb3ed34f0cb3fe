"""Keep the shards and the tables of parts at a URI, with a local copy of them where they are read."""

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..errors import CatsDogsError, redact_uri
from ..progress import Progress, tell
from ..sources.files import ImageFile
from ..sources.remote import RemoteFolder
from ..storage import list_files, sha256_of, write_atomic

_FILE = re.compile(r"part-[1-9]\d*-of-[1-9]\d*\.json|shards/[0-9a-f]{16}/[0-9a-z][0-9a-z.]*")
"""The names of these files, below the folder of a cache."""

_READERS = 8
"""Files that are copied at the same time; a shard has up to 34 MB."""


@dataclass(frozen=True)
class RemoteParts:
    """The shards and the tables in an artifacts folder at a URI.

    Parameters
    ----------
    uri : str
        URI of the artifacts folder.
    copy : Path, optional
        The folder of a local cache that has a copy of them.
    """

    uri: str = field(repr=False)
    copy: Path | None = None
    _put: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _copied: set[Path] = field(default_factory=set, init=False, repr=False)

    def write(self, name: str, content: bytes) -> None:
        """Put a file there, by its name below the folder of the cache, as a whole; nothing if this was put before.

        Raises
        ------
        CatsDogsError
            It cannot be written.
        """
        if self._put.get(name) != (sha256 := sha256_of(content)):
            self._folder.write(name, content)
            self._put[name] = sha256

    def fetch(self, *, progress: Progress | None = None) -> None:
        """Make the local copy equal to what is there; the name of a shard tells its content, so none is read twice.

        Raises
        ------
        CatsDogsError
            It cannot be listed or read.
        """
        if self.copy is None:
            return
        names = {"/".join(file.parts): file for file in self._folder.list_files(missing_ok=True)}
        there = {self.copy / name: file for name, file in names.items() if _FILE.fullmatch(name)}
        for path in {*list_files(self.copy)} - there.keys():
            path.unlink()
        new = [path for path in there if not path.exists() or (path.suffix == ".json" and path not in self._copied)]
        with ThreadPoolExecutor(_READERS) as threads:
            for done, _ in enumerate(threads.map(_copy, map(there.__getitem__, new), new), 1):
                tell(progress, "copying shards", done, len(new))
        self._copied.update(there)

    @cached_property
    def _folder(self) -> RemoteFolder:
        return RemoteFolder(f"{self.uri.rstrip('/')}/features/")


def _copy(file: ImageFile, path: Path) -> None:
    try:
        content = file.read()
    except OSError as error:
        message = f"{file.display_path} cannot be read: {error.strerror or error}"
        raise CatsDogsError(message, "Check the credentials, and rerun: finished work is kept") from None
    write_atomic(path, content)


@contextmanager
def name_uris(uris: Mapping[Path, str]) -> Iterator[None]:
    """Have errors name URIs, without secrets, instead of the folders that have local copies of them."""
    try:
        yield
    except CatsDogsError as error:
        for folder, uri in uris.items():
            error.message = error.message.replace(str(folder), redact_uri(uri).rstrip("/"))
        raise
