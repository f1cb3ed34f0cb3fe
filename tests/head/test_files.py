import hashlib
import io
import json
import pickle

import numpy as np
import pytest
from support.head import METADATA, save_head

from catsdogs import CatsDogsError, head
from catsdogs.artifacts import Artifacts
from catsdogs.storage import to_sealed_json


@pytest.fixture
def artifacts(tmp_path):
    save_head(Artifacts(tmp_path))
    return Artifacts(tmp_path)


def test_what_is_loaded_is_what_was_saved(artifacts):
    loaded = head.load(artifacts)
    assert loaded.metadata.files.keys() == {"head.npz", "head.joblib"}
    content = json.loads(artifacts.head_metadata.read_text())
    assert content.pop("sha256")
    assert content == json.loads(json.dumps(loaded.metadata.to_dict()))
    assert {**loaded.metadata.to_dict(), "files": {}} == METADATA.to_dict()


@pytest.mark.parametrize("damage", ["flipped", "shorter", "missing", "another"])
def test_a_damaged_head_is_refused(artifacts, damage):
    content = bytearray(artifacts.head.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    if damage == "another":
        other = io.BytesIO()
        np.savez(other, coefficients=np.zeros(2048), intercept=0.0)
        content = bytearray(other.getvalue())
    artifacts.head.write_bytes(content[:100] if damage == "shorter" else content)
    if damage == "missing":
        artifacts.head.unlink()
    with pytest.raises(CatsDogsError, match="Run catsdogs train"):
        head.load(artifacts)


@pytest.mark.parametrize(
    "wrong",
    [
        {"coefficients": np.zeros(3)},
        {"coefficients": np.zeros((2048, 2))},
        {"coefficients": np.full(2048, np.nan)},
        {"coefficients": np.array(["0"] * 2048)},
        {"intercept": np.zeros(2)},
        {"transform": "cube"},
        {"landmarks": np.zeros((2048, 7), np.float32), "gamma": 1.0},
        {"landmarks": np.zeros((2048, 2048), np.float32)},
        None,
    ],
)
def test_an_invalid_head_npz_with_a_valid_checksum_is_refused(artifacts, wrong):
    content = io.BytesIO()
    if wrong:
        np.savez(content, **({"transform": "identity", "coefficients": np.zeros(2048), "intercept": 0.0} | wrong))
    artifacts.head.write_bytes(content.getvalue() or b"no archive")
    sums = {"head.npz": hashlib.sha256(artifacts.head.read_bytes()).hexdigest()}
    artifacts.head_metadata.write_bytes(to_sealed_json(METADATA.to_dict() | {"files": sums}))
    with pytest.raises(CatsDogsError, match=r"head\.npz is missing or damaged.*Run catsdogs train"):
        head.load(artifacts)


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"classes": ["cat"]}, "$.classes"),
        ({"provenance": {"weights_name": "a", "sha256": 1}}, "$.provenance.sha256"),
        ({"views": ["224", 288]}, "$.views[1]"),
        ({"features": {"train": None}}, "$.features"),
        ({"C": "0.1"}, "$.C"),
        ({"clip": "\ud800"}, "surrogates"),
        ({"excluded": "cat.1"}, "$.excluded"),
        ({"files": []}, "$.files"),
    ],
)
def test_wrong_types_in_head_json_are_refused_with_their_path(artifacts, wrong, path):
    artifacts.head_metadata.write_bytes(to_sealed_json(head.load(artifacts).metadata.to_dict() | wrong))
    with pytest.raises(CatsDogsError, match=r"head\.json is damaged.*Run catsdogs train") as error:
        head.load(artifacts)
    assert path in error.value.message
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["classes", "provenance", "excluded", "method"])
def test_a_missing_key_in_head_json_is_named(artifacts, name):
    content = head.load(artifacts).metadata.to_dict()
    del content[name]
    artifacts.head_metadata.write_bytes(to_sealed_json(content))
    with pytest.raises(CatsDogsError, match=rf"head\.json is damaged.*{name}"):
        head.load(artifacts)


def test_a_head_of_another_format_is_refused(tmp_path):
    (tmp_path / "head.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(CatsDogsError, match=r"format 99.*Run catsdogs train"):
        head.load(Artifacts(tmp_path))


def test_files_outside_the_folder_named_in_head_json_are_not_read(artifacts, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "head.npz"
    outside.write_bytes(artifacts.head.read_bytes())
    content = head.load(artifacts).metadata.to_dict()
    content["files"][str(outside)] = content["files"]["head.npz"]
    artifacts.head_metadata.write_bytes(to_sealed_json(content))
    outside.unlink()
    assert head.damaged_files(artifacts, head.load(artifacts)) == []


def test_a_head_given_to_another_process_is_checked_against_its_digest_there(artifacts):
    loaded = head.load(artifacts)
    given = pickle.dumps(loaded)
    assert pickle.loads(given).sha256 == loaded.sha256 == loaded.metadata.files["head.npz"]
    at = given.index(loaded.content) + len(loaded.content) // 2
    spoilt = given[:at] + bytes([given[at] ^ 1]) + given[at + 1 :]
    with pytest.raises(ValueError, match=r"does not match head\.json"):
        pickle.loads(spoilt)
