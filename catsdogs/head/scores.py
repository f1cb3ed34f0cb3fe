"""Turn features in Parquet into the probabilities of a head, in Parquet."""

import json
from typing import TYPE_CHECKING

import numpy as np

from ..cache.parquet import FeatureTable
from .files import Head

if TYPE_CHECKING:
    import pyarrow as pa


def scores_schema(head: Head) -> "pa.Schema":
    """Return the columns of a file of probabilities."""
    import pyarrow as pa

    columns = {"split": pa.string(), "id": pa.string(), "probability": pa.float64(), "reason": pa.string()}
    metadata = {"classes": head.metadata.classes, "head": head.sha256}
    return pa.schema(columns, metadata={"catsdogs": json.dumps(metadata)})


def to_scores(head: Head, table: FeatureTable) -> "pa.Table":
    """Return split, id and probability of the images of a file; null if an image is unreadable, with the reason."""
    import pyarrow as pa

    probabilities = head.classifier.probabilities(np.hstack([*table.features.values()]))
    values, reasons = pa.array(probabilities, mask=~table.readable), [reason or None for reason in table.reasons]
    return pa.table([table.splits, table.ids, values, reasons], schema=scores_schema(head))
