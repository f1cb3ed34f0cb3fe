"""Files that a stranger may have made to harm: weights with code in them, pickles, names that are markup or codes."""

import contextlib
import csv
import io
import json
import pickle
import re
import resource
import shutil
import sys
import zipfile
from pathlib import Path

import h5py
import joblib
import numpy as np
import pytest
from support.program import command

import catsdogs
from catsdogs import CatsDogsError
from catsdogs.backbone import choose_weights, load
from catsdogs.backbone.frameworks import keras
from catsdogs.errors import printable
from catsdogs.images.decoding import SIZE

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


def with_layer(path, tiny_backbone, layer):
    """Save a backbone whose second layer is what `layer` says, in Keras' configuration."""

    def change(members):
        config = json.loads(members["config.json"])
        second = config["config"]["layers"][1]
        config["config"]["layers"][1] = {"name": second["name"], "inbound_nodes": second["inbound_nodes"], **layer}
        members["config.json"] = json.dumps(config).encode()

    return rewritten(path, tiny_backbone, change)


def call_of(module, name, *arguments):
    """Return a layer that is no layer, but a call of any function (CVE-2025-1550)."""
    return {"module": module, "class_name": name, "registered_name": None, "config": {}, "args": list(arguments)}


def refusal(path):
    with pytest.raises(CatsDogsError) as error:
        load(choose_weights(str(path)), (SIZE,))
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
        assert "holds code of its own" in refusal(tmp_path / "lambda.keras")
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
def test_a_model_whose_layer_is_a_call_of_something_else_is_refused(tmp_path, tiny_backbone, module, name):
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
        refusal(with_layer(tmp_path / f"{number}.keras", tiny_backbone, layer))
    assert not touched.exists()
    assert global_state.get_global_attribute("safe_mode_saving") == before


def test_a_model_that_declares_more_weights_than_it_holds_is_refused_before_room_is_made_for_them(
    tmp_path, tiny_backbone
):
    def change(members):
        config = json.loads(members["config.json"])
        hidden = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Conv2D")
        for layer in config["config"]["layers"]:
            layer.pop("build_config", None)
        hidden["config"]["filters"] = 1 << 22  # the layer behind it then has 2^22 times 2,048 weights
        members["config.json"] = json.dumps(config).encode()

    path = rewritten(tmp_path / "vast.keras", tiny_backbone, change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "vast.keras declares 8,707," in refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


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
    """Declare a shape of 4 TB of which nothing is stored."""
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
        *(("old.h5", attack) for attack in ATTACKS),
        *(("new.weights.h5", attack) for attack in (external, vast)),
    ],
)
def test_weights_that_lead_out_of_their_file_or_are_vast_are_refused(
    tmp_path, tiny_backbone, resnet_files, form, attack
):
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

        rewritten(path, tiny_backbone, change)
    else:
        path.write_bytes((resnet_files / form).read_bytes())
        spoil(path)
    assert re.search("Not allowed|could not be loaded", refusal(path))


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


UNPICKLED = []
WATCHING = []
"""Not empty while what is unpickled is noted: an audit hook stays for as long as the process."""


@pytest.fixture
def unpickled():
    """What is unpickled meanwhile."""
    if not UNPICKLED:
        sys.addaudithook(lambda event, about: WATCHING and event == "pickle.find_class" and UNPICKLED.append(about))
    WATCHING.append(True)
    yield UNPICKLED
    WATCHING.clear()


@pytest.fixture(scope="module")
def evil(tmp_path_factory, draw, encode, write_folder, tiny_backbone):
    """Data, and artifacts of it in which every file that could be a pickle is one that touches a file."""
    folder = tmp_path_factory.mktemp("evil")
    images = {f"train/{k}.{n}.png": encode(draw(n + 50 * i)) for i, k in enumerate(("cat", "dog")) for n in range(10)}
    data = write_folder(folder / "data", images | {"test/1.png": encode(draw(99))})
    catsdogs.run(data, artifacts=folder / "artifacts", weights=str(tiny_backbone))
    (folder / "artifacts/head.joblib").write_bytes(pickle.dumps(Evil(folder / "touched")))
    (data / "test/2.png").write_bytes(pickle.dumps(Evil(folder / "touched")))
    return folder


def test_no_command_unpickles_anything(evil, unpickled):
    shutil.copytree(evil / "artifacts", evil / "spoiled")
    for path in (evil / "spoiled").rglob("*.npy"):
        np.save(path, np.array([Evil(evil / "touched")] * 12, object), allow_pickle=True)
    np.savez(evil / "spoiled/head.npz", coefficients=np.array([Evil(evil / "touched")], object), intercept=0.0)
    data = evil / "data"
    commands = [
        ["verify"],
        ["info"],
        ["submit"],
        ["train"],
        ["report"],
        ["predict", data / "test"],
        ["extract", data],
        ["run", data],
    ]
    # What is spoiled is mended by "extract" and "run": those before them get it as it is.
    for folder in ("artifacts", "spoiled"):
        for arguments in commands:
            command(*arguments, "--artifacts", evil / folder)
            assert unpickled == [], (folder, arguments)
    joblib.load(data / "test/2.png")  # the same pickle
    assert unpickled  # so it would have been noticed
    assert (evil / "touched").exists()


MARKUP, CODES = "<img src=x onerror=alert(1)>", "\x1b[31mred\x1b]0;title\x07\x9b2J\u202egpj"
FORMULA = '=cmd|"x"!A1, and "quoted"'


def test_names_that_are_markup_codes_or_formulas_are_names_everywhere(tmp_path, draw, encode, tiny_backbone):
    data, artifacts = tmp_path / "data", tmp_path / "artifacts"
    for folder in ("train", "test"):
        (data / folder).mkdir(parents=True)
    for number in range(10):
        for kind in ("cat", "dog"):
            (data / f"train/{kind}.{number}.png").write_bytes(encode(draw(number + 50 * (kind == "dog"))))
    names = [MARKUP, CODES, FORMULA, "\udcff\udcfe"]
    for number, name in enumerate(names):
        (data / f"test/{name} good.png").write_bytes(encode(draw(200 + number)))
        (data / f"test/{name} bad.png").write_bytes(b"")
    arguments = ["run", data, "--artifacts", artifacts, "--weights", tiny_backbone]
    done = command(*arguments, FORCE_COLOR="1", TERM="xterm")
    assert done.returncode == 0, done.stderr
    assert "\x1b[1m" in done.stdout
    own = done.stdout.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert all(line.isprintable() for line in own.splitlines())
    assert r"\x1b[31mred\x1b]0;title\x07\xc2\x9b2J\xe2\x80\xaegpj bad: the file is empty" in own
    assert f"{MARKUP} bad: the file is empty" in own  # rich would take [ ] for its markup, and HTML is none of ours
    shown = {f"{printable(name)} {how}" for name in names for how in ("good", "bad")}
    for table in ("submission.csv", "features/test/unreadable.csv"):
        with (artifacts / table).open(newline="", encoding="utf-8") as file:
            ids = {row["id"] for row in csv.DictReader(file)}
        assert ids == (shown if table == "submission.csv" else {name for name in shown if name.endswith("bad")})
        assert b"\x1b" not in (artifacts / table).read_bytes()
    assert sorted(catsdogs.load_features(artifacts, "test").ids.tolist()) == sorted(shown)


def test_square_brackets_in_a_name_are_no_markup_of_the_terminal(tmp_path):
    from catsdogs.cli.console import show, show_error

    with contextlib.redirect_stdout(io.StringIO()) as said:
        show([("image", "[bold red]name[/] [link=file:///etc]x[/link]")])
    assert "[bold red]name[/] [link=file:///etc]x[/link]" in said.getvalue()
    with contextlib.redirect_stderr(io.StringIO()) as said:
        show_error(CatsDogsError("[bold]a[/] is \x1b[0m", "None"))
    assert said.getvalue() == "error: [bold]a[/] is \\x1b[0m. None.\n"
