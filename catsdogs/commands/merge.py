"""Merge the parts that several machines computed into one cache."""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..artifacts import Artifacts, ArtifactsFolder
from ..backbone import Quantized
from ..cache import CacheWriter, Parts, RemoteParts, features_folder, find_parts, name_uris, read_network, read_parts
from ..cache.shards import find_shards
from ..errors import CatsDogsError, OptionError
from ..locks import FEATURES
from ..paths import is_uri
from ..progress import Progress
from ..result import Result
from ..sources.classes import Classes
from ..storage import record, sha256_of
from .extract import find_duplicates


@dataclass(frozen=True)
class Merge(Result):
    """The result of `merge`.

    Parameters
    ----------
    images : dict of str to int
        By split.
    unreadable : dict of str to dict
        Reasons why images are unreadable, by split and id.
    parts : int
        Number of parts.
    overlapping : int
        Images that are in more than one part.
    shards, repeated_shards : int
        Number of shards, and how many of them are copies of others.
    differing : int
        Rows that were computed more than once, with different values within the tolerance of the precision.
    duplicates : dict of str to int
        As in `Extraction`.
    classes : pair of str
        Names of the labels 0 and 1.
    backbone : str
        Name of its weights.
    """

    images: dict[str, int]
    unreadable: dict[str, dict[str, str]]
    parts: int
    overlapping: int
    shards: int
    repeated_shards: int
    differing: int
    duplicates: dict[str, int]
    classes: Classes
    backbone: str


def merge(
    artifacts: ArtifactsFolder,
    folders: str | Path | Sequence[str | Path],
    *,
    prune: bool = False,
    near_duplicates: bool = True,
    progress: Progress | None = None,
) -> Merge:
    """Merge parts, which `extract` computed with its option `part`, into the cache of all images.

    The cache is the same, byte for byte, as if one machine of the same kind had computed it. The parts do not change;
    a merge that is interrupted leaves the cache as it was, and can be repeated.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder of the cache.
    folders : str, Path, or sequence of them
        The artifacts folders of all parts, or their URIs. Parts and shards may be given more than once, and parts may
        overlap. What is copied from URIs is kept in ``.parts/`` of the artifacts folder until the merge succeeds.
    prune : bool
        As for `extract`.
    near_duplicates : bool
        As for `extract`.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Returns
    -------
    Merge

    Raises
    ------
    CatsDogsError
        Parts, or rows of them, are missing or damaged, have another provenance, or are of other images; or cached
        features would be removed without `prune`. The cache does not change.
    """
    folders = [folders] if isinstance(folders, str | Path) else list(folders)
    if not folders:
        raise OptionError("no parts are given", "Give the folders of all parts")
    local = list(dict.fromkeys(features_folder(folder) for folder in folders if not is_uri(folder)))
    # Without URIs, what cannot be merged is refused before anything is written.
    read = None if any(map(is_uri, folders)) else read_parts(local)
    with (
        Artifacts.open(artifacts, FEATURES) as opened,
        _copy_remote(folders, opened.root / ".parts", progress) as copied,
    ):
        sources = [*local, *copied]
        parts = read or read_parts(sources)
        made, weights = parts.first.manifest, parts.first.weights
        if find_parts(opened.features):
            raise CatsDogsError(f"{opened.root} is the folder of a part", "Give another folder for the cache of all")
        with CacheWriter(
            opened.features,
            made,
            parts.wanted,
            prune=prune,
            network=_find_network(sources, made.provenance.network),
            parts=sources,
        ) as writer:
            _check_rows(parts, writer)
            writer.check_losses(lambda: parts.digests)
            paths = dict.fromkeys(parts.wanted, parts.first.source)
            record(opened.source, **paths, weights=weights)
            unreadable = writer.assemble(parts.digests, parts.unreadable)
        opened.cache.reload()
        names = Counter(path.name for folder in sources for path in find_shards(folder / "shards"))
        return Merge(
            images={split: len(ids) for split, (ids, _) in parts.wanted.items()},
            unreadable=unreadable,
            parts=len(parts.tables),
            overlapping=parts.overlapping,
            shards=names.total(),
            repeated_shards=names.total() - len(names),
            differing=writer.differing,
            duplicates=find_duplicates(opened, near=near_duplicates, progress=progress),
            classes=made.classes,
            backbone=made.provenance.weights_name,
        )


@contextmanager
def _copy_remote(folders: Sequence[str | Path], copies: Path, progress: Progress | None) -> Iterator[Sequence[Path]]:
    """Copy the caches of parts at URIs, and return the copies; they are kept for the next time after an error."""
    uris = [str(given).rstrip("/") for given in folders if is_uri(given)]
    roots = {copies / sha256_of(uri.encode())[:16]: uri for uri in uris}
    with name_uris(roots):
        for root, uri in roots.items():
            RemoteParts(uri).fetch(features_folder(root), progress=progress)
        yield [*map(features_folder, roots)]
    if roots:
        shutil.rmtree(copies, ignore_errors=True)


def _find_network(caches: Sequence[Path], sha256: str) -> Quantized | None:
    """Return the quantized network from the first part that has it: one without images has none."""
    for cache in caches[:-1] if sha256 else ():
        with suppress(CatsDogsError):
            return read_network(cache, sha256)
    return read_network(caches[-1], sha256) if sha256 else None


def _check_rows(parts: Parts, writer: CacheWriter) -> None:
    """Raise an error if a shard has no valid rows, or an image of a part has none in any shard."""
    for path in writer.invalid_shards():
        message = f"{path} is damaged, or has rows of another provenance"
        raise CatsDogsError(message, "Copy this file again, or remove it and compute the part again")
    known = writer.known()
    for path, table in parts.tables.items():
        read = zip(table.ids, map(parts.digests.__getitem__, table.positions), strict=True)
        missing = [name for name, digest in read if digest.any() and known.missing.get(digest.tobytes(), "all")]
        if missing:
            message = f"{path.parent / 'shards'} lacks rows of {len(missing):,} images of part {table.part}"
            hint = "Copy its shards again, or compute this part again: only missing rows are computed"
            raise CatsDogsError(f"{message}, such as {missing[0]}", hint)
