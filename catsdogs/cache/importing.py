"""Import features that were computed elsewhere."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backbone import N_FEATURES
from ..errors import CatsDogsError, is_printable
from ..images.facts import FACTS_COLUMN
from ..locks import FEATURES, write_lock
from ..sources.classes import parse_classes
from ..sources.layout import MAX_NAME
from ..storage import to_cell
from . import npy
from .duplicates import load_duplicates
from .manifest import IMPORTED, SPLITS, UNKNOWN, Provenance
from .reading import Cache, DamagedError, features_folder
from .rows import digest
from .writing import CacheWriter


def import_features(
    ids: Sequence[str],
    labels: ArrayLike | None,
    *,
    views: Mapping[str, ArrayLike],
    artifacts: str | Path = "artifacts",
    split: str = "train",
    backbone: str = "imported",
    classes: Sequence[str] | None = None,
) -> None:
    """Make a cache, or one split of it, from features that were computed elsewhere.

    All rows are given each time: those that are not given any more go. Where half of a split or more, or a class as a
    whole, would go, that is refused.

    Parameters
    ----------
    ids : sequence of str, length n
        Distinct, printable and no formulas (see `storage.to_cell`); any order.
    labels : array-like of shape (n,), or None
        A position in the classes, -1 unknown; None for a split without labels.
    views : dict of str to array-like of shape (n, 2048), float32
        Finite features by the view's name, such as "224". Other floating dtypes are rounded to float32.
    artifacts : str or Path
        The artifacts folder.
    split : str
        "train" or "test".
    backbone : str
        Name of what computed them. Features of different names are never mixed.
    classes : two str, optional
        What the labels 0 and 1 are called; by default as in what is there already, or cat and dog.

    Raises
    ------
    CatsDogsError
        Shapes, ids, labels or values are not as above, or the folder holds features of something else. Nothing has
        been written then.
    """
    from natsort import index_natsorted, natsorted, ns

    names = _checked_ids(ids)
    of_rows = np.full(len(names), -1) if labels is None else _checked_labels(labels, len(names))
    arrays = _checked_views(views, len(names))
    pair = parse_classes(classes) if classes is not None else None
    _require(split in SPLITS, f"there is no split {split!r}", f"Give one of {', '.join(SPLITS)}")
    named = isinstance(backbone, str) and backbone and is_printable(backbone)
    _require(named, f"the backbone is named {backbone!a}", 'Give it a printable name, such as "resnet50-imagenet"')
    order = index_natsorted(names, alg=ns.PRESORT)
    name = f"imported:{backbone}"
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    provenance = Provenance(backbone, sha256, name, pixels=UNKNOWN, precision="float32", engine=IMPORTED)
    wanted = {split: ([names[row] for row in order], of_rows[order].astype(np.int8))}
    ordered = {view: arrays[view] for view in natsorted(arrays)}

    def features_of(row: int) -> dict[str, NDArray[np.float32]]:
        return {view: array[row].astype(np.float32) for view, array in ordered.items()}

    # The images are not at hand; their features stand for them, so equal images still get equal digests.
    digests = np.array([digest(b"".join(of.tobytes() for of in features_of(row).values())) for row in order])
    folder = features_folder(artifacts)
    with write_lock(folder.parent, FEATURES):
        with CacheWriter(folder, provenance, tuple(ordered), wanted, classes=pair) as writer:
            writer.check_losses(lambda: digests)
            missing = writer.known().missing
            for image, row in zip(digests, order, strict=True):
                if missing.get(image.tobytes(), ordered):
                    writer.add(image, features_of(row))
            writer.assemble(digests)
        with suppress(DamagedError):  # of the other split: who mends that looks for them
            load_duplicates(Cache(folder))


def _checked_ids(ids: Sequence[str]) -> list[str]:
    names = [] if isinstance(ids, str | bytes) or not np.iterable(ids) else list(ids)
    _require(names, "there are no ids", "Give a sequence of them, one for each image")
    hint = (
        f"Give text of 1 to {MAX_NAME} printable characters that begins no formula of a spreadsheet; catsdogs writes "
        "the bytes of what is none as \\xNN, =1 as \\x3d1"
    )
    seen: set[str] = set()
    for name in names:
        valid = isinstance(name, str) and 0 < len(name) <= MAX_NAME and to_cell(name) == name
        _require(valid, f"{ascii(name)[:80]} is no id", hint)
        _require(name not in seen, f"the id {name} is given twice", "Give each image an id of its own")
        seen.add(name)
    return [str(name) for name in names]


def _checked_labels(labels: ArrayLike, n: int) -> NDArray[Any]:
    found = _array("the labels", labels, "biuf", "Give one number for each id: 0 or 1, by class, or -1 for unknown")
    what = f"the labels are of shape {found.shape}, and there are {n:,} ids"
    _require(found.shape == (n,), what, "Give one label for each id")
    known = np.isin(found, (-1, 0, 1))
    hint = "Give 1 for the second class (dog), 0 for the first (cat), -1 for unknown"
    _require(known.all(), f"{found[known.argmin()]} is no label", hint)
    return found


def _checked_views(views: Mapping[str, ArrayLike], n: int) -> dict[str, NDArray[np.floating[Any]]]:
    given = isinstance(views, Mapping) and views
    _require(given, "there are no features", 'Give them by view: views={"224": features}')
    taken = ("digest", "digests", FACTS_COLUMN, "ids", "labels", "reason", "status")
    named = f"Name it with at most 32 small letters and digits, such as 224m, and not {', '.join(taken)}"
    hint = f"Give an array of shape ({n}, {N_FEATURES}) and dtype float32"
    arrays = {}
    # They are in the names of shards, which may be of 255 bytes.
    _require(len(".".join(map(str, views))) <= 200, "the names of the views are too long together", "Give shorter ones")
    for view, features in views.items():
        # Capitals would be other files on one system and the same file on another.
        valid = isinstance(view, str) and re.fullmatch("[0-9a-z]{1,32}", view) and view not in taken
        _require(valid, f"a view is named {view!a}", named)
        array = arrays[view] = _array(f"view {view}", features, "f", hint)
        _require(array.shape == (n, N_FEATURES), f"view {view} is of shape {array.shape}", hint)
        for at in npy.blocks(n):
            with np.errstate(over="ignore"):
                finite = np.isfinite(array[at].astype(np.float32, copy=False)).all(axis=1)
            what = f"view {view} holds NaN or infinite values in row {at.start + int(finite.argmin())}"
            _require(finite.all(), what, "Leave such images out, or mend them")
    return arrays


def _array(what: str, given: ArrayLike, kinds: str, hint: str) -> NDArray[Any]:
    try:
        array = np.asarray(given)
    except (ValueError, TypeError) as error:
        raise CatsDogsError(f"{what} cannot be made an array", hint) from error
    _require(array.dtype.kind in kinds, f"the dtype of {what} is {array.dtype}", hint)
    return array


def _require(valid: object, what: str, hint: str) -> None:
    if not valid:
        raise CatsDogsError(what, hint)
