"""Kaggle's download made of the fixture `pictures`, and its expected content."""

import zipfile

import pytest
from support.sources import TEST_IDS, TRAIN_IDS, of_split


@pytest.fixture
def expected(pictures):
    train = [(i, int(i.startswith("dog")), pictures[f"train/{i}.jpg"]) for i in TRAIN_IDS]
    return {"train": train, "test": [(i, -1, pictures[f"test/{i}.jpg"]) for i in TEST_IDS]}


@pytest.fixture
def kaggle_zip(pictures, zipped):
    """Return Kaggle's download as a zip's content; the inner zips and the outer one compressed or not."""

    def build(outer=zipfile.ZIP_DEFLATED, inner=zipfile.ZIP_DEFLATED, test="test"):
        test_files = {f"{test}/{name[5:]}": content for name, content in of_split(pictures, "test").items()}
        return zipped(
            {
                "sample_submission.csv": b"id,label\n1,0.5\n",
                f"{test}.zip": zipped(test_files, inner),
                "train.zip": zipped(of_split(pictures, "train"), inner),
            },
            outer,
        )

    return build
