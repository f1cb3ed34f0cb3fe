import json
from dataclasses import replace

import pytest
from support.head import METADATA, save_head

from catsdogs.artifacts import Artifacts
from catsdogs.cache import Cache, Manifest
from catsdogs.head import load, staleness
from catsdogs.storage import to_sealed_json

MANIFEST = Manifest(METADATA.provenance, ("224",), {})
"""Of the features that the head of the tests is of."""


@pytest.fixture
def artifacts(tmp_path):
    save_head(Artifacts(tmp_path))
    return Artifacts(tmp_path)


class FilledCache(Cache):
    """A cache of these labelled features without files."""

    def __init__(self, folder, manifest, features):
        super().__init__(folder)
        self.manifest, self._digests = manifest, features

    def digests(self):
        return self._digests

    def labelled(self, split):
        return True


def reason(artifacts, manifest=MANIFEST, features=METADATA.features):
    artifacts.cache = FilledCache(artifacts.features, manifest, features)
    trained, why = staleness.check_head(artifacts)
    assert trained is None or trained.metadata == load(artifacts).metadata
    return why


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"classes": ("ants", "bees")}, "the classes"),
        ({"provenance": {"sha256": "0" * 64}}, "the backbone"),
        ({"provenance": {"network": "0" * 64}}, "the quantized network"),
        ({"provenance": {"pixels": "cropped"}}, "the preprocessing of pixels"),
        ({"provenance": {"precision": "bfloat16"}}, "the precision"),
        ({"views": ("224", "224m")}, "the views"),
    ],
)
def test_the_reason_names_what_changed_after_training(artifacts, change, what):
    if "provenance" in change:
        change = {"provenance": replace(MANIFEST.provenance, **change["provenance"])}
    assert reason(artifacts, replace(MANIFEST, **change)) == f"{what} changed after the head was trained"


@pytest.mark.parametrize(
    ("features", "why"),
    [
        (METADATA.features, None),
        ({"train": "0"}, "the training features changed after the head was trained"),
        ({**METADATA.features, "test": "0"}, "the test features changed after the head was trained"),
        ({}, "there are no complete training features"),
    ],
)
def test_the_reason_names_features_that_changed_after_training(artifacts, features, why):
    assert reason(artifacts, features=features) == why


def test_a_head_of_another_method_is_stale(artifacts, monkeypatch):
    monkeypatch.setattr(staleness, "METHOD", staleness.METHOD + 1)
    assert reason(artifacts) == "the method of training changed after the head was trained"


def test_other_versions_and_names_do_not_make_a_head_stale(artifacts):
    content = json.loads(artifacts.head_metadata.read_text())
    content["versions"] = {"scikit-learn": "1.7.99", "numpy": "3"}
    content["provenance"]["weights_name"] = "renamed.keras"
    del content["sha256"]
    artifacts.head_metadata.write_bytes(to_sealed_json(content))
    other_engine = replace(MANIFEST.provenance, engine="torch", versions={"torch": "2"})
    assert reason(artifacts, replace(MANIFEST, provenance=other_engine)) is None


def test_a_head_that_cannot_be_loaded_is_stale_for_that_reason(artifacts):
    artifacts.head.unlink()
    assert "head.npz is missing or damaged" in reason(artifacts)
    artifacts.head_metadata.unlink()
    assert "there is no head" in reason(artifacts)
