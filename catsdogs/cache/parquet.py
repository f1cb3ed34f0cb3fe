"""Keep rows in files of Parquet, for more images than one array should hold and for other programs.

A file has the rows of a range of the images, in their order. Its name says which range of how many, and has a key of
what the rows are: a listing of the names shows what is there, and the same range is always the same file.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..backbone import N_FEATURES
from ..errors import CatsDogsError, redact_uri
from ..images.facts import FACTS
from ..paths import is_uri, local_or_uri, user_path
from ..sources import image_file
from ..sources.files import StoredFile, raise_if_system_error, read_error
from ..sources.remote import RemoteFolder
from ..storage import UNFINISHED, convert, sha256_of, to_sealed_json, unique_name, unseal, write_atomic
from .manifest import FORMAT, Manifest, describe

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_NAME = re.compile(r"(\d{10})-(\d{10})-of-(\d{10})\.([0-9a-f]{16})\.parquet")

_METADATA = b"catsdogs"
"""The key of the provenance in the metadata of a file's schema."""

_MIN_ROWS, _MAX_ROWS, _FILES = 64, 2048, 1024
"""Rows in a file at least and at most (16 MB a view), and the number of files in between."""

_REPAIR = "Remove this file, and run catsdogs extract with the same --parquet again: it computes only what is missing"

_RERUN = "Remove this file, and run the same command again: it computes only what is missing"


def require_pyarrow() -> None:
    """Raise an error if pyarrow is missing.

    Raises
    ------
    CatsDogsError
    """
    if find_spec("pyarrow") is None:
        raise CatsDogsError("pyarrow is not installed", "Install it: pip install 'catsdogs[parquet]'")


def file_ranges(images: int) -> list[range]:
    """Return the positions of the rows of each file, given the number of all images."""
    rows = min(max(_MIN_ROWS, images // _FILES), _MAX_ROWS)
    return [range(first, min(first + rows, images)) for first in range(0, images, rows)]


def file_key(*what: object) -> str:
    """Return the key of rows for the names of their files, from all that they depend on."""
    return sha256_of(json.dumps(what).encode())[:16]


@dataclass(frozen=True)
class RangeFiles:
    """The files of Parquet in a folder.

    Parameters
    ----------
    place : str
        A path, or a URI for fsspec.
    """

    place: str = field(repr=False)

    @property
    def display_path(self) -> str:
        """The place without secrets."""
        return redact_uri(self.place)

    def find(self, key: str = "") -> tuple[dict[range, StoredFile], str, int]:
        """List the files, none in subfolders; return them by range, their key, and the number of all images.

        Raises
        ------
        CatsDogsError
            The folder cannot be listed, or a file has another name, or another key than `key` or the others.
        """
        files, keys, total = dict[range, StoredFile](), {key} - {""}, 0
        for file in sorted(self._list(), key=lambda file: file.parts):
            name = _NAME.fullmatch(file.parts[0])
            if not name or len(keys := keys | {name[4]}) > 1:
                message = f"{file.display_path} has rows of other images, another provenance or another program"
                raise CatsDogsError(message, "Give a folder that has only the rows of one set of images, or a new one")
            files[range(int(name[1]), int(name[2]))], total = file, int(name[3])
        return files, "".join(keys), total

    def write(self, positions: range, images: int, key: str, table: "pa.Table") -> None:
        """Write the rows at these positions: the file is there as a whole, or not at all.

        Raises
        ------
        CatsDogsError
            It cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        name = f"{positions.start:010}-{positions.stop:010}-of-{images:010}.{key}.parquet"
        views = [f"{column}.list.element" for column in table.column_names if column.startswith("features_")]
        content = pa.BufferOutputStream()
        # Without dictionaries but for the few splits, and with the bytes of floats apart, it is smaller and faster.
        options = {"use_dictionary": ["split"], "use_byte_stream_split": views, "write_page_checksum": True}
        pq.write_table(table, content, compression="zstd", **options)
        if self._remote:
            self._remote.write(name, content.getvalue().to_pybytes())
            return
        path = user_path(self.place) / name
        try:
            write_atomic(path, content.getvalue().to_pybytes(), temporary_name=unique_name())
        except OSError as error:
            if path.exists():  # another run has written it, and removed what this one had begun
                return
            hint = "Check the disk; finished work is kept"
            raise CatsDogsError(f"{path} cannot be written ({error.strerror})", hint) from error

    @staticmethod
    def unreadable(files: Mapping[range, StoredFile], schema: "pa.Schema") -> dict[range, list[tuple[str, str, str]]]:
        """Check files, but for their features; return split, id and reason of the unreadable images in each.

        Parameters
        ----------
        files : dict of range to StoredFile
            As `find` returns them.
        schema : pyarrow.Schema
            Of the files, with the columns split, id and reason, and without metadata if they have features.

        Raises
        ------
        CatsDogsError
            A file cannot be read, is damaged, or has other columns, rows or metadata.
        """
        names, found, made = [name for name in schema.names if not name.startswith("features_")], {}, None
        for positions, file in files.items():
            with open_parquet(file, _RERUN) as opened:
                if not schema.metadata:  # features, of which each file has its own manifest
                    made = _read_manifest(opened, file.display_path, made)
                table = _read(opened, schema, names, len(positions))
            rows = table.select(["split", "id", "reason"]).filter(table["reason"].is_valid()).to_pydict()
            found[positions] = [*zip(*rows.values(), strict=True)]
        return found

    def remove_unfinished(self) -> None:
        """Remove what killed processes have left in a local folder; call it when all files are there."""
        if not self._remote:
            for path in user_path(self.place).glob(".*.new"):
                if UNFINISHED.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    @cached_property
    def _remote(self) -> RemoteFolder | None:
        return RemoteFolder(self.place) if is_uri(self.place) else None

    def _list(self) -> Iterable[StoredFile]:
        if self._remote:
            files: Iterable[StoredFile] = self._remote.list_files(missing_ok=True)
        else:
            folder = user_path(self.place)
            try:
                files = [image_file(path, (path.name,)) for path in folder.iterdir()]
            except FileNotFoundError:
                files = []
            except OSError as error:
                raise read_error(folder, error) from error
        return (file for file in files if len(file.parts) == 1 and file.parts[0].endswith(".parquet"))


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """The rows of a file of features.

    Parameters
    ----------
    manifest : Manifest
        Provenance, views and classes.
    splits, ids : sequence of str, length n
    labels : ndarray of shape (n,), int8
        -1 means unknown.
    digests : ndarray of shape (n, 16), uint8
    facts : ndarray of shape (n,), FACTS
    reasons : sequence of str, length n
        Why an image is unreadable, or "".
    features : dict of str to ndarray of shape (n, 2048), float32
        By view; NaN where an image is unreadable.
    """

    manifest: Manifest
    splits: Sequence[str]
    ids: Sequence[str]
    labels: NDArray[np.int8]
    digests: NDArray[np.uint8]
    facts: NDArray[Any]
    reasons: Sequence[str]
    features: dict[str, NDArray[np.float32]]

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which images could be read, of shape (n,), bool."""
        return np.array([not reason for reason in self.reasons], bool)

    def to_arrow(self) -> "pa.Table":
        """Return a table of pyarrow, with null for what is not known."""
        import pyarrow as pa

        digests, reasons = [digest.tobytes().hex() for digest in self.digests], [why or None for why in self.reasons]
        columns = [self.splits, self.ids, pa.array(self.labels, mask=self.labels < 0), digests, reasons]
        columns += [pa.array(self.facts[name], from_pandas=True) for name in FACTS.names or ()]  # NaN becomes null
        for view in self.manifest.views:
            values, unreadable = pa.array(self.features[view].reshape(-1)), pa.array(~self.readable)
            columns.append(pa.FixedSizeListArray.from_arrays(values, N_FEATURES, mask=unreadable))
        metadata = to_sealed_json({"format": FORMAT, **asdict(self.manifest)})
        return pa.table(columns, schema=features_schema(self.manifest.views).with_metadata({_METADATA: metadata}))


def features_schema(views: Sequence[str]) -> "pa.Schema":
    """Return the columns of a file of features."""
    import pyarrow as pa

    text = pa.string()
    columns = {"split": text, "id": text, "label": pa.int8(), "digest": text, "reason": text}
    columns |= dict.fromkeys(FACTS.names or (), pa.float64())
    return pa.schema(columns | {f"features_{view}": pa.list_(pa.float32(), N_FEATURES) for view in views})


class FeatureFiles:
    """The features of all images, in files of Parquet.

    Parameters
    ----------
    place : str or Path
        Folder or URI that `extract` wrote with its option `parquet`.

    Attributes
    ----------
    ranges : list of range
        The positions of the rows of each file.
    key : str
    images : int
    manifest : Manifest
        Provenance, views and classes.

    Raises
    ------
    CatsDogsError
        There are none, or some are missing.
    """

    def __init__(self, place: str | Path) -> None:
        require_pyarrow()
        self.folder = RangeFiles(local_or_uri(place))
        self._files, self.key, self.images = self.folder.find()
        self.ranges = sorted(self._files, key=lambda positions: positions.start)
        missing = self.images - sum(map(len, self.ranges))
        if not self.images or missing:
            what = f"lacks the rows of {missing:,} of {self.images:,} images" if self.images else "has no features"
            hint = "Run catsdogs extract DATA with this --parquet: it computes only what is missing"
            raise CatsDogsError(f"{self.folder.display_path} {what}", hint)
        self.manifest = self.read(self.ranges[0], features=False).manifest

    def tables(self, *, features: bool = True) -> Iterator[FeatureTable]:
        """Read one file after another, as `read` does."""
        return (self.read(positions, features=features) for positions in self.ranges)

    def read(self, positions: range, *, features: bool = True) -> FeatureTable:
        """Read one file; its features are left out without `features`.

        Raises
        ------
        CatsDogsError
            It cannot be read, is damaged, or has another provenance than the first file, or other columns.
        """
        with open_parquet(self._files[positions], _REPAIR) as file:
            made = _read_manifest(file, self._files[positions].display_path, getattr(self, "manifest", None))
            columns = features_schema(made.views if features else ()).names
            table = _read(file, features_schema(made.views), columns, len(positions))
        facts = np.empty(len(positions), FACTS)
        for name in FACTS.names or ():
            facts[name] = table[name]
        return FeatureTable(
            made,
            splits=table["split"].to_pylist(),
            ids=table["id"].to_pylist(),
            labels=np.asarray(table["label"].fill_null(-1)),
            digests=np.frombuffer(bytes.fromhex("".join(table["digest"].to_pylist())), np.uint8).reshape(-1, 16),
            facts=facts,
            reasons=[reason or "" for reason in table["reason"].to_pylist()],
            features={view: _rows(table[f"features_{view}"]) for view in (made.views if features else ())},
        )


@contextmanager
def open_parquet(file: StoredFile, hint: str) -> "Iterator[pq.ParquetFile]":
    """Open a file of Parquet, whose pages are checked as they are read; what is wrong with it is one line.

    Raises
    ------
    CatsDogsError
        It cannot be read, or within the context it turns out to be damaged: a ValueError, or an error of pyarrow.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with file.open() as opened:
            yield pq.ParquetFile(opened, pre_buffer=True, page_checksum_verification=True)
    except MemoryError:  # that of pyarrow is an ArrowException too
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise_if_system_error(error, file.display_path)
        message = f"{file.display_path} is damaged: {str(error).splitlines()[0].rstrip('.')}"
        raise CatsDogsError(message, hint) from error


def _read_manifest(file: "pq.ParquetFile", path: str, first: Manifest | None) -> Manifest:
    """Return the manifest of an open file of features, which must say the same as that of the first file, if any."""
    if "probability" in file.schema_arrow.names:
        hint = "Give the folder that catsdogs extract wrote with --parquet"
        raise CatsDogsError(f"{path} has probabilities, and no features", hint)
    content = json.loads((file.schema_arrow.metadata or {}).get(_METADATA, b"{}"))
    if not isinstance(content, dict) or content.get("format") != FORMAT or not unseal(content):
        raise ValueError("it has no provenance")
    made = convert(Path(path), content, Manifest, _REPAIR)
    ours = first or made
    if (made.provenance.key, made.views, made.classes) != (ours.provenance.key, ours.views, ours.classes):
        by = f"{describe(made.provenance, made.views, ours.provenance)}, the first file by "
        message = f"{path} has rows computed by {by}{describe(ours.provenance, ours.views, made.provenance)}"
        raise CatsDogsError(message, _REPAIR)
    return made


def _read(file: "pq.ParquetFile", schema: "pa.Schema", columns: Sequence[str], rows: int) -> "pa.Table":
    """Read some columns of an open file that should have this schema and number of rows."""
    table = file.read(columns=columns)
    table.validate()
    if not file.schema_arrow.equals(schema, check_metadata=bool(schema.metadata)) or table.num_rows != rows:
        raise ValueError("it has other columns, rows or metadata")
    return table


def _rows(lists: Any) -> NDArray[np.float32]:
    """Return lists as rows, of shape (n, 2048), float32, and NaN for null."""
    rows = np.full((len(lists), N_FEATURES), np.nan, np.float32)
    rows[np.asarray(lists.is_valid())] = np.asarray(lists.combine_chunks().flatten()).reshape(-1, N_FEATURES)
    return rows
