"""Divide the images among machines, and gather the tables that describe the finished parts.

A part has the rows of a range of the images in shards, and a table of these images beside them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError, OptionError
from ..storage import make_folder, read_sealed, to_sealed_json, write_atomic
from .manifest import FORMAT, Manifest, SplitName, describe
from .remote import RemoteParts
from .rows import NO_DIGEST
from .shards import find_parts, read_provenances

Wanted = Mapping[str, tuple[Sequence[str], NDArray[np.int8]]]
"""Ids and labels of the images, by split."""


@dataclass(frozen=True)
class Part:
    """One of several equal ranges of the images.

    Parameters
    ----------
    number, of : int
        From 1 to `of`.
    """

    number: Annotated[int, msgspec.Meta(ge=1)]
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def positions(self, images: int) -> range:
        """Return the positions of its images among all, in the order of the splits and their ids."""
        return range((self.number - 1) * images // self.of, self.number * images // self.of)


def parse_part(text: str) -> Part:
    """Parse "3/8".

    Raises
    ------
    OptionError
    """
    found = re.fullmatch(r"([1-9]\d{0,8})/([1-9]\d{0,8})", str(text), re.ASCII)
    if not found or int(found[1]) > int(found[2]):
        raise OptionError(f"{text!a} is not a part", "Give K/N with K from 1 to N, such as --part 3/8")
    return Part(int(found[1]), int(found[2]))


@dataclass(frozen=True)
class PartTable:
    """The table of a finished part.

    Parameters
    ----------
    part : Part
    manifest : Manifest
        Provenance, views and classes, without splits.
    images : dict of str to int
        Number of the images of all parts, by split.
    listing : str
        `Source.listing` of all images.
    source, weights : str
        The path of the images, and the weights, for source.json.
    ids : tuple of str
    labels : tuple of int
    digests : tuple of str
        Digests of the images' bytes, in hexadecimal digits.
    reasons : tuple of str
        Why an image is unreadable, or "".
    """

    part: Part
    manifest: Manifest
    images: dict[SplitName, int]
    listing: str
    source: str
    weights: str
    ids: tuple[str, ...]
    labels: tuple[int, ...]
    digests: tuple[Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")], ...]
    reasons: tuple[str, ...]

    @property
    def positions(self) -> range:
        """The positions of its images among all."""
        return self.part.positions(sum(self.images.values()))


def write_part(place: Path | RemoteParts, table: PartTable) -> None:
    """Write the table of a part that is computed; its rows must be in shards of the same cache."""
    name = f"part-{table.part.number}-of-{table.part.of}.json"
    content = to_sealed_json({"format": FORMAT, **asdict(table)})
    if isinstance(place, RemoteParts):
        place.write(name, content)
        return
    make_folder(place, place.parent)
    write_atomic(place / name, content)


@dataclass(frozen=True, eq=False)
class Parts:
    """Parts that are complete and belong together.

    Parameters
    ----------
    tables : dict of Path to PartTable
    wanted : dict of str to (ids, labels)
        All images by split.
    digests : ndarray of shape (n, 16), uint8
        Digests of all images; zeros if a file could not be read.
    unreadable : dict of int to str
        Why a file could not be read, by position.
    overlapping : int
        Number of images that are in more than one part.
    """

    tables: dict[Path, PartTable]
    wanted: Wanted
    digests: NDArray[np.uint8]
    unreadable: dict[int, str]
    overlapping: int

    @property
    def first(self) -> PartTable:
        """The first table; the others have the same provenance, views, classes and images in total."""
        return next(iter(self.tables.values()))


def read_parts(caches: Sequence[Path]) -> Parts:
    """Read the tables of all parts in some folders, and put them together.

    Raises
    ------
    CatsDogsError
        A folder has no part, or shards of another provenance; a table is damaged, or of other images; two tables
        disagree about an image; or parts are missing.
    """
    tables: dict[Path, PartTable] = {}
    for cache in caches:
        if not (found := find_parts(cache)):
            hint = "Give first the folder to write, then those that catsdogs extract DATA --part K/N --artifacts made"
            raise CatsDogsError(f"there is no finished part in {cache.parent}", hint)
        for path in found:
            hint = "Copy this file again, or run catsdogs extract with this --part again: it computes only missing rows"
            table = read_sealed(path, PartTable, FORMAT, hint)
            if table is None or len({len(table.positions), *map(len, _columns(table))}) != 1:
                raise CatsDogsError(f"{path} is damaged", hint)
            tables[path] = table
    _check_compatible(tables, caches)
    return _combine(tables)


def _columns(table: PartTable) -> tuple[Sequence[object], ...]:
    return table.ids, table.labels, table.digests, table.reasons


def _check_compatible(tables: Mapping[Path, PartTable], caches: Sequence[Path]) -> None:
    """Raise an error if tables or shards have another provenance than the first table, or are of other images."""
    first_path, first = next(iter(tables.items()))
    made = [(path, table.manifest) for path, table in tables.items()]
    views = first.manifest.views
    foreign = [(cache / "shards", found) for cache in caches for found in read_provenances(cache)]
    for path, manifest in (*made, *((path, Manifest(found.provenance, views, {})) for path, found in foreign)):
        ours, theirs = first.manifest.provenance, manifest.provenance
        if (ours.key, views) != (theirs.key, manifest.views):
            by = f"{describe(theirs, manifest.views, ours)}, but {first_path} by {describe(ours, views, theirs)}"
            hint = "Give parts with the same --weights, --views, --engine, --precision and versions, or remove these"
            raise CatsDogsError(f"{path} has rows computed by {by}", hint)
    for path, table in tables.items():
        if (table.listing, table.images) != (first.listing, first.images):
            hint = "Compute all parts of the same images, with the same --classes"
            raise CatsDogsError(f"{path} is a part of other images than {first_path}", hint)


def _combine(tables: dict[Path, PartTable]) -> Parts:
    first = next(iter(tables.values()))
    total = sum(first.images.values())
    rows: list[tuple[str, int, str, str] | None] = [None] * total
    origin: dict[int, Path] = {}
    for path, table in tables.items():
        for position, row in zip(table.positions, zip(*_columns(table), strict=True), strict=True):
            known = rows[position]
            digests = {of[2] for of in (row, known) if of is not None} - {NO_DIGEST.hex()}
            if len(digests) > 1:
                message = f"{row[0]} has other bytes in {path} than in {origin[position]}"
                raise CatsDogsError(message, "Compute one of these parts again, with the images as they are now")
            if known is None or known[2] == NO_DIGEST.hex():  # a file that one machine could read is readable
                rows[position], origin[position] = row, path
    found = [row for row in rows if row is not None]
    if len(found) < total:
        parts = (Part(number, first.part.of) for number in range(1, first.part.of + 1))
        missing = [str(part) for part in parts if any(rows[position] is None for position in part.positions(total))]
        more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
        hint = "Give first the folder to write, then those of all parts; catsdogs extract DATA --part K/N computes one"
        message = f"the parts lack {total - len(found):,} of the {total:,} images: {', '.join(missing[:5])}{more}"
        raise CatsDogsError(message, hint)
    return Parts(
        tables,
        dict(_split(found, first.images)),
        np.frombuffer(b"".join(bytes.fromhex(digest) for _, _, digest, _ in found), np.uint8).reshape(-1, 16),
        {at: reason for at, (_, _, digest, reason) in enumerate(found) if digest == NO_DIGEST.hex()},
        sum(len(table.ids) for table in tables.values()) - total,
    )


def _split(
    rows: Sequence[tuple[str, int, str, str]], images: Mapping[str, int]
) -> Iterator[tuple[str, tuple[list[str], NDArray[np.int8]]]]:
    for (split, count), stop in zip(images.items(), accumulate(images.values()), strict=True):
        of_split = rows[stop - count : stop]
        yield split, ([name for name, _, _, _ in of_split], np.array([label for _, label, _, _ in of_split], np.int8))
