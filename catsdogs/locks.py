"""Lock an artifacts folder, so that only one process writes it."""

import fcntl
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .errors import CatsDogsError
from .paths import user_path
from .progress import Progress, tell

FEATURES, RESULTS = "features", "results"
"""The two locks: of the cache, which `extract` and imports write, and of what `train`, `submit`, `report` and `export`
write."""

BOTH = (RESULTS, FEATURES)
"""In the order in which they are taken: who waits for the results' does not hold the features', which `train` may need
for a moment."""


class LockedError(CatsDogsError):
    """Another process holds a lock."""


@contextmanager
def write_lock(folder: Path, *names: str, alternative: str = "another --artifacts DIR") -> Iterator[None]:
    """Hold a folder for writing; only one process at a time can, and it may hold it more than once.

    Parameters
    ----------
    folder : Path
    *names : str
        Which locks, in the order of `BOTH`.
    alternative : str
        What the user may give where the folder will not do.

    Raises
    ------
    LockedError
        Another process holds it; one that died holds nothing.
    CatsDogsError
        It cannot be written, now or later.
    """
    with _acquire(folder, names, alternative=alternative):
        try:
            yield
        except OSError as error:
            if not Path(str(error.filename or folder)).is_relative_to(folder):
                raise  # it is of a file elsewhere, such as one that is read
            what = f"{folder} cannot be written ({error.strerror or error})"
            hint = "What is done is kept: make room or mend that, and run the same command again"
            raise CatsDogsError(what, hint) from error


@contextmanager
def lock(artifacts: str | Path = "artifacts", *, progress: Progress | None = None) -> Iterator[None]:
    """Hold the artifacts for the calls within, as soon as no other process does; others have to wait as long.

    Without it a call that would write ends at once where another process is writing.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder.
    progress : callable, optional
        Told that there is something to wait for.

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
    """Refuse to judge what another process is just writing; nothing is written.

    Raises
    ------
    CatsDogsError
        Another process holds this lock.
    """
    from filelock import FileLock

    path = _path(folder, name)
    if path.exists() and not FileLock(path, is_singleton=True).is_locked:
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
    """Take the locks, and note beside each who did; `wait` is told who must be waited for."""
    from filelock import FileLock, Timeout

    created: list[Path] = []
    with ExitStack() as held:
        for name in names:
            lock = FileLock(_path(folder, name), is_singleton=True)
            timeout = 0
            while True:
                created += [path for path in (folder, *folder.parents) if not path.exists()]
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    with suppress(FileNotFoundError):  # the one that had created the folder has taken it away again
                        lock.acquire(timeout=timeout)
                        break
                except Timeout as error:
                    if wait is None:
                        raise _locked_error(folder, name, alternative) from error
                    wait(_holder(folder, name))
                    timeout = -1
                except OSError as error:
                    what = f"{folder} cannot be written ({error.strerror})"
                    raise CatsDogsError(what, f"Give {alternative}") from error
            held.callback(lock.release)
            with suppress(OSError):  # a full disk must not keep anybody from pruning
                _holder_file(folder, name).write_text(f"process {os.getpid()} on {platform.node()}")
        try:
            yield
        finally:
            if created:
                _remove_if_unused(folder, names, created)


def _remove_if_unused(folder: Path, names: tuple[str, ...], created: Sequence[Path]) -> None:
    """Take away what was created for these locks, which must still be held, where nothing else has come into it."""
    files = [path for name in names for path in (_path(folder, name), _holder_file(folder, name))]
    with suppress(OSError):  # somebody else has come meanwhile
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
        f"{folder} is being written by another run, {_holder(folder, name)}",
        f"Wait until it has ended, or have that done with --wait, or give {alternative}",
    )


def _holder(folder: Path, name: str) -> str:
    """Return who wrote the note last; where the lock is held, that is who holds it."""
    try:
        return _holder_file(folder, name).read_text() or "a process that is just starting"
    except (OSError, ValueError):
        return "a process that did not say which"
