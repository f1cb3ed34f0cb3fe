"""Lock an artifacts folder, so that only one process writes it."""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .artifacts import Artifacts, ArtifactsPath
from .errors import CatsDogsError
from .progress import Progress


@contextmanager
def write_lock(artifacts: Artifacts, *, alternative: str = "another --artifacts DIR") -> Iterator[None]:
    """Hold the folder for writing; only one process at a time can, and it may hold it more than once.

    Parameters
    ----------
    artifacts : Artifacts
    alternative : str
        What the user may give where the folder will not do.

    Raises
    ------
    CatsDogsError
        Another process holds it, or it cannot be written, now or later. A process that died holds nothing.
    """
    with _acquire(artifacts, alternative=alternative):
        try:
            yield
        except OSError as error:
            raise CatsDogsError(
                f"{artifacts.root} cannot be written ({error.strerror or error})",
                "What is done is kept: make room or mend that, and run the same command again",
            ) from error


@contextmanager
def lock(artifacts: ArtifactsPath = "artifacts", *, progress: Progress | None = None) -> Iterator[None]:
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

    def wait(holder: str) -> None:
        if progress:
            progress(f"waiting for {holder}", 0, 0)

    with _acquire(Artifacts.at(artifacts), wait=wait):
        yield


def require_unlocked(artifacts: Artifacts) -> None:
    """Refuse to judge what another process is just writing.

    Raises
    ------
    CatsDogsError
        Another process holds the folder.
    """
    if (artifacts.root / ".lock").exists() and os.access(artifacts.root, os.W_OK):
        with _acquire(artifacts):
            pass


@contextmanager
def _acquire(
    artifacts: Artifacts, *, wait: Callable[[str], None] | None = None, alternative: str = "another --artifacts DIR"
) -> Iterator[None]:
    """Lock the folder, and note beside the lock who did; `wait` is told who must be waited for."""
    from filelock import FileLock, Timeout

    lock = FileLock(artifacts.root.resolve() / ".lock", is_singleton=True)
    note = artifacts.root / ".holder"
    try:
        artifacts.root.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            if wait is None:
                raise CatsDogsError(
                    f"{artifacts.root} is being written by another run, {_holder(note)}",
                    f"Wait until it has ended, or have that done with --wait, or give {alternative}",
                ) from error
            wait(_holder(note))
            lock.acquire(timeout=-1)
    except OSError as error:
        raise CatsDogsError(f"{artifacts.root} cannot be written ({error.strerror})", f"Give {alternative}") from error
    try:
        with suppress(OSError):  # a full disk must not keep anybody from pruning
            note.write_text(f"process {os.getpid()} on {platform.node()}")
        yield
    finally:
        lock.release()


def _holder(note: Path) -> str:
    """Return who wrote the note last; where the lock is held, that is who holds it."""
    try:
        return note.read_text() or "a process that is just starting"
    except (OSError, ValueError):
        return "a process that did not say which"
