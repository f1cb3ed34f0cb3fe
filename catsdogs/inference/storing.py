"""Add computed rows to shards."""

from collections.abc import Callable

import numpy as np

from ..cache import KnownRows, no_features
from .batches import ComputedRows


def store_rows(rows: ComputedRows, add: Callable[..., None], known: KnownRows) -> dict[int, str]:
    """Add a batch of rows to shards; images that are cached or copies have none.

    Parameters
    ----------
    rows : ComputedRows
    add : callable
        `CacheWriter.add_rows`, or `ShardWriter.add`.
    known : KnownRows
        As for `load_images`.

    Returns
    -------
    unreadable : dict of int to str
        Why files could not be read, by position: these have no row.
    """
    records, unreadable = rows.records, dict[int, str]()
    if not rows.features:
        for position, digest in zip(records["position"].tolist(), records["digest"], strict=True):
            reason = rows.reasons.get(position)
            if reason is not None and digest.any():
                add(digest[np.newaxis], no_features(known.columns[:-1]), None, reason)
            elif reason is not None:
                unreadable[position] = reason
        records = records[~np.isnan(records["facts"]["width"])]
    if len(records):
        add(records["digest"], {view.name: of_view for view, of_view in rows.features.items()}, records["facts"])
    return unreadable
