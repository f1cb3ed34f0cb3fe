"""A kept network computes the same bits; whatever is wrong with the cache costs time and nothing else."""

import errno
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.faults import failing_at

from catsdogs.backbone import Backbone, choose_weights, model_cache, probe_image
from catsdogs.errors import CatsDogsError
from catsdogs.storage import sha256_of, unseal

FACTS = model_cache.Facts(backbone="ab" * 32, precision="float32")
KEY, CONTENTS = {"weights": "sha256:00", "engine": "openvino 1"}, {"64": b"a network" * 100}

pytestmark = pytest.mark.usefixtures("empty_model_cache")


@pytest.fixture
def entry(empty_model_cache):
    """Keep a made-up network; return the folder of its entry."""
    model_cache.write(KEY, FACTS, CONTENTS)
    (folder,) = empty_model_cache.iterdir()
    return folder


def truncate(entry):
    (entry / "64").write_bytes(CONTENTS["64"][:-1])


def change_a_byte(entry):
    (entry / "64").write_bytes(b"x" + CONTENTS["64"][1:])


def change_the_facts(entry):
    text = (entry / "entry.json").read_text()
    (entry / "entry.json").write_text(text.replace("float32", "float16"))


def raise_the_format(entry):
    content = json.loads((entry / "entry.json").read_bytes())
    unseal(content)
    (entry / "entry.json").write_bytes(model_cache.to_sealed_json(content | {"format": model_cache.FORMAT + 1}))


def rename_another(entry):
    model_cache.write({"weights": "another"}, FACTS, {"64": b"another network"})
    (other,) = {*entry.parent.iterdir()} - {entry}
    for name in ("entry.json", "64"):
        (other / name).replace(entry / name)


def as_bytes(contents):
    return {name: content.tobytes() for name, content in contents.items()}


def empty(entry):
    (entry / "64").write_bytes(b"")


DAMAGES = [
    *(truncate, empty, change_a_byte, change_the_facts, raise_the_format, rename_another),
    lambda entry: (entry / "64").unlink(),
    lambda entry: (entry / "entry.json").unlink(),
    lambda entry: (entry / "entry.json").write_bytes(b"{"),
]


def test_what_was_written_is_read(entry):
    facts, contents = model_cache.read(KEY)
    assert (facts.backbone, facts.precision) == ("ab" * 32, "float32")
    assert as_bytes(contents) == CONTENTS
    assert model_cache.read(KEY | {"engine": "openvino 2"}) is None
    size = sum(path.stat().st_size for path in entry.iterdir())
    assert model_cache.describe_model_cache() == model_cache.ModelCache(entry.parent, 1, size)
    assert entry.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_entry_is_made_anew(damage, entry, caplog):
    damage(entry)
    with caplog.at_level(logging.INFO):
        assert model_cache.read(KEY) is None
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert caplog.messages[0].startswith("the network is built again: ")
    model_cache.write(KEY, FACTS, CONTENTS)
    assert as_bytes(model_cache.read(KEY)[1]) == CONTENTS


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_to_which_others_may_write_is_not_used(mode, entry):
    entry.parent.chmod(mode)
    assert model_cache.read(KEY) is None
    model_cache.write(KEY | {"engine": "openvino 2"}, FACTS, CONTENTS)
    assert [*entry.parent.iterdir()] == [entry]
    assert model_cache.describe_model_cache().entries == 0


def test_a_symbolic_link_or_a_file_is_not_used_as_the_folder(entry, tmp_path, monkeypatch):
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to(entry.parent)
    file.touch()
    for path in (link, file):
        monkeypatch.setenv("CATSDOGS_CACHE", str(path))
        assert model_cache.read(KEY) is None
        model_cache.write(KEY | {"engine": "openvino 2"}, FACTS, CONTENTS)
    assert [*entry.parent.iterdir()] == [entry]


def test_a_folder_of_another_user_is_not_used(entry, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: entry.stat().st_uid + 1)
    assert model_cache.read(KEY) is None
    model_cache.write(KEY | {"engine": "openvino 2"}, FACTS, CONTENTS)
    assert [*entry.parent.iterdir()] == [entry]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_is_full_or_read_only_costs_only_time(number, empty_model_cache, caplog):
    def fail():
        return OSError(number, os.strerror(number))

    step = 1
    while True:
        with failing_at(step, fail) as called:
            model_cache.write(KEY, FACTS, CONTENTS)
        if len(called) < step:
            break
        there = [*empty_model_cache.iterdir()] if empty_model_cache.exists() else []
        assert all(not path.name.endswith(".new") for path in there)
        kept = model_cache.read(KEY)
        assert kept is None or as_bytes(kept[1]) == CONTENTS
        if kept:
            model_cache.remove(KEY)
        step += 1
    assert step > 8
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_without_a_home_folder_nothing_is_kept_and_nothing_fails(tmp_path, monkeypatch):
    for name in ("CATSDOGS_CACHE", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user without an entry in passwd
    monkeypatch.chdir(tmp_path)
    model_cache.write(KEY, FACTS, CONTENTS)
    assert model_cache.read(KEY) is None
    assert model_cache.describe_model_cache().entries == 0
    assert not [*tmp_path.iterdir()]


def test_the_variable_is_a_path_of_a_user(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CATSDOGS_CACHE", "~/networks")
    assert model_cache.cache_path() == tmp_path / "networks"
    monkeypatch.setenv("CATSDOGS_CACHE", "~nobody-of-this-name/networks")
    with pytest.raises(CatsDogsError, match="the home folder ~nobody-of-this-name"):
        model_cache.read(KEY)


def test_the_least_recently_used_entry_goes_first(entry, monkeypatch):
    monkeypatch.setattr(model_cache, "MAX_BYTES", 5500)
    for engine in "23":
        model_cache.write(KEY | {"engine": engine}, FACTS, CONTENTS)
    by_engine = {
        json.loads((path / "entry.json").read_bytes())["key"]["engine"]: path for path in entry.parent.iterdir()
    }
    for age, engine in enumerate(("3", "2", "openvino 1")):
        os.utime(by_engine[engine], (time.time() - 100 + age,) * 2)
    assert model_cache.read(KEY | {"engine": "3"})  # now it is the last that was used
    foreign = entry.parent / "foreign"
    foreign.write_bytes(bytes(10_000))
    model_cache.write(KEY | {"engine": "4"}, FACTS, {"64": bytes(2000)})
    left = {engine for engine in ("openvino 1", "2", "3", "4") if model_cache.read(KEY | {"engine": engine})}
    assert left == {"openvino 1", "3", "4"}
    assert foreign.exists()
    model_cache.write(KEY | {"engine": "5"}, FACTS, {"64": bytes(7000)})  # more than all may take
    assert model_cache.read(KEY | {"engine": "5"}) is None


def test_what_a_killed_process_has_left_goes_after_an_hour(entry):
    left, recent = (entry.parent / f".{letter * 32}.new" for letter in "ab")
    for folder in (left, recent):
        folder.mkdir()
        (folder / "64").write_bytes(b"half")
    os.utime(left, (time.time() - 4000,) * 2)
    model_cache.write(KEY | {"engine": "2"}, FACTS, CONTENTS)
    assert not left.exists()
    assert recent.exists()


def test_two_processes_that_write_one_entry_do_not_disturb_each_other(empty_model_cache):
    program = (
        "import sys; sys.path.append('tests')\n"
        "from tests.backbone import test_model_cache as test\n"
        "for number in range(100):\n"
        "    key = test.KEY | {'engine': str(number // 2)}\n"
        "    kept = test.model_cache.read(key)\n"
        "    assert kept is None or test.as_bytes(kept[1]) == test.CONTENTS\n"
        "    test.model_cache.write(key, test.FACTS, test.CONTENTS)\n"
        "    assert test.as_bytes(test.model_cache.read(key)[1]) == test.CONTENTS\n"
    )
    root = Path(__file__).parents[2]
    runs = [subprocess.Popen([sys.executable, "-c", program], cwd=root, stderr=subprocess.PIPE) for _ in range(2)]
    for run in runs:
        _, said = run.communicate()
        assert run.returncode == 0, said.decode()
    assert len([*empty_model_cache.iterdir()]) == 50


class TestBackbones:
    @pytest.fixture
    def built(self, keras_backbone):
        return Backbone(choose_weights(str(keras_backbone)), (64, 96), engine="openvino")

    def test_a_kept_network_computes_the_same_bits_without_its_weights(self, built, keras_backbone, monkeypatch):
        monkeypatch.setattr("catsdogs.backbone.network.build", None)
        loaded = Backbone(choose_weights(str(keras_backbone)), (64, 96), engine="openvino")
        for size in (64, 96):
            pixels = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), np.uint8)
            pixels.flags.writeable = False
            assert loaded.features(pixels).tobytes() == built.features(pixels).tobytes()
        for name in ("sha256", "fingerprint", "precision", "batch_size", "streams", "versions"):
            assert getattr(loaded, name) == getattr(built, name)

    def test_the_model_is_built_when_it_is_asked_for(self, built, keras_backbone):
        loaded = Backbone(choose_weights(str(keras_backbone)), (64, 96), engine="openvino")
        assert loaded._model is None
        for ours, theirs in zip(loaded.model.get_weights(), built.model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_what_openvino_cannot_load_is_built_again(self, built, keras_backbone, empty_model_cache, caplog):
        (entry,) = empty_model_cache.iterdir()
        content = json.loads((entry / "entry.json").read_bytes())
        unseal(content)
        (entry / "96").write_bytes(b"of another version")
        content["files"]["96"] = sha256_of(b"of another version")
        (entry / "entry.json").write_bytes(model_cache.to_sealed_json(content))
        with caplog.at_level(logging.INFO):
            again = Backbone(choose_weights(str(keras_backbone)), (64, 96), engine="openvino")
        assert caplog.messages[0].startswith("the network is built again: the one that was kept cannot be loaded")
        pixels = probe_image(96)[np.newaxis]
        assert again.features(pixels).tobytes() == built.features(pixels).tobytes()
        assert (entry / "96").stat().st_size > 1000

    def test_other_weights_of_the_same_name_are_not_mistaken(self, built, keras_backbone, tmp_path):
        from catsdogs.backbone.frameworks import keras

        model = keras().saving.load_model(keras_backbone)
        model.set_weights([array + 0.01 for array in model.get_weights()])
        model.save(tmp_path / keras_backbone.name)
        other = Backbone(choose_weights(str(tmp_path / keras_backbone.name)), (64, 96), engine="openvino")
        assert other.sha256 != built.sha256

    def test_in_16_bits_the_precision_that_was_used_is_kept(self, keras_backbone, monkeypatch):
        """A network that falls back to 32 bits does so from the cache, too, and an explicit request still fails."""
        from catsdogs.backbone.openvino import OpenVINOEngine

        weights = choose_weights(str(keras_backbone))
        monkeypatch.setattr(OpenVINOEngine, "native_precision", staticmethod(lambda: "bfloat16"))
        monkeypatch.setattr("catsdogs.backbone.backbone.TOLERANCES", {"float32": 1e-3, "bfloat16": -1.0})
        first = Backbone(weights, (64,), engine="auto")
        assert first.precision == "float32"
        monkeypatch.setattr("catsdogs.backbone.network.build", None)
        assert Backbone(weights, (64,), engine="auto").precision == "float32"
        with pytest.raises(TypeError):  # it is built, and checked
            Backbone(weights, (64,), engine="openvino", precision="bfloat16")
