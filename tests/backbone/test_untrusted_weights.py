"""Malicious weights are refused: code, references to other files, huge declared sizes."""

import io
import json
import re
import resource
import zipfile

import h5py
import numpy as np
import pytest

from catsdogs import CatsDogsError
from catsdogs.backbone import Backbone, choose_weights
from catsdogs.backbone.frameworks import keras
from catsdogs.images.decoding import SIZE

# Keras warns of layers that it skips before it refuses a damaged file.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:keras")

SECRET = b"what stands in another file" * 400


def rewritten(path, source, change):
    """Copy a .keras file with its members changed: ``change({name: content})``."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_layer(path, keras_backbone, layer):
    """Save a backbone with `layer` as the configuration of its second layer."""

    def change(members):
        config = json.loads(members["config.json"])
        second = config["config"]["layers"][1]
        config["config"]["layers"][1] = {"name": second["name"], "inbound_nodes": second["inbound_nodes"], **layer}
        members["config.json"] = json.dumps(config).encode()

    return rewritten(path, keras_backbone, change)


def call_of(module, name, *arguments):
    """Return the configuration of a layer that calls a function instead (CVE-2025-1550)."""
    return {"module": module, "class_name": name, "registered_name": None, "config": {}, "args": list(arguments)}


def refusal(path):
    with pytest.raises(CatsDogsError) as error:
        Backbone(choose_weights(str(path)), (SIZE,))
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def save_with_lambda(path):
    layers = keras().layers
    inputs = keras().Input((None, None, 3))
    maps = layers.Conv2D(2048, 8, strides=32)(layers.Lambda(lambda tensor: tensor * 2)(inputs))
    keras().Model(inputs, layers.GlobalAveragePooling2D()(maps)).save(path)


@pytest.mark.parametrize("unsafe", [False, True])
def test_code_in_a_model_is_refused_whatever_the_process_has_allowed(tmp_path, unsafe):
    save_with_lambda(tmp_path / "lambda.keras")
    from keras.src.backend.common import global_state

    before = global_state.get_global_attribute("safe_mode_saving")
    try:
        if unsafe:
            keras().config.enable_unsafe_deserialization()
        assert "contains custom code" in refusal(tmp_path / "lambda.keras")
        assert global_state.get_global_attribute("safe_mode_saving") == (False if unsafe else before)
    finally:
        global_state.set_global_attribute("safe_mode_saving", before)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("subprocess", "Popen"),
        ("pathlib", "Path"),
        ("builtins", "exec"),
        ("keras.config", "enable_unsafe_deserialization"),
        ("keras.utils", "get_file"),
        ("keras.saving", "load_model"),
        ("keras.src.utils.io_utils", "print_msg"),
        ("tensorflow", "io.write_file"),
    ],
)
def test_a_model_whose_layer_is_a_call_of_something_else_is_refused(tmp_path, keras_backbone, module, name):
    """CVE-2025-1550 and CVE-2025-9906."""
    from keras.src.backend.common import global_state

    before = global_state.get_global_attribute("safe_mode_saving")
    touched = tmp_path / "touched"
    for number, layer in enumerate(
        (
            call_of(module, name, f"touch {touched}"),
            {"module": module, "class_name": name, "registered_name": name, "config": {"args": f"touch {touched}"}},
            {"module": module, "class_name": "function", "registered_name": "function", "config": name},
            {"module": module, "class_name": "function", "registered_name": name, "config": name},
        )
    ):
        refusal(with_layer(tmp_path / f"{number}.keras", keras_backbone, layer))
    assert not touched.exists()
    assert global_state.get_global_attribute("safe_mode_saving") == before


def test_a_model_that_declares_more_weights_than_it_holds_is_refused(tmp_path, keras_backbone):
    def change(members):
        config = json.loads(members["config.json"])
        hidden = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Conv2D")
        for layer in config["config"]["layers"]:
            layer.pop("build_config", None)
        hidden["config"]["filters"] = 1 << 22  # the next layer then has 2^22 times 2,048 weights
        members["config.json"] = json.dumps(config).encode()

    path = rewritten(tmp_path / "vast.keras", keras_backbone, change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "vast.keras declares 8,707," in refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4_000_000  # of 35 million


def first_dataset(file):
    found = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) and item.ndim > 1 else None)
    return found[0]


def external(file, name, secret):
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, np.float32, external=[(str(secret), 0, int(np.prod(shape)) * 4)])


def linked(file, name, secret):
    del file[name]
    file[name] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "secret")


def virtual(file, name, secret):
    shape = file[name].shape
    del file[name]
    layout = h5py.VirtualLayout(shape, np.float32)
    layout[...] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "secret", shape)
    file.create_virtual_dataset(name, layout)


def vast(file, name, _):
    """Declare an array of 4 TB without stored data."""
    del file[name]
    file.create_dataset(name, (1 << 20, 1 << 20), np.float32, chunks=(1024, 1024), compression="gzip")


def huge_where_it_fits(file, name, _):
    del file[name]
    file.create_dataset(name, (2**40,), np.int8, chunks=(1024,))


ATTACKS = [external, linked, virtual, vast, huge_where_it_fits]
"""CVE-2026-0897 and CVE-2026-1669, and what else leads out of an HDF5 file."""


@pytest.fixture(scope="module")
def resnet_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resnet")
    model = keras().applications.ResNet50(weights=None, include_top=False, pooling="avg")
    model.save_weights(folder / "new.weights.h5")
    model.save(folder / "old.h5")
    return folder


@pytest.mark.parametrize(
    ("form", "attack"),
    [
        *(("tiny.keras", attack) for attack in ATTACKS),
        *(pytest.param("old.h5", attack, marks=pytest.mark.slow) for attack in ATTACKS),
        *(pytest.param("new.weights.h5", attack, marks=pytest.mark.slow) for attack in (external, vast)),
    ],
)
def test_weights_that_lead_out_of_their_file_or_are_vast_are_refused(tmp_path, keras_backbone, request, form, attack):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(SECRET)
    path = tmp_path / form

    def spoil(content):
        with h5py.File(content, "r+") as file:
            name = first_dataset(file)
            with h5py.File(secret.with_suffix(".h5"), "w") as other:
                other["secret"] = np.zeros(file[name].shape, np.float32)
            attack(file, name, secret)

    if form == "tiny.keras":

        def change(members):
            content = io.BytesIO(members["model.weights.h5"])
            spoil(content)
            members["model.weights.h5"] = content.getvalue()

        rewritten(path, keras_backbone, change)
    else:
        path.write_bytes((request.getfixturevalue("resnet_files") / form).read_bytes())
        spoil(path)
    assert re.search("Not allowed|could not be loaded", refusal(path))
