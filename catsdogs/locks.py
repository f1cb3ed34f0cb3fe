"""Lock an artifacts folder, so that only one process at a time, and one thread of it, writes to it."""

import fcntl
import os
import platform
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CatsDogsError
from .paths import user_path
from .progress import Progress, tell

if TYPE_CHECKING:
    from filelock import FileLock

FEATURES, RESULTS = "features", "results"
"""The two locks: one for the cache, which `extract` and `import_features` write, and one for the files that `train`,
`submit`, `report` and `export` write."""

_guard = threading.Lock()
"""Held while a lock of a file is acquired or released: these locks are shared by all threads of the process."""

_writers: defaultdict[Path, threading.RLock] = defaultdict(threading.RLock)
"""By the lock's file, a lock of the thread that writes."""

_POLL_SECONDS = 0.1

BOTH = (RESULTS, FEATURES)
"""Both locks in the order in which they are acquired. A process that waits for the results lock does not hold the
features lock, which `train` may need for a moment."""


class LockedError(CatsDogsError):
    """Another process holds a lock."""


@contextmanager
def write_lock(folder: Path, *names: str, alternative: str = "another --artifacts DIR") -> Iterator[None]:
    """Hold locks of a folder; only one process at a time can hold a lock, and may acquire it more than once.

    Parameters
    ----------
    folder : Path
    *names : str
        The names of the locks, in the order of `BOTH`.
    alternative : str
        What the user can give instead of this folder, for the hint.

    Raises
    ------
    LockedError
        Another process holds a lock. The locks of a process that died are free.
    CatsDogsError
        The folder, or later a file in it, cannot be written.
    """
    with _acquire(folder, names, alternative=alternative):
        try:
            yield
        except OSError as error:
            path = Path(str(error.filename or folder))
            if not path.is_relative_to(folder):
                raise  # the error is of a file elsewhere, such as an image
            message = f"{path} cannot be written ({error.strerror or error})"
            hint = "Free disk space or fix the problem, and rerun: finished work is kept"
            raise CatsDogsError(message, hint) from error


@contextmanager
def lock(artifacts: str | Path = "artifacts", *, progress: Progress | None = None) -> Iterator[None]:
    """Lock the artifacts folder for the enclosed calls, of any thread; wait first if another process holds the lock.

    Without this lock, a call that writes raises an error if another process is writing.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder.
    progress : callable, optional
        Called when there is a process to wait for.

    Raises
    ------
    CatsDogsError
        The folder cannot be written.

    Examples
    --------
    >>> with catsdogs.lock("artifacts"):  # doctest: +SKIP
    ...     catsdogs.run("photographs")
    """
    with _acquire(user_path(artifacts), BOTH, wait=lambda holder: tell(progress, f"waiting for {holder}", 0, 0)):
        yield


def require_unlocked(folder: Path, name: str) -> None:
    """Raise an error if another process holds a lock; nothing is written.

    Raises
    ------
    LockedError
        Another process holds this lock.
    """
    from filelock import FileLock

    path = _path(folder, name)
    if path.exists() and not FileLock(path, thread_local=False, is_singleton=True).is_locked:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _locked_error(folder, name) from error


@contextmanager
def _acquire(
    folder: Path,
    names: tuple[str, ...],
    *,
    wait: Callable[[str], None] | None = None,
    alternative: str = "another --artifacts DIR",
) -> Iterator[None]:
    """Acquire the locks and write this process's number beside each; `wait` is called with the process to wait for.

    Without `wait`, this thread is the one that writes.
    """
    from filelock import FileLock, Timeout

    created: list[Path] = []
    with ExitStack() as held:
        for name in names:
            lock = FileLock(_path(folder, name), thread_local=False, is_singleton=True)
            waiting = False
            while True:
                created += [path for path in (folder, *folder.parents) if not path.exists()]
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    # The process that created the folder may have removed it again.
                    with suppress(FileNotFoundError), _guard:
                        lock.acquire(timeout=0)
                        break
                except Timeout as error:
                    if wait is None:
                        raise _locked_error(folder, name, alternative) from error
                    if not waiting:
                        wait(holder(folder, name))
                    waiting = True
                    time.sleep(_POLL_SECONDS)
                except OSError as error:
                    message = f"{folder} cannot be written ({error.strerror})"
                    raise CatsDogsError(message, f"Give {alternative}") from error
            held.callback(_release, lock)
            if wait is None:
                writer = _writers[_path(folder, name)]
                if not writer.acquire(blocking=False):
                    raise _locked_error(folder, name, alternative)
                held.callback(writer.release)
            with suppress(OSError):  # on a full disk, --prune must still run
                _holder_file(folder, name).write_text(f"process {os.getpid()} on {platform.node()}")
        try:
            yield
        finally:
            if created:
                _remove_if_unused(folder, names, created)


def _release(lock: "FileLock") -> None:
    with _guard:
        lock.release()


def _remove_if_unused(folder: Path, names: tuple[str, ...], created: Sequence[Path]) -> None:
    """Remove the folders and files created for these locks, which must still be held, if they are otherwise empty."""
    files = [path for name in names for path in (_path(folder, name), _holder_file(folder, name))]
    with suppress(OSError):  # another process is using the folder
        if {path.name for path in folder.iterdir()} <= {path.name for path in files}:
            for path in files:
                path.unlink(missing_ok=True)
            for path in created:
                path.rmdir()


def _path(folder: Path, name: str) -> Path:
    return folder.resolve() / f".{name}.lock"


def _holder_file(folder: Path, name: str) -> Path:
    return folder / f".{name}.holder"


def _locked_error(folder: Path, name: str, alternative: str = "another --artifacts DIR") -> LockedError:
    return LockedError(
        f"{folder} is being written by another run, {holder(folder, name)}",
        f"Wait until it has finished, or rerun with --wait, or give {alternative}",
    )


def holder(folder: Path, name: str) -> str:
    """Return which process acquired the lock last; while the lock is held, that process holds it."""
    try:
        return _holder_file(folder, name).read_text() or "a process that is just starting"
    except (OSError, ValueError):
        return "an unknown process"
