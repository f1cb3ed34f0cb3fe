"""Write files atomically; read and write JSON and CSV."""

import csv
import hashlib
import io
import json
import math
import os
import platform
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .errors import CatsDogsError, escape, printable

NOTE_HINT = "Delete this file: the next run writes it again; if you gave --weights before, give that option again"
"""The hint for a damaged source.json or timings.json."""

_FORMULA = re.compile(r'((?:^(?=..)|;)[\s"\u200c\u200d]*)([=+\-@\uff1d\uff0b\uff0d\uff20])', re.DOTALL)
"""The first character of a spreadsheet formula (CWE-1236), also in East Asian full width, after characters that
spreadsheets ignore: at the start of a cell, and after a semicolon, which separates cells in locales with a decimal
comma."""

_Kind = TypeVar("_Kind")

_SEPARATOR = re.compile(r'"?sep=(?P<separator>[^\r\n])"?(?:\r\n?|\n)', re.IGNORECASE)
"""A first line with which Excel is told the separator."""

_NUMBER = re.compile(r"[+-][0-9]+(\.[0-9]+)?")

UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.new")
"""A name that `unique_name` returned."""


def unique_name() -> str:
    """Return a name for a file that is not finished, which no other process gives to one."""
    return f".{uuid.uuid4().hex}.new"


def write_atomic(path: Path, *content: bytes | memoryview, sync: bool = True, temporary_name: str = "") -> None:
    """Write all `content` to a temporary file beside `path`, sync it, and rename it, so that nobody reads half a file.

    Without `sync` the file may be truncated after a power failure. A process that holds no lock gives its temporary
    file a `unique_name`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(temporary_name or f"{path.name}.new")
    try:
        write_file(new, content, sync=sync)
        new.replace(path)
    except OSError as error:
        error.filename = str(path)
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def write_if_changed(path: Path, content: bytes, *, temporary_name: str = "") -> None:
    """Write `content` to `path` as `write_atomic` does, unless the file already has this content."""
    if read_or_none(path) != content:
        write_atomic(path, content, temporary_name=temporary_name)


def write_file(path: Path, pieces: Iterable[bytes | memoryview], *, sync: bool = True) -> None:
    """Write a file in place, piece by piece; with `sync` it survives a power failure. Errors name the file."""
    try:
        with path.open("wb") as file:
            for piece in pieces:
                file.write(piece)
            if sync:
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        error.filename = str(path)  # only errors of opening have it already
        raise


def read_or_none(path: Path) -> bytes | None:
    """Return the content of a file, or None if it cannot be read."""
    with suppress(OSError):
        return path.read_bytes()
    return None


def list_files(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted; without error if another process removes some at the same time."""
    return sorted(Path(parent, name) for parent, _, names in os.walk(folder) for name in names)


def make_folder(folder: Path, root: Path) -> None:
    """Create a folder below `root`, and sync its parents even if it exists: a killed run may not have synced them."""
    folder.mkdir(parents=True, exist_ok=True)
    while folder != root:
        folder = folder.parent
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that renames in it survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_json(value: object) -> bytes:
    """Return `value` as indented JSON, keys in the given order, and `null` for numbers that JSON does not support.

    Bytes of file names that are not UTF-8, which Python represents as surrogates, are escaped as in JSON.
    """
    text = json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode("utf-8", "backslashreplace")


def finite(value: Any) -> Any:
    """Return `value` with None in place of NaN and infinities, which JSON does not support."""
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sha256_of(content: bytes | memoryview) -> str:
    """Return the SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def to_sealed_json(value: dict[str, Any]) -> bytes:
    """Return `value` as JSON with a last entry "sha256", which is the SHA-256 of the rest."""
    return to_json(value | {"sha256": sha256_of(to_json(value))})


def unseal(value: dict[str, Any]) -> bool:
    """Remove the entry "sha256" that `to_sealed_json` added; return whether it was correct."""
    return bool(value.pop("sha256", None) == sha256_of(to_json(value)))


def to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Return a table as CSV (RFC 4180, but lines end with a line feed, as in Kaggle's files); texts as in `to_cell`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([to_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue().encode()


def read_table(path: Path, columns: Iterable[str], hint: str) -> list[dict[str, str]]:
    """Read a CSV file, as this program or a spreadsheet writes it; cells that are missing in a row are empty.

    Raises
    ------
    CatsDogsError
        The file cannot be read, or one of the columns is missing; the error has this `hint`.
    """
    try:
        content = path.read_bytes()
        # A spreadsheet adds a byte order mark, writes UTF-16, or separates by what its language leaves free.
        text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
        delimiter = max(",;\t", key=next(iter(text.splitlines()), "").count)
        if named := _SEPARATOR.match(text):
            delimiter, text = named["separator"], text[named.end() :]
        reader = csv.DictReader(io.StringIO(text, newline=""), restval="", delimiter=delimiter)
        if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
            raise CatsDogsError(f'{path} cannot be read: it has no column "{missing[0]}"', hint)
        # It also keeps rows whose cells were cleared.
        return [row for row in reader if any(row.values())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CatsDogsError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}", hint) from error


def to_cell(text: str) -> str:
    r"""Return `text` made safe for a table: unprintable characters, and one that starts a formula, become ``\xNN``.

    Ids of images have this form from the start, so they are the same in all files and are never converted back.

    >>> print(to_cell("=1+1"), to_cell("-5"), to_cell("a; @b"))
    \x3d1+1 -5 a; \x40b
    """
    text = printable(text)
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(lambda found: found[1] + escape(found[2]), text)


def read_json(path: Path, hint: str) -> dict[str, Any]:
    """Return the object in a JSON file, or an empty one if there is no file.

    Raises
    ------
    CatsDogsError
        The file cannot be read or is not a JSON object; the error has this `hint`.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CatsDogsError(f"{path} cannot be read ({error.strerror})", hint) from error
    except (ValueError, RecursionError) as error:
        raise CatsDogsError(f"{path} is damaged: it is not JSON", hint) from error
    if not isinstance(value, dict):
        raise CatsDogsError(f"{path} is damaged: it is not a JSON object", hint)
    return value


def read_sealed(
    path: Path, kind: type[_Kind], version: int, hint: str, *, version_hint: str | None = None
) -> _Kind | None:
    """Read and check a file that `to_sealed_json` wrote, and return it as a dataclass; None if there is no file.

    Parameters
    ----------
    path : Path
    kind : type
        The dataclass to convert the object to; it has no fields for "format" and "sha256".
    version : int
        The expected value of "format".
    hint : str
        The hint of the error if the file is damaged.
    version_hint : str, optional
        The hint of the error if the file has another format; by default `hint`.

    Raises
    ------
    CatsDogsError
        The file cannot be read, is damaged, or has another format.
    """
    content = read_json(path, hint)
    if not content and not path.exists():
        return None
    if content.get("format", version) != version:
        message = f"{path} has format {content['format']}, but this version of catsdogs reads format {version}"
        raise CatsDogsError(message, version_hint or hint)
    if not unseal(content):
        raise CatsDogsError(f"{path} is damaged: it does not match its own SHA-256", hint)
    return convert(path, content, kind, hint)


def convert(path: Path, content: dict[str, Any], kind: type[_Kind], hint: str) -> _Kind:
    """Return the content of a JSON file as a dataclass, or as a dictionary of dataclasses.

    Raises
    ------
    CatsDogsError
        The content does not have the fields or types of `kind`.
    """
    import msgspec

    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise CatsDogsError(f"{path} is damaged: {error}", hint) from error


def record(path: Path, **entries: object) -> None:
    """Set `entries` in timings.json or source.json, and keep the other entries; a damaged file is replaced.

    Processes that hold different locks write to the same file, so it has a lock of its own.
    """
    from filelock import FileLock

    with FileLock(path.with_name(".notes.lock")):
        try:
            notes = read_json(path, NOTE_HINT)
        except CatsDogsError:
            notes = {}
        write_atomic(path, to_json(notes | entries))


@dataclass
class _Timing:
    """An entry of timings.json; others of its keys are not checked."""

    images: int = 0
    seconds: float = 0.0
    rate: float | None = None
    host: str = ""
    cores: int | None = None
    engine: str = ""
    device: str = ""
    stages: dict[str, float] = field(default_factory=dict)


def read_timings(path: Path) -> dict[str, Any]:
    """Return the content of timings.json, by step; empty if the file is missing.

    Raises
    ------
    CatsDogsError
        The file is damaged.
    """
    content = read_json(path, NOTE_HINT)
    convert(path, content, dict[str, _Timing], NOTE_HINT)
    return content


def record_timing(timings: Path, step: str, **facts: object) -> None:
    """Write to timings.json how long a step took, and on which host."""
    record(timings, **{step: facts | {"host": platform.node(), "cores": os.cpu_count()}})
