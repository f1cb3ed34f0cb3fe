"""Rows in Parquet that were made up: learnable, with unreadable and unlabelled images, copies, and a test split."""

import numpy as np
import pytest

from catsdogs import CatsDogsError
from catsdogs.backbone import N_FEATURES
from catsdogs.cache import Manifest, Provenance, digest
from catsdogs.cache.parquet import FeatureTable, RangeFiles, file_ranges
from catsdogs.images.facts import FACTS


def error_of(call):
    """Return the error that is raised, which must be one line."""
    with pytest.raises(CatsDogsError) as caught:
        call()
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


PROVENANCE = Provenance("made up", "0" * 64, "made up", "made up", "float32", "numpy")


def table_of(positions, train, provenance=PROVENANCE):
    """Every third training image is of the second class; 7 is unreadable, 8 unlabelled, 10 a copy of 9."""
    n, at = len(positions), np.array(positions)
    of = np.where(at == 10, 9, at)
    labels = np.where(at < train, of % 3 == 0, -1).astype(np.int8)
    labels[at == 8] = -1
    contents = [b"%d" % position for position in of]
    features = np.stack([np.random.default_rng([*content]).random(N_FEATURES, np.float32) for content in contents])
    features[:, :200] += np.float32(0.3) * (of % 3 == 0)[:, np.newaxis]
    reasons = ["no image" if position == 7 else "" for position in positions]
    features[at == 7] = np.nan
    return FeatureTable(
        Manifest(provenance, ("224",), {}),
        splits=["train" if position < train else "test" for position in positions],
        ids=[f"image.{position}" for position in positions],
        labels=labels,
        digests=np.array([digest(content) for content in contents]),
        facts=np.ones(n, FACTS),
        reasons=reasons,
        features={"224": features},
    )


def write_rows(folder, images=600, train=500, provenance=PROVENANCE):
    """Write files of 64 rows, as `extract` would, and return the folder."""
    for positions in file_ranges(images):
        RangeFiles(str(folder)).write(positions, images, "0" * 16, table_of(positions, train, provenance).to_arrow())
    return folder
