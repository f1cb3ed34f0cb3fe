"""Import features that were computed elsewhere."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backbone import N_FEATURES
from ..choices import Split
from ..errors import CatsDogsError, is_printable
from ..images.facts import FACTS_COLUMN
from ..locks import FEATURES, write_lock
from ..sources.classes import CLASSES, parse_classes
from ..sources.ids import MAX_NAME
from ..storage import sha256_of, to_cell
from . import npy
from .duplicates import load_duplicates
from .manifest import IMPORTED, UNKNOWN, Manifest, Provenance, require_split
from .reading import Cache, DamagedError, features_folder
from .rows import digest
from .writing import CacheWriter


def import_features(
    ids: Sequence[str],
    labels: ArrayLike | None,
    *,
    views: Mapping[str, ArrayLike],
    artifacts: str | Path = "artifacts",
    split: Split = "train",
    backbone: str = "imported",
    classes: Sequence[str] | None = None,
) -> None:
    """Create or replace one split of a cache from features that were computed elsewhere.

    Give all rows of the split each time: other rows of the split are removed. It is an error if half of the split's
    images or more, or all images of a class, would be removed.

    Parameters
    ----------
    ids : sequence of str, length n
        Unique ids in any order: printable text that is not a spreadsheet formula (see `storage.to_cell`).
    labels : array-like of shape (n,), or None
        Position in the classes, or -1 for unknown; None for a split without labels.
    views : dict of str to array-like of shape (n, 2048), float32
        Finite features by the view's name, such as "224". Other floating-point dtypes are rounded to float32.
    artifacts : str or Path
        The artifacts folder.
    split : {"train", "test"}
        "train" or "test".
    backbone : str
        Name of the network that computed the features. Features with different names are never mixed.
    classes : two str, optional
        Names of the labels 0 and 1; by default those of the existing cache, or cat and dog.

    Raises
    ------
    CatsDogsError
        Shapes, ids, labels or values are not as above, or the folder contains other features. In that case nothing has
        been written.
    """
    from natsort import index_natsorted, natsorted, ns

    names = _checked_ids(ids)
    checked_labels = np.full(len(names), -1) if labels is None else _checked_labels(labels, len(names))
    arrays = _checked_views(views, len(names))
    pair = parse_classes(classes) if classes is not None else None
    require_split(split)
    named = isinstance(backbone, str) and backbone and is_printable(backbone)
    hint = 'Give a printable name, such as "resnet50-imagenet"'
    _require(named, f"{backbone!a} cannot be the name of a backbone", hint)
    order = index_natsorted(names, alg=ns.PRESORT)
    name = f"imported:{backbone}"
    sha256 = sha256_of(name.encode())
    provenance = Provenance(backbone, sha256, name, pixels=UNKNOWN, precision="float32", engine=IMPORTED)
    wanted: dict[str, tuple[list[str], NDArray[np.int8]]] = {
        split: ([names[row] for row in order], checked_labels[order].astype(np.int8))
    }
    ordered = {view: arrays[view] for view in natsorted(arrays)}

    def features_of(row: int) -> dict[str, NDArray[np.float32]]:
        return {view: array[row : row + 1].astype(np.float32) for view, array in ordered.items()}

    # The digests are of the features, because the images are not given; identical images still get equal digests.
    digests = np.array([digest(b"".join(view.tobytes() for view in features_of(row).values())) for row in order])
    folder = features_folder(artifacts)
    with write_lock(folder.parent, FEATURES):
        existing = Cache(folder).manifest
        made = Manifest(provenance, tuple(ordered), {}, pair or (existing.classes if existing else CLASSES))
        with CacheWriter(folder, made, wanted) as writer:
            writer.check_losses(lambda: digests)
            missing = writer.known().missing
            for image, row in zip(digests, order, strict=True):
                if missing.get(image.tobytes(), ordered):
                    writer.add_rows(image[np.newaxis], features_of(row))
            writer.assemble(digests)
        with suppress(DamagedError):  # the other split is damaged: the run that repairs it finds the duplicates
            load_duplicates(Cache(folder))


def _checked_ids(ids: Sequence[str]) -> list[str]:
    names = [] if isinstance(ids, str | bytes) or not np.iterable(ids) else list(ids)
    _require(names, "there are no ids", "Give a sequence of ids, one for each image")
    hint = (
        f"Give text of 1 to {MAX_NAME} printable characters that is not a spreadsheet formula; catsdogs writes other "
        "characters as \\xNN, for example =1 as \\x3d1"
    )
    seen: set[str] = set()
    for name in names:
        valid = isinstance(name, str) and 0 < len(name) <= MAX_NAME and to_cell(name) == name
        _require(valid, f"{ascii(name)[:80]} is not an id", hint)
        _require(name not in seen, f"the id {name} is given twice", "Give each image its own id")
        seen.add(name)
    return [str(name) for name in names]


def _checked_labels(labels: ArrayLike, n: int) -> NDArray[Any]:
    found = _array(
        "the labels", labels, "biuf", "Give 0 for each id of the first class, 1 of the second, -1 if unknown"
    )
    message = f"the labels have shape {found.shape}, but there are {n:,} ids"
    _require(found.shape == (n,), message, "Give one label for each id")
    known = np.isin(found, (-1, 0, 1))
    hint = "Give 1 for the second class (dog), 0 for the first (cat), -1 for unknown"
    _require(known.all(), f"{found[known.argmin()]} is not a label", hint)
    return found


def _checked_views(views: Mapping[str, ArrayLike], n: int) -> dict[str, NDArray[np.floating[Any]]]:
    given = isinstance(views, Mapping) and views
    _require(given, "there are no features", 'Give features by view: views={"224": features}')
    reserved = ("digest", "digests", FACTS_COLUMN, "ids", "labels", "reason", "status")
    name_hint = f"Give 1 to 32 lower-case letters and digits, such as 224m, but not {', '.join(reserved)}"
    hint = f"Give an array of shape ({n}, {N_FEATURES}) and dtype float32"
    arrays = {}
    # The names of the views are part of the names of shards, which can have 255 bytes.
    length = len(".".join(map(str, views)))
    _require(length <= 200, f"the names of the views have {length:,} characters in total", "Give at most 200")
    for view, features in views.items():
        # Upper-case names would be the same file as lower-case ones on some systems.
        valid = isinstance(view, str) and re.fullmatch("[0-9a-z]{1,32}", view) and view not in reserved
        _require(valid, f"{view!a} cannot be the name of a view", name_hint)
        array = arrays[view] = _array(f"view {view}", features, "f", hint)
        _require(array.shape == (n, N_FEATURES), f"view {view} has shape {array.shape}", hint)
        for at in npy.blocks(n):
            with np.errstate(over="ignore"):
                finite = np.isfinite(array[at].astype(np.float32, copy=False)).all(axis=1)
            message = f"view {view} has NaN or infinite values in row {at.start + int(finite.argmin())}"
            _require(finite.all(), message, "Exclude such images, or correct their features")
    return arrays


def _array(name: str, given: ArrayLike, kinds: str, hint: str) -> NDArray[Any]:
    try:
        array = np.asarray(given)
    except (ValueError, TypeError) as error:
        raise CatsDogsError(f"{name} cannot be converted to an array", hint) from error
    _require(array.dtype.kind in kinds, f"the dtype of {name} is {array.dtype}", hint)
    return array


def _require(valid: object, message: str, hint: str) -> None:
    if not valid:
        raise CatsDogsError(message, hint)
