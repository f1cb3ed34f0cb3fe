"""Keep networks that were built and checked in a folder of the user, so that the next process only loads them.

Whatever is wrong with the folder or with an entry costs only time: the network is then built again.
"""

import logging
import os
import re
import shutil
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError
from ..paths import user_path
from ..storage import (
    UNFINISHED,
    list_files,
    read_sealed,
    sha256_of,
    sync_folder,
    to_json,
    to_sealed_json,
    unique_name,
    write_file,
)

CACHE_VARIABLE = "CATSDOGS_CACHE"

FORMAT = 2
"""Format of an entry. Increase it if the files change, or if the same weights give another network: a change of
`folding`, `conversion`, or of how ResNet50 is built."""

MAX_BYTES = 1_000_000_000
"""Maximum size of all entries; the least recently used are removed first."""

_ENTRY = re.compile(r"[0-9a-f]{64}")
_ABANDONED_SECONDS = 3600
"""Age of an unfinished entry whose process must have been killed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known about a network without its weights.

    Parameters
    ----------
    backbone : str
        Identity of the weights.
    precision : str
        Precision that it computes in.
    """

    backbone: str
    precision: str


@dataclass(frozen=True, kw_only=True)
class _Entry(Facts):
    """The content of entry.json.

    `key` is all that the network depends on, and `files` has the SHA-256 of each file.
    """

    key: dict[str, str]
    files: dict[str, str]


@dataclass(frozen=True)
class ModelCache:
    """The networks that are kept.

    Parameters
    ----------
    path : Path
        The folder; it may be missing.
    entries : int
        Number of networks.
    bytes : int
        Size of all its files.
    """

    path: Path
    entries: int
    bytes: int


def describe_model_cache() -> ModelCache:
    """Return where the user's networks are kept, how many, and their size.

    Raises
    ------
    CatsDogsError
        CATSDOGS_CACHE cannot be a path.
    """
    path = cache_path()
    entries = _entries(path) if _is_private(path) else {}
    return ModelCache(path, len(entries), sum(map(_size, entries)))


def cache_path() -> Path:
    """Return the folder that CATSDOGS_CACHE names, or else the user's folder for caches.

    Without a home folder it is /dev/null, where nothing can be kept.

    Raises
    ------
    CatsDogsError
        CATSDOGS_CACHE cannot be a path.
    """
    if named := os.environ.get(CACHE_VARIABLE):
        return user_path(named).absolute()
    from platformdirs import user_cache_path

    try:
        path = user_cache_path("catsdogs", appauthor=False)
    except RuntimeError:  # older versions return a relative path
        return Path(os.devnull)
    return path if path.is_absolute() else Path(os.devnull)


def read(key: Mapping[str, str]) -> tuple[Facts, Mapping[str, NDArray[np.uint8]]] | None:
    """Return what is known about the network of this key and the content of its files, by image size.

    An engine may compute with the arrays' memory. It is not mapped: a file on a network that another machine removes
    would end the process. A damaged entry is removed. None if there is no entry.
    """
    folder = cache_path()
    entry = folder / _name(key)
    if not _is_private(folder) or not entry.is_dir():
        return None
    try:
        found = read_sealed(entry / "entry.json", _Entry, FORMAT, "Delete it")
        if found is None or found.key != key:
            raise CatsDogsError(f"{entry} is not a complete entry of this network", "Delete it")
        contents = {name: np.fromfile(entry / name, np.uint8) for name in found.files}
        if any(sha256_of(contents[name].data) != digest for name, digest in found.files.items()):
            raise CatsDogsError(f"a file in {entry} does not match its SHA-256", "Delete it")
    except (OSError, CatsDogsError) as error:
        _log.info("the network is built again: %s", error)
        remove(key)
        return None
    with suppress(OSError):
        os.utime(entry)  # the time of its last use
    return found, contents


def write(key: Mapping[str, str], facts: Facts, contents: Mapping[str, bytes]) -> None:
    """Keep a network. If the entry exists, another process has just written the same network, and that one stays.

    Parameters
    ----------
    key : dict of str to str
        All that the network depends on.
    facts : Facts
    contents : dict of str to bytes
        The compiled network by image size.
    """
    folder, name = cache_path(), _name(key)
    new, size = folder / unique_name(), sum(map(len, contents.values()))
    if size > MAX_BYTES:
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(folder):
            _log.info("networks are not kept: %s is no folder of this user to which nobody else may write", folder)
            return
        _make_room(folder, size)
        new.mkdir(mode=0o700)
        for file, content in contents.items():
            write_file(new / file, [content])
        entry = asdict(facts) | {"key": key, "files": {file: sha256_of(content) for file, content in contents.items()}}
        write_file(new / "entry.json", [to_sealed_json({"format": FORMAT} | entry)])
        sync_folder(new)
        new.replace(folder / name)
        sync_folder(folder)
    except OSError as error:
        _log.info("the network is not kept: %s", error)
        shutil.rmtree(new, ignore_errors=True)


def remove(key: Mapping[str, str]) -> None:
    """Remove an entry, if it exists; also if it is no folder."""
    path = cache_path() / _name(key)
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _is_private(folder: Path) -> bool:
    """Whether a folder exists, is no symbolic link, belongs to the user, and nobody else may write to it."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _make_room(folder: Path, size: int) -> None:
    """Remove the least recently used entries until one of `size` bytes fits, and what killed processes have left."""
    entries = _entries(folder)
    total = size + sum(map(_size, entries))
    for entry in sorted(entries, key=entries.__getitem__):
        unfinished = UNFINISHED.fullmatch(entry.name) is not None
        if time.time() - entries[entry] > _ABANDONED_SECONDS if unfinished else total > MAX_BYTES:
            total -= _size(entry)
            shutil.rmtree(entry, ignore_errors=True)


def _entries(folder: Path) -> dict[Path, float]:
    """Return when each entry was last used, finished or not. Other files in the folder are not ours."""
    found = {}
    with suppress(OSError):
        for path in folder.iterdir():
            if _ENTRY.fullmatch(path.name) or UNFINISHED.fullmatch(path.name):
                with suppress(OSError):  # another process has removed it
                    found[path] = path.lstat().st_mtime
    return found


def _size(entry: Path) -> int:
    total = 0
    for path in list_files(entry):
        with suppress(OSError):
            total += path.lstat().st_size
    return total


def _name(key: Mapping[str, str]) -> str:
    return sha256_of(to_json(dict(sorted(key.items()))))
