import csv
from dataclasses import replace

import joblib
import numpy as np
from support.report import ODD

import catsdogs
from catsdogs.cache import Duplicates
from catsdogs.reporting import galleries


def test_the_galleries_follow_the_predictions(artifacts, findings):
    with (artifacts / "predictions.csv").open(newline="") as file:
        rows = [(row["id"], int(row["label"]), float(row["probability"])) for row in csv.DictReader(file)]
    wrong = [row for row in rows if (row[2] > 0.5) != row[1]]
    right = [row for row in rows if (row[2] > 0.5) == row[1]]
    shown = galleries.choose_galleries(findings)
    assert len(wrong) >= len(ODD)
    expected = {
        "wrong": sorted(wrong, key=lambda row: abs(row[1] - row[2]), reverse=True),
        "uncertain": sorted(rows, key=lambda row: abs(row[2] - 0.5)),
        "right_0": sorted((row for row in right if row[1] == 0), key=lambda row: row[2]),
        "right_1": sorted((row for row in right if row[1] == 1), key=lambda row: -row[2]),
    }
    for name, of_kind in expected.items():
        found = shown[name]
        assert found.total == len(of_kind)
        assert [(image.id, image.label, image.probability) for image in found.images] == of_kind[: len(found.images)]
    above = {row[0] for name in expected for row in expected[name][: len(shown[name].images)]}
    for name, of_kind in (("random_wrong", wrong), ("random_right", right)):
        others = {row[0] for row in of_kind} - above
        assert shown[name].total == len(others)
        assert {image.id for image in shown[name].images} <= others
    with (artifacts / "suspects.csv").open(newline="") as file:
        assert [image.id for image in shown["suspects"].images] == [row["id"] for row in csv.DictReader(file)][:16]


def test_the_test_images_nearest_to_one_half_are_shown(artifacts, findings):
    test = catsdogs.load_features(artifacts, split="test")
    probabilities = joblib.load(artifacts / "head.joblib").predict_proba(test.features)[:, 1]
    np.testing.assert_allclose(findings.test.probabilities, probabilities, atol=1e-5)
    shown = galleries.choose_galleries(findings)["test"]
    order = np.argsort(np.abs(probabilities - 0.5))
    assert [image.id for image in shown.images] == test.ids[order[: len(shown.images)]].tolist()
    assert (len(shown.images), shown.total) == (16, 30)


def test_pairs_across_classes_come_first(findings):
    pairs = np.array(
        [
            ("train", "cat.1", 0, "train", "cat.2", 0, 1.0),
            ("test", "1", -1, "train", "cat.3", 0, 0.9),
            ("train", "cat.5", 0, "train", "dog.5", 1, 0.8),
        ],
        findings.duplicates.pairs.dtype,
    )
    chosen = galleries.choose_pairs(replace(findings, duplicates=Duplicates(pairs, near=True)))
    assert [pair.first.id for pair in chosen] == ["cat.5", "1", "cat.1"]
    (real,) = galleries.choose_pairs(findings)
    assert (real.first.id, real.second.id, real.similarity) == ("cat.4", "dog.4", 1)
