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
from ..locks import FEATURES, write_lock
from ..sources.classes import parse_classes
from ..sources.layout import MAX_NAME
from ..storage import to_cell
from .duplicates import load_duplicates
from .manifest import IMPORTED, SPLITS, UNKNOWN, Provenance
from .reading import Cache, DamagedError, features_folder
from .rows import digest
from .rows import files as rows_files
from .writing import CacheWriter

_BLOCK = 1024
"""Rows that are looked at together."""


def import_features(
    ids: Sequence[str],
    labels: ArrayLike | None,
    views: Mapping[str, ArrayLike],
    *,
    artifacts: str | Path = "artifacts",
    split: str = "train",
    backbone: str = "imported",
    classes: Sequence[str] | None = None,
) -> None:
    """Make a cache, or one split of it, from features that were computed elsewhere.

    Importing again computes nothing twice: what is there stays, what has changed is replaced, what is new is added.
    All rows are given each time; fewer than are there already are refused.

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
    if split not in SPLITS:
        raise CatsDogsError(f"there is no split {split!r}", f"Give one of {', '.join(SPLITS)}")
    if not isinstance(backbone, str) or not backbone or not is_printable(backbone):
        raise CatsDogsError(
            f"the backbone is named {backbone!a}", 'Give it a printable name, such as "resnet50-imagenet"'
        )
    order = index_natsorted(names, alg=ns.PRESORT)
    provenance = Provenance(
        weights_name=backbone,
        sha256=hashlib.sha256(f"imported:{backbone}".encode()).hexdigest(),
        fingerprint=f"imported:{backbone}",
        pixels=UNKNOWN,
        precision="float32",
        engine=IMPORTED,
    )
    wanted = {split: ([names[row] for row in order], of_rows[order].astype(np.int8))}
    ordered = tuple(natsorted(arrays))
    folder = features_folder(artifacts)
    with write_lock(folder.parent, FEATURES):
        with CacheWriter(folder, provenance, ordered, wanted, classes=pair) as writer:
            known = writer.known()
            for position, row in enumerate(order):
                features = np.array([arrays[view][row] for view in ordered], np.float32)
                # The image is not at hand; its features stand for it, so equal images still get equal digests.
                image = digest(features.tobytes())
                if known.missing_views(position, image):
                    writer.put(position, image, dict(zip(ordered, features, strict=True)))
        with suppress(DamagedError):  # of the other split: who mends that looks for them
            load_duplicates(Cache(folder))


def _checked_ids(ids: Sequence[str]) -> list[str]:
    names = [] if isinstance(ids, str | bytes) or not np.iterable(ids) else list(ids)
    if not names:
        raise CatsDogsError("there are no ids", "Give a sequence of them, one for each image")
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or to_cell(name) != name:
            raise CatsDogsError(
                f"{ascii(name)[:80]} is no id",
                f"Give text of 1 to {MAX_NAME} printable characters that begins no formula of a spreadsheet; catsdogs "
                "writes the bytes of what is none as \\xNN, =1 as \\x3d1",
            )
        if name in seen:
            raise CatsDogsError(f"the id {name} is given twice", "Give each image an id of its own")
        seen.add(name)
    return [str(name) for name in names]


def _checked_labels(labels: ArrayLike, n: int) -> NDArray[Any]:
    found = _array("the labels", labels, "biuf", "Give one number for each id: 0 or 1, by class, or -1 for unknown")
    if found.shape != (n,):
        raise CatsDogsError(
            f"the labels are of shape {found.shape}, and there are {n:,} ids", "Give one label for each id"
        )
    if not (known := np.isin(found, (-1, 0, 1))).all():
        raise CatsDogsError(
            f"{found[known.argmin()]} is no label",
            "Give 1 for the second class (dog), 0 for the first (cat), -1 for unknown",
        )
    return found


def _checked_views(views: Mapping[str, ArrayLike], n: int) -> dict[str, NDArray[np.floating[Any]]]:
    if not isinstance(views, Mapping) or not views:
        raise CatsDogsError("there are no features", 'Give them by view: views={"224": features}')
    taken = {name.partition(".")[0] for name in rows_files(())}
    arrays = {}
    for view, given in views.items():
        # Capitals would be other files on one system and the same file on another.
        if not isinstance(view, str) or not re.fullmatch("[0-9a-z]{1,32}", view) or view in taken:
            raise CatsDogsError(
                f"a view is named {view!a}",
                f"Name it with at most 32 small letters and digits, such as 224m, and not {', '.join(sorted(taken))}",
            )
        hint = f"Give an array of shape ({n}, {N_FEATURES}) and dtype float32"
        array = _array(f"view {view}", given, "f", hint)
        if array.shape != (n, N_FEATURES):
            raise CatsDogsError(f"view {view} is of shape {array.shape}", hint)
        for start in range(0, n, _BLOCK):
            with np.errstate(over="ignore"):
                block = array[start : start + _BLOCK].astype(np.float32, copy=False)
            if not np.isfinite(block).all():
                row = start + int(np.isfinite(block).all(axis=1).argmin())
                raise CatsDogsError(
                    f"view {view} holds NaN or infinite values in row {row}", "Leave such images out, or mend them"
                )
        arrays[view] = array
    return arrays


def _array(what: str, given: ArrayLike, kinds: str, hint: str) -> NDArray[Any]:
    try:
        array = np.asarray(given)
    except (ValueError, TypeError) as error:
        raise CatsDogsError(f"{what} cannot be made an array", hint) from error
    if array.dtype.kind not in kinds:
        raise CatsDogsError(f"the dtype of {what} is {array.dtype}", hint)
    return array
