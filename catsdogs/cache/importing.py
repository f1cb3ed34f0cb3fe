"""Arrays that somebody else computed come in; a cache goes out that is trained on like any other."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..artifacts import Artifacts, writing
from ..errors import CatsDogsError
from .manifest import Origin
from .rows import WIDTH, digest
from .writing import CacheWriter


def import_features(
    ids: Sequence[str],
    labels: ArrayLike | None,
    views: Mapping[str, NDArray[np.float32]],
    *,
    artifacts: str | Path = "artifacts",
    split: str = "train",
    backbone: str = "imported",
) -> None:
    """Make a cache, or one split of it, from features that were computed elsewhere.

    Parameters
    ----------
    ids : sequence of str, length n
        Distinct; any order.
    labels : array-like of shape (n,), or None
        1 dog, 0 cat, -1 unknown; None for a split without labels.
    views : dict of str to ndarray of shape (n, 2048), float32
        Features by the view's name, such as "224".
    artifacts : str or Path
        The artifacts folder.
    split : str
        "train" or "test".
    backbone : str
        Name of what computed them. Features of different names are never mixed.

    Raises
    ------
    CatsDogsError
        Shapes, ids, labels or values are not as above, or the folder holds features of something else.
    """
    from natsort import natsort_keygen

    ids = [str(name) for name in ids]
    labels = np.full(len(ids), -1) if labels is None else np.asarray(labels)
    _check(ids, labels, views, split)
    arrays = [np.asarray(features, np.float32) for features in views.values()]
    key = natsort_keygen()
    order = sorted(range(len(ids)), key=lambda row: (key(ids[row]), ids[row]))
    origin = Origin(
        form=backbone,
        sha256=hashlib.sha256(f"imported:{backbone}".encode()).hexdigest(),
        fingerprint=f"imported:{backbone}",
        pixels="unknown",
        precision="float32",
        engine="imported",
    )
    wanted = {split: ([ids[row] for row in order], labels[order].astype(np.int8))}
    with writing(Artifacts(Path(artifacts))):
        writer = CacheWriter(Path(artifacts) / "features", origin, tuple(views), wanted)
        for place, row in enumerate(order):
            # The image is not at hand; its features stand for it, so equal images still get equal digests.
            features = np.stack([array[row] for array in arrays])
            image = digest(features.tobytes())
            if not writer.has(split, place, image):
                writer.put(split, place, image, features)
        writer.close()


def _check(
    ids: Sequence[str], labels: NDArray[np.generic], views: Mapping[str, NDArray[np.float32]], split: str
) -> None:
    if split not in ("train", "test"):
        raise CatsDogsError(f"there is no split {split!r}", 'Give split="train" or split="test"')
    if not ids or len(set(ids)) < len(ids):
        raise CatsDogsError(f"{len(ids):,} ids, {len(set(ids)):,} of them distinct", "Give each image an id of its own")
    if labels.shape != (len(ids),) or not np.isin(labels, (-1, 0, 1)).all():
        raise CatsDogsError(
            f"labels of shape {labels.shape} for {len(ids):,} ids, values {np.unique(labels)[:5]}",
            "Give one label an id: 1 dog, 0 cat, -1 unknown",
        )
    if not views:
        raise CatsDogsError("there are no features", 'Give views={"224": features}')
    for view, features in views.items():
        if not view.isalnum():
            raise CatsDogsError(f"a view is named {view!r}", "Name it with letters and digits, such as 224m")
        if features.shape != (len(ids), WIDTH):
            raise CatsDogsError(
                f"view {view} is of shape {features.shape}", f"Give an array of shape ({len(ids)}, {WIDTH})"
            )
        if not np.isfinite(features).all():
            raise CatsDogsError(f"view {view} holds NaN or infinite values", "Leave those images out")
