"""Backbone and head as one network: what other programs compute of a picture is what `predict` says of it."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.head import with_choice

import catsdogs
from catsdogs import CatsDogsError, ComputeOptions, head
from catsdogs.artifacts import Artifacts
from catsdogs.backbone import choose_engine
from catsdogs.cli.summaries import export_lines
from catsdogs.exporting import network
from catsdogs.storage import record

SHARED = Path(__file__).parents[3] / "shared"

needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxruntime", "tf2onnx"))), reason="catsdogs[onnx] is not installed"
)
FORMATS = ["keras", pytest.param("onnx", marks=[needs_onnx, pytest.mark.slow])]

ALONE = {
    "keras": """
import sys
sys.modules["catsdogs"] = None
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1])
images = np.load(sys.argv[2])
given = [images[tensor.name] for tensor in model.inputs]
given = given if len(given) > 1 else given[0]
print(*model.predict(given, batch_size=5, verbose=0)[:, 0].tolist())
""",
    "onnx": """
import sys
for name in ("catsdogs", "tensorflow", "keras", "onnx", "tf2onnx"): sys.modules[name] = None
import onnxruntime, numpy as np
session = onnxruntime.InferenceSession(sys.argv[1])
images = np.load(sys.argv[2])
for start in (0, 5):
    print(*session.run(["probability"], {name: images[name][start : start + 5] for name in images})[0][:, 0].tolist())
""",
}
"""What somebody writes who has the file and nothing of ours: pixels in, probabilities out, five images at once."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, draw, encode, write_folder):
    """Twenty labelled pictures and six others."""
    labelled = {f"train/{'dog' if n % 2 else 'cat'}.{n}.jpg": encode(draw(n), "JPEG") for n in range(20)}
    others = {f"test/{n}.jpg": encode(draw(n), "JPEG") for n in range(20, 26)}
    return write_folder(tmp_path_factory.mktemp("export") / "data", labelled | others)


@pytest.fixture(scope="module")
def features(tmp_path_factory, folder, keras_backbone):
    """Return what makes artifacts with features of given views, each once."""

    @cache
    def extracted(views, precision):
        where = tmp_path_factory.mktemp("features")
        compute = ComputeOptions(views=views, precision=precision)
        catsdogs.extract(folder, artifacts=where, weights=str(keras_backbone), compute=compute)
        return where

    return extracted


@pytest.fixture
def artifacts(features, tmp_path, monkeypatch):
    """Return what makes an artifacts folder with a head of a given transform on given views."""

    def with_head(transform="sqrt", views=("224",), precision="float32"):
        return copy_with_head(features(views, precision), tmp_path / "artifacts", transform, monkeypatch)

    return with_head


def copy_with_head(features, where, transform, monkeypatch):
    def choose(training_set, **_):  # what cross-validation finds, had it found this
        return with_choice(training_set, transform, 10)

    shutil.copytree(features, where)
    monkeypatch.setattr(head, "cross_validate", choose)
    catsdogs.train(where)
    return where


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A head on features that come from elsewhere: it has no backbone to be exported with."""
    features = np.random.default_rng(0).gamma(1, 1, (40, 2048)).astype(np.float32)
    ids, labels = [f"{n}" for n in range(40)], np.arange(40) % 2
    where = tmp_path_factory.mktemp("imported")
    catsdogs.import_features(ids, labels, views={"224": features}, artifacts=where)
    catsdogs.train(where)
    return where


@pytest.fixture(scope="module")
def exported(features, tmp_path_factory):
    """Return what exports a head on one view or two, each once: the artifacts, and what was said."""

    @cache
    def once(form, transform, views=("224",)):
        with pytest.MonkeyPatch.context() as monkeypatch:
            folder = tmp_path_factory.mktemp("exported") / "artifacts"
            where = copy_with_head(features(views, "float32"), folder, transform, monkeypatch)
        return where, catsdogs.export(form, artifacts=where)

    return once


def resized(files, size):
    """Decode and resize as the documentation says."""
    images = [Image.open(file).convert("RGB").resize((size, size), Image.Resampling.BICUBIC) for file in files]
    return np.stack([np.asarray(image) for image in images])


def compute_alone(form, exported, images, **environment):
    arrays = exported.with_suffix(".npz")
    np.savez(arrays, **images)
    command = [sys.executable, "-c", ALONE[form], str(exported), str(arrays)]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)
    assert ended.returncode == 0, ended.stderr
    return [float(number) for number in ended.stdout.split()]


def predicted(folder, artifacts):
    files = sorted((folder / "test").glob("*.jpg"))
    answers = catsdogs.predict(files, artifacts=artifacts)
    probabilities = [answer.probability for answer in answers]
    assert np.ptp(probabilities) > 0.01  # a head that says the same of everything would prove nothing
    return files, probabilities


@pytest.mark.parametrize(
    ("transform", "views"),
    [
        ("sqrt", ("224", "224m")),
        pytest.param("identity", ("224",), marks=pytest.mark.slow),
        pytest.param("rbf", ("224",), marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("form", FORMATS)
def test_what_is_exported_computes_what_predict_says(form, transform, views, exported, folder):
    where, done = exported(form, transform, views)
    assert done.path == where / f"catsdogs.{form}"
    assert (done.images, done.source, done.inputs) == (6, str(folder.resolve()), {"image": (224, 224, 3)})
    assert max(done.max_difference, done.max_difference_predict) < 1e-5
    files, probabilities = predicted(folder, where)
    images = {"image": resized(files, 224)}
    np.testing.assert_allclose(file_format(form).compute(done.path.read_bytes(), images), probabilities, atol=1e-5)


def file_format(form):
    from catsdogs.exporting import keras

    if form == "keras":
        return keras
    from catsdogs.exporting import onnx

    return onnx


@pytest.mark.slow
@pytest.mark.parametrize("views", [("224", "224m"), ("160", "224m")])
@pytest.mark.parametrize("form", FORMATS)
def test_who_has_the_file_alone_computes_what_predict_says(form, views, artifacts, folder, tmp_path):
    where = artifacts("rbf", views)
    done = catsdogs.export(form, out=tmp_path / f"elsewhere/network.{form}", artifacts=where)
    assert not (where / f"catsdogs.{form}").exists()
    assert list(done.inputs) == (["image"] if views[0] == "224" else ["image_160", "image_224"])
    files, probabilities = predicted(folder, where)
    images = {name: resized(files, shape[0]) for name, shape in done.inputs.items()}
    np.testing.assert_allclose(compute_alone(form, done.path, images), probabilities, atol=1e-5)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_keras_file_computes_the_same_with_another_backend(backend, artifacts, folder):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    where = artifacts("rbf", ("224", "224m"))
    done = catsdogs.export("keras", artifacts=where)
    files, probabilities = predicted(folder, where)
    images = {"image": resized(files, 224)}
    computed = compute_alone("keras", done.path, images, KERAS_BACKEND=backend)
    np.testing.assert_allclose(computed, probabilities, atol=1e-5)


def test_a_keras_network_takes_bytes_and_floats_and_ends_with_the_head(exported, folder):
    import keras

    where, done = exported("keras", "sqrt", ("224", "224m"))
    model = keras.saving.load_model(done.path)
    files, probabilities = predicted(folder, where)
    pixels = resized(files, 224)
    for given in (pixels, pixels.astype(np.float32)):
        np.testing.assert_allclose(model.predict(given, verbose=0)[:, 0], probabilities, atol=1e-5)
    assert model.layers[-1].name == "probability"
    assert [variable.path for variable in model.trainable_variables] == ["probability/kernel", "probability/bias"]


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_says_what_it_is(form, exported):
    where, done = exported(form, "sqrt", ("224", "224m"))
    if form == "keras":
        with zipfile.ZipFile(done.path) as archive:
            facts = json.loads(archive.read("metadata.json"))["catsdogs"]
    else:
        import onnx

        facts = {prop.key: prop.value for prop in onnx.load(done.path).metadata_props}
        for name in ("classes", "views", "backbone", "head"):
            facts[name] = json.loads(facts[name])
    made = json.loads((where / "head.json").read_text())
    assert facts["classes"] == ["cat", "dog"]
    assert facts["output"].startswith("the probability of dog")
    assert facts["backbone"].items() <= made["provenance"].items()
    assert facts["head"]["transform"] == "sqrt"
    assert facts["head"]["features"] == made["features"]


@pytest.mark.parametrize("form", FORMATS)
def test_a_network_that_computes_something_else_is_not_written(form, artifacts, monkeypatch):
    where = artifacts()
    (where / f"catsdogs.{form}").write_bytes(b"an earlier one")
    before = sorted(where.iterdir())
    monkeypatch.setattr(network, "MEANS_BGR", (0, 0, 0))
    with pytest.raises(CatsDogsError, match=rf"catsdogs\.{form} gives probabilities that differ by up to .*"):
        catsdogs.export(form, artifacts=where)
    assert (where / f"catsdogs.{form}").read_bytes() == b"an earlier one"
    assert sorted(where.iterdir()) == before


@pytest.mark.slow
def test_where_the_pictures_are_gone_drawn_ones_check_it(artifacts, tmp_path, write_folder):
    where = artifacts()
    gone = write_folder(tmp_path / "gone", {"test/20.jpg": b"this is no image"})
    record(Artifacts(where).source, train=str(gone), test=str(gone))
    done = catsdogs.export("keras", artifacts=where)
    assert (done.images, done.source) == (16, None)
    assert "on 16 images drawn for the check: the original images are missing" in dict(export_lines(done)).values()


@pytest.mark.slow
def test_of_16_bits_it_says_the_difference_to_what_predict_says(artifacts):
    if choose_engine("auto").native_precision() != "bfloat16":
        pytest.skip("this CPU does not support bfloat16")
    where = artifacts("sqrt", precision="bfloat16")
    done = catsdogs.export("keras", artifacts=where)
    assert done.max_difference < 1e-5 < done.max_difference_predict
    said = "\n".join(text for _, text in export_lines(done))
    assert "largest difference from catsdogs in float32" in said
    assert "largest difference from catsdogs predict, in bfloat16" in said
    assert "catsdogs predict" not in "\n".join(text for _, text in export_lines(replace(done, precision="float32")))


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        ("savedmodel", {}, "'savedmodel' is not an export format. Give keras or onnx"),
        ("keras", {"out": "network.h5"}, r"network.h5 does not end with .keras. Give --out FILE.keras"),
        ("keras", {"artifacts": "nothing"}, "there are no features in nothing. Run catsdogs run DATA"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(form, options, message, imported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CatsDogsError, match=message):
        catsdogs.export(form, **{"artifacts": imported} | options)
    assert not list(tmp_path.rglob("*.keras")) + list(tmp_path.rglob("network.h5"))


def test_a_head_on_features_from_elsewhere_cannot_be_exported(imported):
    with pytest.raises(CatsDogsError, match="trained on imported features"):
        catsdogs.export("keras", artifacts=imported)


def test_without_the_extra_onnx_is_refused_before_anything_is_loaded(imported, monkeypatch):
    from catsdogs.exporting import onnx

    monkeypatch.setattr(onnx, "find_spec", lambda name: None if "onnx" in name else find_spec(name))
    with pytest.raises(
        CatsDogsError, match=r"ONNX export needs tf2onnx, onnx, onnxruntime\. Run pip install tf2onnx onnx "
    ):
        catsdogs.export("onnx", artifacts=imported)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_of_real_photographs_both_forms_say_what_the_submission_says(form, tmp_path, write_folder):
    if not (SHARED / "data/kaggle").is_dir():
        pytest.skip("there are no real photographs here")
    files = {
        f"train/{file.name}": file.read_bytes()
        for kind in ("cat", "dog")
        for file in sorted((SHARED / "data/kaggle/train").rglob(f"{kind}.*.jpg"))[:40]
    }
    files |= {f"test/{file.name}": file.read_bytes() for file in sorted((SHARED / "data/kaggle/test").glob("*.jpg"))}
    data, where = write_folder(tmp_path / "data", files), tmp_path / "artifacts"
    catsdogs.run(data, artifacts=where, weights=str(SHARED / "weights/standin.keras"))
    done = catsdogs.export(form, artifacts=where)
    ids, submitted = np.loadtxt(where / "submission.csv", delimiter=",", skiprows=1).T
    clip = catsdogs.info(where).head["clip"]
    pixels = resized([io.BytesIO(files[f"test/{number:.0f}.jpg"]) for number in ids], 224)
    parts = [{"image": pixels[start : start + 50]} for start in range(0, 300, 50)]
    computed = np.hstack([file_format(form).compute(done.path.read_bytes(), part) for part in parts])
    computed = np.clip(computed, clip, 1 - clip)
    assert len(computed) == 300
    np.testing.assert_allclose(computed, submitted, atol=1e-4)
