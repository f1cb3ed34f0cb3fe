"""Every engine gives the same features within its precision, in every batch; failures of engines are handled."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest

import catsdogs
from catsdogs import CatsDogsError, ComputeOptions, load_features
from catsdogs.backbone import Backbone, choose_weights, engines, network, probe_image, tensorflow
from catsdogs.backbone import backbone as backbone_module
from catsdogs.backbone.folding import fold
from catsdogs.backbone.frameworks import keras
from catsdogs.backbone.hardware import cpu_supports
from catsdogs.backbone.network import reference_features
from catsdogs.commands.extract import extract


@pytest.fixture
def folder(tmp_path, pictures, write_folder):
    return write_folder(tmp_path / "data", pictures)


@pytest.fixture(scope="module")
def normed():
    """A network with every kind of batch normalisation that folds, and some that do not; weights are distinct."""
    layers = keras().layers
    inputs = keras().Input((None, None, 3))
    maps = layers.Conv2D(8, 3, strides=2, use_bias=False)(inputs)
    maps = layers.ReLU()(layers.BatchNormalization()(maps))
    maps = layers.BatchNormalization(scale=False)(layers.DepthwiseConv2D(3, depth_multiplier=2)(maps))
    seen_twice = layers.Conv2D(16, 1)(maps)
    maps = layers.Add()([layers.BatchNormalization(center=False)(seen_twice), seen_twice])
    maps = layers.BatchNormalization()(layers.Conv2D(16, 3, activation="relu")(maps))
    model = keras().Model(inputs, layers.GlobalAveragePooling2D()(maps))
    random = np.random.default_rng(3)
    model.set_weights([random.uniform(0.2, 0.9, array.shape) for array in model.get_weights()])
    return model


def test_folding_changes_only_rounding_and_keeps_other_layers(normed):
    pictures = np.random.default_rng(0).uniform(-100, 100, (2, 64, 64, 3)).astype(np.float32)
    folded = fold(normed, "float32")
    np.testing.assert_allclose(folded.predict(pictures, verbose=0), normed.predict(pictures, verbose=0), rtol=1e-5)
    kinds = [type(layer).__name__ for layer in folded.layers]
    assert (kinds.count("BatchNormalization"), kinds.count("Conv2D")) == (2, 3)


def test_a_sequential_model_is_folded():
    layers = keras().layers
    model = keras().Sequential([keras().Input((32, 32, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()])
    picture = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    folded = fold(model, "float32")
    assert [type(layer).__name__ for layer in folded.layers] == ["InputLayer", "Conv2D"]
    np.testing.assert_allclose(folded.predict(picture, verbose=0), model.predict(picture, verbose=0), atol=1e-6)


def test_a_custom_layer_keeps_its_kernel_initializer():
    class Projection(keras().Layer):
        """A projection by a random matrix that is not a weight."""

        def __init__(self, kernel_initializer, **named):
            super().__init__(**named)
            self.kernel_initializer = keras().initializers.get(kernel_initializer)

        def call(self, inputs):
            return keras().ops.matmul(inputs, self.kernel_initializer((inputs.shape[-1], 4)))

        def get_config(self):
            drawn = keras().initializers.serialize(self.kernel_initializer)
            return super().get_config() | {"kernel_initializer": drawn}

    inputs = keras().Input((8,))
    hidden = keras().layers.Dense(6)(inputs)
    model = keras().Model(inputs, Projection(keras().initializers.GlorotUniform(seed=3))(hidden))
    rows = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    wanted = model.predict_on_batch(rows)
    assert np.abs(wanted).max() > 0
    np.testing.assert_allclose(fold(model, "float32").predict_on_batch(rows), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("engine", "saved_in"),
    [
        ("openvino", "float32"),
        pytest.param("openvino", "mixed_float16", marks=pytest.mark.slow),
        pytest.param("tensorflow", "float32", marks=pytest.mark.slow),
        pytest.param("tensorflow", "mixed_float16", marks=pytest.mark.slow),
    ],
)
def test_a_network_may_contain_operations_besides_layers(engine, saved_in, tmp_path):
    layers, ops = keras().layers, keras().ops
    inputs = keras().Input((None, None, 3))
    maps = layers.Conv2D(8, 3, use_bias=False, dtype=saved_in)(inputs / 127.5 - 0.1)
    maps = layers.BatchNormalization(dtype=saved_in)(ops.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0))))
    maps = layers.BatchNormalization(dtype=saved_in)(layers.Conv2D(2048, 7, strides=7, dtype=saved_in)(ops.relu(maps)))
    keras().Model(inputs, layers.GlobalAveragePooling2D()(maps)).save(tmp_path / "operations.keras")
    for precision in ("float32", "auto"):
        backbone = Backbone(
            choose_weights(str(tmp_path / "operations.keras")), (64,), engine=engine, precision=precision
        )
        pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
        plain = reference_features(backbone.model, pixels)
        apart = np.linalg.norm(backbone.features(pixels) - plain, axis=1) / np.linalg.norm(plain, axis=1)
        assert apart.max() < (1e-5 if backbone.precision == "float32" else 0.02)


@pytest.mark.parametrize(
    ("engine", "precision"),
    [
        ("tensorflow", "float32"),
        ("openvino", "bfloat16"),
        pytest.param("tensorflow", "bfloat16", marks=pytest.mark.slow),
        pytest.param("openvino", "float32", marks=pytest.mark.slow),
    ],
)
def test_a_row_is_close_to_keras_and_independent_of_its_batch(engine, precision, keras_backbone):
    if precision == "bfloat16" and not cpu_supports("bfloat16"):
        pytest.skip("this CPU does not support bfloat16")
    weights = choose_weights(str(keras_backbone))
    backbone = Backbone(weights, (224, 288), engine=engine, precision=precision)
    assert (backbone.engine, backbone.precision) == (engine, precision)
    plain = Backbone(weights, (224, 288), engine="tensorflow", precision="float32")
    for size in (224, 288):
        pixels = np.random.default_rng(0).integers(0, 256, (backbone.batch_size + 3, size, size, 3), np.uint8)
        pixels[[0, -1]] = probe_image(size)
        features = backbone.features(pixels)
        alone = backbone.features(pixels[:1])
        assert features[0].tobytes() == features[-1].tobytes() == alone[0].tobytes()
        apart = np.linalg.norm(features - plain.features(pixels), axis=1) / np.linalg.norm(features, axis=1)
        assert apart.max() < (1e-5 if precision == "float32" else 0.02)


def test_auto_selects_the_fastest_engine_and_the_manifest_names_it(folder, tmp_path, keras_backbone):
    done = extract(folder, artifacts=tmp_path / "a", weights=str(keras_backbone))
    assert done.engine == ("openvino" if find_spec("openvino") else "tensorflow")
    assert done.precision == ("bfloat16" if cpu_supports("bfloat16") else "float32")
    made = json.loads((tmp_path / "a/features/manifest.json").read_text())["provenance"]
    assert (made["engine"], made["precision"]) == (done.engine, done.precision)
    assert made["versions"].keys() >= {done.engine, "pillow", "libjpeg_turbo", "webp", "zlib"}


@pytest.fixture(scope="module")
def fine(tmp_path_factory):
    """Weights of a network that is inexact in 16 bits, because it computes differences of large numbers."""
    layers, path = keras().layers, tmp_path_factory.mktemp("fine") / "fine.keras"
    inputs = keras().Input((None, None, 3))
    maps = layers.Conv2D(2048, 16, strides=16, kernel_initializer="ones", bias_initializer="zeros")(inputs)
    shifted = layers.Subtract()([maps, layers.Conv2D(2048, 16, strides=16, kernel_initializer="ones")(inputs)])
    model = keras().Model(inputs, layers.GlobalAveragePooling2D()(shifted))
    arrays = model.get_weights()
    arrays[2] = arrays[2] * (1 + 1e-4 * np.random.default_rng(0).normal(size=arrays[2].shape))
    model.set_weights(arrays)
    model.save(path)
    return choose_weights(str(path))


def test_a_network_that_is_inexact_in_16_bits_is_computed_in_32(fine):
    assert Backbone(fine, (224,), engine="tensorflow").precision == "float32"
    with pytest.raises(CatsDogsError, match=r"differ from those of plain Keras.*Use --precision float32"):
        Backbone(fine, (224,), engine="tensorflow", precision="bfloat16")


def test_falling_back_to_32_bits_repeats_no_work(fine, monkeypatch):
    built, references = [], []

    class Counting(tensorflow.TensorFlowEngine):
        """TensorFlow on a CPU that supports bfloat16."""

        def __init__(self, model, shape, precision):
            built.append((shape[1], precision))
            super().__init__(model, shape, precision)

        native_precision = staticmethod(lambda: "bfloat16")

    def counted(model, pixels):
        references.append(pixels.shape[1])
        return reference_features(model, pixels)

    monkeypatch.setattr(engines, "_engine_class", lambda name: Counting)
    monkeypatch.setattr(network, "reference_features", counted)
    Backbone(fine, (224, 160), engine="tensorflow")
    assert references == [224, 160]
    assert built == [(224, "bfloat16"), (224, "float32"), (160, "float32")]


def test_features_of_two_engines_or_precisions_are_never_mixed(folder, tmp_path, keras_backbone, draw, encode):
    def run(**how):
        return extract(folder, artifacts=tmp_path / "a", weights=str(keras_backbone), compute=ComputeOptions(**how))

    assert run(engine="tensorflow", precision="float32").computed == 12
    (folder / "train/cat.77.jpg").write_bytes(encode(draw(77), "JPEG"))
    before = (tmp_path / "a/features/manifest.json").read_bytes()
    with pytest.raises(CatsDogsError, match=r"12 rows computed by tiny.keras .*float32, tensorflow.*float32, openvino"):
        run(engine="openvino", precision="float32")
    assert (tmp_path / "a/features/manifest.json").read_bytes() == before
    done = run()  # by default it continues with the engine and precision of the cache
    assert (done.computed, done.engine, done.precision) == (1, "tensorflow", "float32")


def test_too_little_memory_halves_the_batch_and_warns_once(keras_backbone, monkeypatch, caplog, folder, tmp_path):
    import tensorflow as tf

    compute = tensorflow._compute

    def with_memory_for_five(device, graph, pixels):
        if len(pixels) > 5:
            raise tf.errors.ResourceExhaustedError(None, None, f"OOM when allocating for {len(pixels)} images")
        return compute(device, graph, pixels)

    monkeypatch.setattr(tensorflow, "_compute", with_memory_for_five)
    backbone = Backbone(choose_weights(str(keras_backbone)), (224,), engine="tensorflow", precision="float32")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 224, 224, 3), np.uint8)
    monkeypatch.undo()
    expected = Backbone(choose_weights(str(keras_backbone)), (224,), engine="tensorflow", precision="float32")
    np.testing.assert_allclose(backbone.features(pixels), expected.features(pixels), rtol=1e-5)
    assert backbone.batch_reduced
    assert not expected.batch_reduced
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "out of memory on the cpu with a batch of 32 images: the batch size is reduced"
    ]


def test_threads_never_combine_a_batch_size_with_another_engine(keras_backbone, monkeypatch):
    built = []

    class Shrinking:
        """Keras as an engine, on a device whose free memory shrinks."""

        name, batch_sizes, streams, can_be_kept, room = "tensorflow", {"cpu": 32}, 8, False, 256
        device, native_precision = staticmethod(lambda: "cpu"), staticmethod(lambda: "float32")

        def __init__(self, model, shape, precision):
            built.append(shape[0])
            self._model, self._shape = model, shape

        def __call__(self, pixels):
            if pixels.shape != self._shape:
                raise ValueError(f"{pixels.shape} for an engine of {self._shape}")
            if len(pixels) > Shrinking.room:
                raise MemoryError
            return reference_features(self._model, pixels)

    def slowly(frame, event, argument):
        """Let other threads run between any two lines."""
        if frame.f_code.co_filename != backbone_module.__file__:
            return None
        time.sleep(0.001)
        return slowly

    monkeypatch.setattr(engines, "_engine_class", lambda name: Shrinking)
    backbone = Backbone(choose_weights(str(keras_backbone)), (64,), engine="tensorflow")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    expected = reference_features(backbone.model, pixels)
    Shrinking.room = 4

    def one_after_another(number):
        time.sleep(number / 2000)
        return backbone.features(pixels)

    threading.settrace(slowly)
    try:
        with ThreadPoolExecutor(64) as threads:
            computed = list(threads.map(one_after_another, range(64)))
    finally:
        threading.settrace(None)
    for features in computed:
        np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
    assert built == [256, 128, 64, 32, 16, 8, 4]


def test_too_little_memory_for_one_image_is_reported_in_one_line(keras_backbone, monkeypatch):
    def nothing(self, pixels):
        raise MemoryError

    monkeypatch.setattr(tensorflow.TensorFlowEngine, "__call__", nothing)
    with pytest.raises(CatsDogsError, match="has too little memory for one image of 224 x 224"):
        Backbone(choose_weights(str(keras_backbone)), (224,), engine="tensorflow")


@pytest.mark.usefixtures("empty_model_cache")
def test_ctrl_c_during_conversion_is_not_reported_as_a_weights_error(keras_backbone, monkeypatch):
    iterating = pytest.importorskip("openvino.frontend.tensorflow.graph_iterator", exc_type=ImportError)

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(iterating.GraphIteratorTFGraph, "is_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Backbone(choose_weights(str(keras_backbone)), (224,), engine="openvino")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_openvino_and_nncf_send_no_telemetry_and_print_nothing(precision, folder, tmp_path, keras_backbone):
    if precision == "int8" and find_spec("nncf") is None:
        pytest.skip("nncf is not installed")
    program = (
        "import sys, catsdogs, openvino_telemetry.main as main\n"
        "main.Telemetry.init = main.Telemetry.send_event = lambda *given, **named: print(given, named, flush=True)\n"
        "how = catsdogs.ComputeOptions(engine='openvino', precision=sys.argv[4])\n"
        "catsdogs.extract(sys.argv[1], artifacts=sys.argv[2], weights=sys.argv[3], compute=how)\n"
        "assert 'openvino' in sys.modules\n"
    )
    command = [sys.executable, "-c", program, str(folder), str(tmp_path / "a"), str(keras_backbone), precision]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    # TensorFlow logs at import before it reads the log level; and there are too few images to train on.
    expected = "WARNING: All log messages before absl|I0000 |no head can be trained"
    assert all(re.match(expected, line) for line in ended.stderr.splitlines()), ended.stderr


@pytest.mark.parametrize("engine", ["jax", "torch"])
def test_without_tensorflow_another_backend_of_keras_computes_the_same(
    engine, folder, tmp_path, keras_backbone, monkeypatch
):
    if find_spec(engine) is None:
        pytest.skip(f"{engine} is not installed")
    expected = extract(
        folder,
        artifacts=tmp_path / "a",
        weights=str(keras_backbone),
        compute=ComputeOptions(engine="tensorflow", precision="float32"),
    )
    program = (
        "import sys; sys.modules['tensorflow'] = sys.modules['openvino'] = None\n"
        "from catsdogs.cli import main; sys.argv[1:] = sys.argv[1:]; main()"
    )
    command = ["extract", str(folder), "--artifacts", str(tmp_path / "b"), "--weights", str(keras_backbone)]
    ended = subprocess.run(
        [sys.executable, "-c", program, *command],
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": engine},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert f"engine {engine}, precision float32" in ended.stdout
    for split in expected.images:
        ours, theirs = (load_features(tmp_path / name, split=split).features for name in ("a", "b"))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(ours).max())


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"engine": "onnx"}, "there is no engine onnx. Set --engine to one of auto, tensorflow"),
        ({"precision": "float8"}, "there is no precision float8. Set --precision to one of auto, float32"),
        ({"views": ["225"]}, "'225' is not a view"),
        ({"views": ["544"]}, "'544' is not a view"),
        ({"views": ["224M"]}, "'224M' is not a view"),
        ({"views": []}, "no views are given"),
    ],
)
def test_invalid_compute_options_are_refused_in_one_line(how, message, folder, tmp_path):
    with pytest.raises(CatsDogsError, match=message):
        catsdogs.extract(folder, artifacts=tmp_path / "a", weights="random", compute=ComputeOptions(**how))
    assert not (tmp_path / "a").exists()


FIRST_USE = """
import sys, threading
import numpy as np
from catsdogs.backbone import Backbone, choose_weights

backbone, together = Backbone(choose_weights(sys.argv[1]), (224,), engine="openvino"), threading.Barrier(4)

def compute():
    together.wait()
    backbone.features(np.zeros((1, 224, 224, 3), np.uint8))

threads = [threading.Thread(target=compute, daemon=True) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(60)
sys.exit(any(thread.is_alive() for thread in threads))
"""


@pytest.mark.slow
def test_threads_that_compute_first_at_the_same_time_do_not_wait_forever(keras_backbone):
    Backbone(choose_weights(str(keras_backbone)), (224,), engine="openvino")  # from now on it is loaded, not built
    for _ in range(10):  # without the lock a third of them never ended
        subprocess.run([sys.executable, "-c", FIRST_USE, str(keras_backbone)], check=True, timeout=600)
