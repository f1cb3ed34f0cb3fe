"""int8: images calibrate one network, which computes all rows; inexact networks are refused."""

import hashlib
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from support.program import end, stopped

import catsdogs
from catsdogs import CatsDogsError, ComputeOptions, load_features
from catsdogs.artifacts import Artifacts
from catsdogs.backbone import Backbone, choose_weights, quantize
from catsdogs.backbone.frameworks import keras
from catsdogs.cli.summaries import extraction_lines
from catsdogs.head import load as load_head

pytestmark = pytest.mark.skipif(
    find_spec("nncf") is None or find_spec("openvino") is None, reason="nncf or openvino is not installed"
)

INT8 = ComputeOptions(precision="int8")


@pytest.fixture(scope="module")
def photographs(draw, encode):
    """Twelve images of each class and two test images, by path."""
    names = [f"train/{kind}.{number}.jpg" for kind in ("cat", "dog") for number in range(12)]
    return {name: encode(draw(seed), "JPEG") for seed, name in enumerate([*names, "test/1.jpg", "test/2.jpg"])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photographs, write_folder):
    return write_folder(tmp_path_factory.mktemp("data"), photographs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, folder, keras_backbone):
    """Return the content of valid artifacts with a head, by path."""
    artifacts = tmp_path_factory.mktemp("whole")
    catsdogs.extract(folder, artifacts=artifacts, weights=str(keras_backbone), compute=INT8)
    catsdogs.train(artifacts)
    return contents(artifacts)


@pytest.fixture
def artifacts(tmp_path, whole, write_folder):
    return write_folder(tmp_path / "artifacts", whole)


def contents(artifacts):
    files = [path for path in artifacts.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(artifacts)): path.read_bytes() for path in files}


def features_of(whole):
    """Return the files of the artifacts that belong to the cache."""
    return {name: content for name, content in whole.items() if name.startswith("features/")}


def network_in(artifacts):
    return sorted((artifacts / "features").glob("int8.*"))


@pytest.mark.slow
def test_an_int8_row_does_not_depend_on_its_batch(keras_backbone, draw):
    weights = choose_weights(str(keras_backbone))
    pixels = {size: np.stack([np.asarray(draw(seed, (size, size))) for seed in range(19)]) for size in (224, 288)}
    exact = Backbone(weights, (224, 288), engine="openvino", precision="float32")
    backbone = Backbone(weights, (224, 288), precision="int8", network=quantize(exact.model, pixels[224][:8]))
    for of_size in pixels.values():
        features, backwards = backbone.features(of_size), backbone.features(of_size[::-1])[::-1]
        alone = np.concatenate([backbone.features(picture[np.newaxis]) for picture in of_size])
        assert features.tobytes() == backwards.tobytes() == alone.tobytes()
        apart = np.linalg.norm(features - exact.features(of_size), axis=1) / np.linalg.norm(features, axis=1)
        assert 1e-4 < apart.max() < 0.1


@pytest.mark.slow
def test_the_manifest_has_the_int8_network_and_its_similarity(artifacts):
    said = catsdogs.info(artifacts).features
    assert (said.provenance.precision, said.provenance.engine) == ("int8", "openvino")
    graph, weights = (path.read_bytes() for path in reversed(network_in(artifacts)))
    assert said.provenance.network == hashlib.sha256(graph + weights).hexdigest()
    assert said.int8_similarity.images == 26
    assert 0.99 < said.int8_similarity.least < said.int8_similarity.mean < 1
    assert catsdogs.verify(artifacts).problems == ()


@pytest.mark.slow
def test_the_same_images_give_the_same_network_and_rows_interrupted_or_not(folder, whole, tmp_path, keras_backbone):
    def interrupt(step, done, total):
        if step == "computing features" and done == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        catsdogs.extract(
            folder, artifacts=tmp_path / "a", weights=str(keras_backbone), compute=INT8, progress=interrupt
        )
    done = catsdogs.extract(folder, artifacts=tmp_path / "a")
    assert (done.precision, done.computed) == ("int8", 9)
    assert features_of(contents(tmp_path / "a")) == features_of(whole)


@pytest.mark.slow
def test_after_a_kill_the_network_beside_the_shards_computes_the_rest(
    folder, whole, tmp_path, keras_backbone, monkeypatch
):
    options = ("--artifacts", tmp_path / "a", "--weights", keras_backbone, "--precision", "int8")
    with stopped("extract", folder, *options) as run:
        assert end(run, signal.SIGKILL) == (-signal.SIGKILL, "")
    assert not network_in(tmp_path / "a")
    monkeypatch.setitem(sys.modules, "nncf", None)
    done = catsdogs.extract(folder, artifacts=tmp_path / "a", weights=str(keras_backbone))
    assert (done.precision, done.computed) == ("int8", 16)
    assert features_of(contents(tmp_path / "a")) == features_of(whole)


@pytest.mark.slow
def test_images_added_later_use_the_existing_network(
    artifacts, photographs, tmp_path, write_folder, draw, encode, monkeypatch
):
    monkeypatch.setitem(sys.modules, "nncf", None)
    before, network = load_features(artifacts), contents(artifacts / "features")
    more = write_folder(tmp_path / "more", photographs | {"train/cat.77.jpg": encode(draw(77), "JPEG")})
    done = catsdogs.extract(more, artifacts=artifacts)
    assert (done.precision, done.computed, done.int8_similarity.images) == ("int8", 1, 27)
    assert any("cosine to float32" in line for _, line in extraction_lines(done, artifacts))
    now = load_features(artifacts)
    assert now.provenance == before.provenance
    np.testing.assert_array_equal(now.features[now.ids != "cat.77"], before.features)
    assert {path.name: path.read_bytes() for path in network_in(artifacts)}.items() <= network.items()


@pytest.mark.slow
def test_a_view_added_later_uses_the_existing_network(artifacts, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    before = load_features(artifacts)
    done = catsdogs.extract(folder, artifacts=artifacts, compute=ComputeOptions(views=["224", "224m", "288"]))
    assert (done.precision, done.computed) == ("int8", 26)
    now = load_features(artifacts)
    assert now.provenance == before.provenance
    np.testing.assert_array_equal(now.features[:, :2048], before.features)
    assert not np.array_equal(now.features[:, 4096:], before.features)


@pytest.mark.slow
def test_predict_and_evaluate_compute_what_extract_did(artifacts, folder):
    cached, head = load_features(artifacts), load_head(Artifacts(artifacts))
    expected = dict(zip(cached.ids.tolist(), head.classifier.probabilities(cached.features).tolist(), strict=True))
    answers = catsdogs.predict(folder / "train", artifacts=artifacts)
    assert {Path(answer.image).stem: answer.probability for answer in answers} == expected
    probability = np.array([expected[name] for name in cached.ids.tolist()])
    loss = -np.mean(np.log(np.where(cached.labels == 1, probability, 1 - probability)))
    assert catsdogs.evaluate(folder, artifacts=artifacts).scores.log_loss == pytest.approx(loss, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".xml", lambda content: content[:-1]),
        (".bin", lambda content: content[:50] + bytes([content[50] ^ 1]) + content[51:]),
        (".bin", None),
    ],
)
def test_a_damaged_network_is_detected_and_the_same_images_restore_it(suffix, damage, artifacts, folder, whole):
    (path,) = (path for path in network_in(artifacts) if path.suffix == suffix)
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    (problem,) = catsdogs.verify(artifacts).problems
    assert path.name.partition(".")[0] in problem
    assert "run catsdogs extract with the same images" in problem
    with pytest.raises(CatsDogsError, match=r"int8\..*catsdogs extract with the same images"):
        catsdogs.predict(folder / "test/1.jpg", artifacts=artifacts)
    assert catsdogs.extract(folder, artifacts=artifacts).computed == 0
    assert features_of(contents(artifacts)) == features_of(whole)


@pytest.mark.slow
def test_rows_of_two_networks_are_never_mixed(artifacts, photographs, tmp_path, write_folder, draw, encode):
    for path in network_in(artifacts):
        path.unlink()
    others = {
        f"train/{kind}.jpg": encode(draw(50 + n), "JPEG") for n, kind in enumerate(("cat.13", "dog.13", "dog.14"))
    }
    more = write_folder(tmp_path / "more", photographs | others)
    with pytest.raises(CatsDogsError, match=r"26 rows computed by tiny.keras \(.*int8 .*int8 .*would replace them"):
        catsdogs.extract(more, artifacts=artifacts)
    assert not network_in(artifacts)
    assert catsdogs.extract(more, artifacts=artifacts, prune=True).computed == 29
    assert len(network_in(artifacts)) == 2
    assert catsdogs.verify(artifacts).problems == (
        "the quantized network changed after the head was trained. Run catsdogs train to train the head again.",
    )


@pytest.mark.slow
def test_another_precision_removes_the_network_with_the_rows(artifacts, folder):
    with pytest.raises(CatsDogsError, match=r"int8 .*float32"):
        catsdogs.extract(folder, artifacts=artifacts, compute=ComputeOptions(precision="float32"))
    assert len(network_in(artifacts)) == 2
    catsdogs.extract(folder, artifacts=artifacts, compute=ComputeOptions(precision="float32"), prune=True)
    assert not network_in(artifacts)


@pytest.mark.slow
def test_a_network_that_is_inexact_in_int8_is_refused_in_one_line(folder, tmp_path):
    layers = keras().layers
    keras().utils.set_random_seed(0)
    inputs = keras().Input((None, None, 3))
    maps = layers.Conv2D(12, 16, strides=16)(inputs)
    # One channel is so large that the others are smaller than one of 256 steps; the next layer ignores it.
    arrays = keras().Model(inputs, maps)
    kernel = np.random.default_rng(0).normal(0, 0.1, (16, 16, 3, 12))
    kernel[..., 0] *= 1e5
    arrays.set_weights([kernel, np.zeros(12)])
    looks = layers.Conv2D(2048, 1)
    model = keras().Model(inputs, layers.GlobalAveragePooling2D()(looks(layers.ReLU()(maps))))
    kernel = np.random.default_rng(1).normal(0, 0.1, (1, 1, 12, 2048))
    kernel[:, :, 0] = 0
    looks.set_weights([kernel, np.zeros(2048)])
    model.save(tmp_path / "uneven.keras")
    with pytest.raises(
        CatsDogsError, match=r"int8 is too inexact for uneven.keras: .*must be at least 0.99\. Use --precision bfloat16"
    ):
        catsdogs.extract(folder, artifacts=tmp_path / "a", weights=str(tmp_path / "uneven.keras"), compute=INT8)
    assert not (tmp_path / "a").exists()


def test_without_the_extra_the_error_names_what_to_install(folder, tmp_path, tiny_backbone, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(
        CatsDogsError, match=r"int8 needs are not installed: nncf\. Install the extra int8: pip install '\.\[int8\]'"
    ):
        catsdogs.extract(folder, artifacts=tmp_path / "a", weights=str(tiny_backbone), compute=INT8)
    assert not (tmp_path / "a").exists()


def test_other_engines_do_not_compute_in_int8(folder, tmp_path, tiny_backbone):
    how = ComputeOptions(engine="tensorflow", precision="int8")
    with pytest.raises(CatsDogsError, match=r"tensorflow does not support int8\. Use --engine openvino"):
        catsdogs.extract(folder, artifacts=tmp_path / "a", weights=str(tiny_backbone), compute=how)
    assert not (tmp_path / "a").exists()


def test_unreadable_images_cannot_calibrate(tmp_path, tiny_backbone):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/1.jpg").write_bytes(b"no image")
    with pytest.raises(CatsDogsError, match="none of the images is readable"):
        catsdogs.extract(tmp_path / "data", artifacts=tmp_path / "a", weights=str(tiny_backbone), compute=INT8)


PRUNE = """
import sys
import catsdogs
catsdogs.extract(sys.argv[1], artifacts=sys.argv[2], weights=sys.argv[3], prune=True,
                 compute=catsdogs.ComputeOptions(precision="int8"))
"""


@pytest.mark.slow
def test_a_large_image_and_a_backbone_that_reads_images_do_not_deadlock(
    tmp_path, photographs, keras_backbone, write_folder
):
    """Calibration may need the memory reserved for large files while decoding threads hold it."""
    heavy = {"train/cat.0.jpg": photographs["train/cat.0.jpg"].ljust(33 << 20, b"\0")}
    data, artifacts = write_folder(tmp_path / "data", photographs | heavy), tmp_path / "artifacts"
    catsdogs.extract(
        data, artifacts=artifacts, weights=str(keras_backbone), compute=ComputeOptions(precision="float32")
    )
    subprocess.run([sys.executable, "-c", PRUNE, data, artifacts, keras_backbone], check=True, timeout=600)
    assert load_features(artifacts).provenance.precision == "int8"
