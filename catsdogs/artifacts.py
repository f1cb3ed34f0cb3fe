"""A folder comes in; out goes where each artifact lies in it, and how to write one so that a kill leaves it whole."""

import csv
import hashlib
import io
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CatsDogsError
from .progress import Progress

NOTE = "Delete it: it is only a note, and is written anew; --weights must be given once more if it was before"
"""What to do about a damaged source.json or timings.json."""


@dataclass(frozen=True)
class Artifacts:
    """Where each file lies under one folder; nothing is created by asking.

    Raises
    ------
    CatsDogsError
        Something that is no folder lies there.
    """

    root: Path

    def __post_init__(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise CatsDogsError(f"{self.root} is not a folder", "Give --artifacts the folder where results go")

    @property
    def features(self) -> Path:
        """Folder of the cache: ids, labels, digests and features of each split."""
        return self.root / "features"

    @property
    def duplicates(self) -> Path:
        """Pairs of images that are the same, or nearly so."""
        return self.features / "duplicates.npy"

    @property
    def duplicates_metadata(self) -> Path:
        """Which features the pairs are of."""
        return self.features / "duplicates.json"

    @property
    def head(self) -> Path:
        """Coefficients of the head, which this program reads."""
        return self.root / "head.npz"

    @property
    def head_metadata(self) -> Path:
        """What made the head."""
        return self.root / "head.json"

    @property
    def estimator(self) -> Path:
        """The head as a scikit-learn estimator, for people's own code; written, never read."""
        return self.root / "head.joblib"

    @property
    def metrics(self) -> Path:
        """Log loss, accuracy and how they came about."""
        return self.root / "metrics.json"

    @property
    def predictions(self) -> Path:
        """Out-of-fold prediction of every training image."""
        return self.root / "predictions.csv"

    @property
    def suspects(self) -> Path:
        """Training images whose label is probably wrong."""
        return self.root / "suspects.csv"

    @property
    def submission(self) -> Path:
        """What Kaggle takes."""
        return self.root / "submission.csv"

    def exported(self, form: str) -> Path:
        """Backbone and head as one network, in a form that other programs read: "keras" or "onnx"."""
        return self.root / f"catsdogs.{form}"

    @property
    def report(self) -> Path:
        """What people look at, with pictures."""
        return self.root / "report.html"

    @property
    def source(self) -> Path:
        """Where the images and the weights are."""
        return self.root / "source.json"

    @property
    def timings(self) -> Path:
        """How long each step took."""
        return self.root / "timings.json"


def write_atomic(path: Path, content: bytes) -> None:
    """Put `content` at `path`: written beside it, synced, renamed, so that the old file or the new one is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the renames within `folder` outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_json(value: object) -> bytes:
    """Return `value` as JSON for people: indented, keys in the order given.

    Where a name in it is no UTF-8, which Python keeps as surrogates, all beyond ASCII is escaped.
    """
    try:
        return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(value, indent=2) + "\n").encode()


def to_sealed_json(value: dict[str, Any]) -> bytes:
    """Return `value` as JSON that ends with its own SHA-256."""
    return to_json(value | {"sha256": hashlib.sha256(to_json(value)).hexdigest()})


def unseal(value: dict[str, Any]) -> bool:
    """Take the SHA-256 off what `to_sealed_json` wrote; return whether it was the right one."""
    return bool(value.pop("sha256", None) == hashlib.sha256(to_json(value)).hexdigest())


def to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Return a table as CSV (RFC 4180, but lines end in a line feed, as Kaggle's own do)."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Return the object in a JSON file, or an empty one where there is no file.

    Raises
    ------
    CatsDogsError
        The file cannot be read or holds no JSON object; `remedy` is the hint.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CatsDogsError(f"{path} cannot be read ({error.strerror})", remedy) from error
    except (ValueError, RecursionError) as error:
        raise CatsDogsError(f"{path} is damaged: it is no JSON", remedy) from error
    if not isinstance(value, dict):
        raise CatsDogsError(f"{path} is damaged: it is no JSON object", remedy)
    return value


def record(path: Path, **entries: object) -> None:
    """Set `entries` in a JSON file of notes (timings.json, source.json), keeping those of other names.

    A damaged one is replaced: it is only a note.
    """
    try:
        notes = read_json(path, NOTE)
    except CatsDogsError:
        notes = {}
    write_atomic(path, to_json(notes | entries))


def record_timing(artifacts: Artifacts, step: str, **facts: object) -> None:
    """Note in timings.json how long a step took, and on which host."""
    record(artifacts.timings, **{step: facts | {"host": platform.node(), "cores": os.cpu_count()}})


@contextmanager
def write_lock(artifacts: Artifacts, *, instead: str = "another --artifacts DIR") -> Iterator[None]:
    """Hold the folder for writing; only one process at a time can, and it may hold it more than once.

    Parameters
    ----------
    artifacts : Artifacts
    instead : str
        What the user may give where the folder will not do.

    Raises
    ------
    CatsDogsError
        Another process holds it, or it cannot be written, now or later. A process that died holds nothing.
    """
    with _held(artifacts, instead=instead):
        try:
            yield
        except OSError as error:
            raise CatsDogsError(
                f"{artifacts.root} cannot be written ({error.strerror or error})",
                "What is done is kept: make room or mend that, and run the same command again",
            ) from error


@contextmanager
def lock(artifacts: str | Path = "artifacts", *, progress: Progress | None = None) -> Iterator[None]:
    """Hold the artifacts for the calls within, as soon as no other process does; others have to wait as long.

    Exclude it a call that would write ends at once where another process is writing.

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

    with _held(Artifacts(Path(artifacts)), wait=wait):
        yield


def require_unlocked(artifacts: Artifacts) -> None:
    """Refuse to judge what another process is just writing.

    Raises
    ------
    CatsDogsError
        Another process holds the folder.
    """
    if (artifacts.root / ".lock").exists() and os.access(artifacts.root, os.W_OK):
        with _held(artifacts):
            pass


@contextmanager
def _held(
    artifacts: Artifacts, *, wait: Callable[[str], None] | None = None, instead: str = "another --artifacts DIR"
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
                    f"Wait until it has ended, or have that done with --wait, or give {instead}",
                ) from error
            wait(_holder(note))
            lock.acquire(timeout=-1)
    except OSError as error:
        raise CatsDogsError(f"{artifacts.root} cannot be written ({error.strerror})", f"Give {instead}") from error
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
