"""Write files atomically; write and read JSON and CSV."""

import csv
import hashlib
import io
import json
import math
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from .errors import CatsDogsError, escape, printable

NOTE_HINT = "Delete it: it is only a note, and is written anew; --weights must be given once more if it was before"
"""What to do about a damaged source.json or timings.json."""

_FORMULA = re.compile(r'((?:^(?=..)|;)[\s"\u200c\u200d]*)([=+\-@\uff1d\uff0b\uff0d\uff20])', re.DOTALL)
"""What begins a formula of a spreadsheet (CWE-1236), full width where it is East Asia's, behind what is skipped there:
at the start of a cell, and after a semicolon, which separates cells where the comma is a decimal point."""

_Kind = TypeVar("_Kind")

_NUMBER = re.compile(r"[+-][0-9]+(\.[0-9]+)?")


def write_atomic(path: Path, content: bytes, *, sync: bool = True, temporary_name: str = "") -> None:
    """Write `content` to a temporary file beside `path`, sync it, and rename it: the old file or the new one exists.

    Without `sync` the file may be truncated after a power failure. A process that holds no lock gives its temporary
    file a name of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(temporary_name or f"{path.name}.new")
    try:
        write_file(new, [content], sync=sync)
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def write_if_changed(path: Path, content: bytes, *, temporary_name: str = "") -> None:
    """Put `content` at `path` as `write_atomic` does, unless it is there."""
    if read_or_none(path) != content:
        write_atomic(path, content, temporary_name=temporary_name)


def write_file(path: Path, pieces: Iterable[bytes | memoryview], *, sync: bool = True) -> None:
    """Write a file in place, piece by piece; synced it outlasts a power cut."""
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
        if sync:
            file.flush()
            os.fsync(file.fileno())


def read_or_none(path: Path) -> bytes | None:
    """Return the content of a file, or None where it cannot be read."""
    with suppress(OSError):
        return path.read_bytes()
    return None


def list_files(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted; what another process takes away meanwhile is left out."""
    return sorted(Path(parent, name) for parent, _, names in os.walk(folder) for name in names)


def make_folder(folder: Path, root: Path) -> None:
    """Make a folder below `root` that outlasts a power cut, also where a killed run has made it and not synced it."""
    folder.mkdir(parents=True, exist_ok=True)
    while folder != root:
        folder = folder.parent
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the renames within `folder` outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_json(value: object) -> bytes:
    """Return `value` as JSON for people: indented, keys in the order given, and `null` for numbers that JSON lacks.

    What of a name is no UTF-8, which Python keeps as surrogates, is escaped as JSON escapes it.
    """
    text = json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode("utf-8", "backslashreplace")


def finite(value: Any) -> Any:
    """Return `value`, with None for NaN and the infinities, which Python would write and JSON does not know."""
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_sealed_json(value: dict[str, Any]) -> bytes:
    """Return `value` as JSON that ends with its own SHA-256."""
    return to_json(value | {"sha256": hashlib.sha256(to_json(value)).hexdigest()})


def unseal(value: dict[str, Any]) -> bool:
    """Take the SHA-256 off what `to_sealed_json` wrote; return whether it was the right one."""
    return bool(value.pop("sha256", None) == hashlib.sha256(to_json(value)).hexdigest())


def to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Return a table as CSV (RFC 4180, but lines end in a line feed, as Kaggle's own do); see `to_cell` for texts."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([to_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue().encode()


def to_cell(text: str) -> str:
    r"""Return `text` as a table may hold it: what cannot be shown and what begins a formula as ``\xNN``.

    Ids of images are such texts from the start, so that they are the same everywhere, and nothing must be undone.

    >>> print(to_cell("=1+1"), to_cell("-5"), to_cell("a; @b"))
    \x3d1+1 -5 a; \x40b
    """
    text = printable(text)
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(lambda found: found[1] + escape(found[2]), text)


def read_json(path: Path, hint: str) -> dict[str, Any]:
    """Return the object in a JSON file, or an empty one where there is no file.

    Raises
    ------
    CatsDogsError
        The file cannot be read or holds no JSON object; `hint` is the hint.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CatsDogsError(f"{path} cannot be read ({error.strerror})", hint) from error
    except (ValueError, RecursionError) as error:
        raise CatsDogsError(f"{path} is damaged: it is no JSON", hint) from error
    if not isinstance(value, dict):
        raise CatsDogsError(f"{path} is damaged: it is no JSON object", hint)
    return value


def read_sealed(
    path: Path, kind: type[_Kind], version: int, hint: str, *, version_hint: str | None = None
) -> _Kind | None:
    """Return what `to_sealed_json` wrote, checked, as a dataclass; None where there is no file.

    Parameters
    ----------
    path : Path
    kind : type
        What the object is converted to; its "format" and its SHA-256 are none of its fields.
    version : int
        What its "format" must be.
    hint : str
        The hint where it is damaged.
    version_hint : str, optional
        The hint where it is of another format; by default the same.

    Raises
    ------
    CatsDogsError
        The file cannot be read, is damaged, or of another format.
    """
    import msgspec

    content = read_json(path, hint)
    if not content and not path.exists():
        return None
    if content.get("format", version) != version:
        finding = f"{path} is of format {content['format']}, and this version reads format {version}"
        raise CatsDogsError(finding, version_hint or hint)
    if not unseal(content):
        raise CatsDogsError(f"{path} is damaged: it does not match its own SHA-256", hint)
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise CatsDogsError(f"{path} is damaged: {error}", hint) from error


def record(path: Path, **entries: object) -> None:
    """Set `entries` in a JSON file of notes (timings.json, source.json), keeping those of other names.

    A damaged one is replaced: it is only a note. Holders of different locks note in the same files, one at a time.
    """
    from filelock import FileLock

    with FileLock(path.with_name(".notes.lock")):
        try:
            notes = read_json(path, NOTE_HINT)
        except CatsDogsError:
            notes = {}
        write_atomic(path, to_json(notes | entries))


def record_timing(timings: Path, step: str, **facts: object) -> None:
    """Note in timings.json how long a step took, and on which host."""
    record(timings, **{step: facts | {"host": platform.node(), "cores": os.cpu_count()}})
