"""Features equal those of plain Keras for every form of weights; invalid backbones are refused."""

import io
import json
import logging
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import catsdogs
from catsdogs.backbone import Backbone, Weights, choose_weights, conversion, network, probe_image, quantize
from catsdogs.backbone.frameworks import keras
from catsdogs.backbone.resnet50 import initialise_kernels
from catsdogs.errors import CatsDogsError
from catsdogs.images.decoding import SIZE, decode
from catsdogs.sample import draw

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "kaggle" / "test"

Pixels = NDArray[np.uint8]
Features = NDArray[np.float32]


def of(path: Path) -> Weights:
    return choose_weights(str(path))


@pytest.fixture(scope="module")
def reference() -> Any:
    """Keras' ResNet50 with distinct weights, so that a gamma in place of a beta would be noticed."""
    model = keras().applications.ResNet50(weights=None, include_top=False, pooling="avg")
    initialise_kernels(model, 11)
    random = np.random.default_rng(12)
    for layer in model.layers:
        if isinstance(layer, keras().layers.BatchNormalization):
            near_one, near_zero = (random.uniform(low, low + 0.4, (2, layer.gamma.shape[0])) for low in (0.6, -0.2))
            layer.set_weights([near_one[0], near_zero[0], near_zero[1], near_one[1]])
    return model


@pytest.fixture(scope="module")
def files(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The reference's weights in each format that Keras writes or has written."""
    import h5py

    folder = tmp_path_factory.mktemp("weights")
    topped = keras().applications.ResNet50(weights=None, classes=5)
    for layer, source in zip(topped.layers, reference.layers, strict=False):
        layer.set_weights(source.get_weights())
    topped.save(folder / "top.model.h5")
    topped.save_weights(folder / "top.weights.h5")
    reference.save_weights(folder / "bare_renamed.h5.weights.h5")
    (folder / "bare_renamed.h5.weights.h5").rename(folder / "bare_renamed.h5")
    # Keras 2's save_weights wrote one group of the file of a complete model; Keras publishes such files.
    with h5py.File(folder / "top.model.h5") as whole:
        group = whole["model_weights"]
        for name, layers in (("top.h5", group.attrs["layer_names"]), ("bare.h5", group.attrs["layer_names"][:-1])):
            with h5py.File(folder / name, "w") as file:
                for layer in layers:
                    group.copy(group[layer], file)
                file.attrs["layer_names"] = layers
    os.link(folder / "bare.h5", folder / "bare_of_keras2.weights.h5")
    yield {path.name: path for path in folder.iterdir()}
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=["tensorflow", "openvino"])
def resnet50(request: pytest.FixtureRequest, files: dict[str, Path]) -> Backbone:
    return Backbone(of(files["bare.h5"]), (SIZE,), engine=request.param, precision="float32")


@pytest.fixture(scope="module")
def random_resnet50() -> Backbone:
    return Backbone(choose_weights("random"), (SIZE,), precision="float32")


@pytest.fixture(scope="module")
def drawn() -> Pixels:
    """Eight synthetic images of the demo."""
    pictures = []
    for seed in range(8):
        file = io.BytesIO()
        draw(seed % 2, np.random.default_rng(seed)).save(file, "JPEG", quality=90)
        pictures.append(decode(file.getvalue()))
    return np.stack(pictures)


@pytest.fixture(scope="module")
def photographs() -> Pixels:
    """Eight of Kaggle's photographs, or none if they are not available."""
    paths = sorted(PHOTOGRAPHS.glob("*.jpg"))[:8]
    return np.array([decode(path.read_bytes()) for path in paths], np.uint8).reshape(-1, SIZE, SIZE, 3)


@pytest.fixture(scope="module")
def make() -> Callable[..., Path]:
    """Save a small model that is valid, unless arguments change it."""

    def saved(
        path: Path,
        *,
        shape: tuple[int | None, ...] = (None, None, None, 3),
        input_dtype: str = "float32",
        dtype: str = "float32",
        seed: int = 0,
        strides: int = 32,
        activation: str = "relu",
        width: int = 2048,
        pooled: bool = True,
        change: Callable[[Any], Any] = lambda tensor: tensor,
        spoil: Callable[[list[Any]], list[Any]] | None = None,
        more_inputs: int = 0,
    ) -> Path:
        layers = keras().layers
        keras().utils.set_random_seed(seed)
        inputs = [keras().Input(batch_shape=shape, dtype=input_dtype)]
        inputs += [keras().Input((2,)) for _ in range(more_inputs)]
        kind = {"strides": strides, "activation": activation, "dtype": dtype}
        maps = layers.Conv2D(width, 8, **kind)(change(inputs[0]))
        outputs = layers.GlobalAveragePooling2D(dtype=dtype)(maps) if pooled else maps
        model = keras().Model(inputs if more_inputs else inputs[0], outputs)
        if spoil:
            model.set_weights(spoil(model.get_weights()))
        model.save(path)
        return path

    return saved


def run_python(program: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


@pytest.fixture(scope="module")
def computed(reference: Any, resnet50: Backbone, drawn: Pixels, photographs: Pixels) -> tuple[Features, ...]:
    """Features of synthetic images and photographs: by Keras, by the backbone, and with swapped channels."""
    pixels = np.concatenate([drawn, photographs])
    inputs = keras().applications.resnet50.preprocess_input(pixels.astype(np.float32))
    expected = reference.predict(inputs, verbose=0)
    return expected, resnet50.features(pixels), resnet50.features(pixels[..., ::-1])


def cosines(one: Features, other: Features) -> NDArray[np.float64]:
    """Return the cosine of corresponding rows, before and after the mean row of `other` is subtracted."""
    mean = other.mean(axis=0, dtype=np.float64)
    pairs = ((one.astype(np.float64) - off, other.astype(np.float64) - off) for off in (0, mean))
    return np.stack([(a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1) for a, b in pairs])


class TestFeatures:
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["photographs", "drawn"])
    def test_features_equal_keras_and_differ_with_swapped_channels(
        self, kind: str, computed: tuple[Features, ...], photographs: Pixels
    ) -> None:
        if kind == "photographs" and not len(photographs):
            pytest.skip(f"there are no photographs at {PHOTOGRAPHS}")
        rows = slice(8) if kind == "drawn" else slice(8, None)
        expected, ours, swapped = (features[rows] for features in computed)
        assert cosines(ours, expected).shape == (2, 8)
        assert cosines(ours, expected).min() >= 0.99999
        assert cosines(swapped, expected).max() < 0.99999

    def test_the_first_features_of_the_probe_image_do_not_change(self, random_resnet50: Backbone) -> None:
        (features,) = random_resnet50.features(probe_image(SIZE)[np.newaxis])
        # Other machines sum in another order, which changes about a hundredth of this tolerance of 1e-4.
        expected = [6219.486, 13676.773, 888.7395, 26444.107, 21281.822, 43185.066, 68720.86, 0]
        np.testing.assert_allclose(features[:8], expected, rtol=1e-4)

    @pytest.mark.slow
    def test_a_row_depends_on_neither_its_batch_nor_its_position(self, resnet50: Backbone, drawn: Pixels) -> None:
        count = max(8, resnet50.batch_size)
        places = [3, count - 1]
        batch = np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
        batch[places] = drawn[0]
        (alone,) = resnet50.features(drawn[:1])
        rows = resnet50.features(batch)[places]
        if resnet50.engine == "tensorflow":  # on some processors its sums are ordered by the place in the batch
            np.testing.assert_allclose(rows, [alone, alone], rtol=1e-5, atol=1e-6 * alone.max())
        else:
            assert {row.tobytes() for row in rows} == {alone.tobytes()}

    def test_maps_are_averaged_as_a_pooled_model_does(
        self, tmp_path: Path, drawn: Pixels, make: Callable[..., Path]
    ) -> None:
        maps, pooled = make(tmp_path / "maps.keras", pooled=False), make(tmp_path / "pooled.keras")
        averaged, expected = (Backbone(of(path), (SIZE,)).features(drawn) for path in (maps, pooled))
        assert averaged.shape == (8, 2048)
        assert averaged.dtype == np.float32
        np.testing.assert_array_equal(averaged, expected)

    def test_a_model_of_mixed_precision_gives_float32(self, tmp_path: Path, make: Callable[..., Path]) -> None:
        features = Backbone(of(make(tmp_path / "mixed.keras", dtype="mixed_bfloat16")), (SIZE,)).features(
            probe_image(SIZE)[np.newaxis]
        )
        assert features.dtype == np.float32

    def test_loading_is_reported_and_the_loaded_backbone_is_logged(
        self, keras_backbone: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        told: list[tuple[str, int, int]] = []
        with caplog.at_level(logging.INFO, "catsdogs"):
            loaded = Backbone(of(keras_backbone), (SIZE,), progress=lambda *heard: told.append(heard))
        assert told == [("loading the backbone", 0, 0)]
        assert caplog.messages == [
            f"loaded the backbone tiny.keras: engine {loaded.engine}, precision {loaded.precision}, "
            f"device {loaded.device}, SHA-256 {loaded.sha256}"
        ]

    @pytest.mark.usefixtures("empty_model_cache")
    def test_an_engine_that_disagrees_with_keras_is_stopped_at_the_start(
        self, keras_backbone: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        swapped = network.MEANS_BGR[::-1]
        for module in (network, conversion):
            monkeypatch.setattr(module, "MEANS_BGR", swapped)
        with pytest.raises(CatsDogsError, match=r"features of tiny\.keras differ from those of plain Keras"):
            Backbone(of(keras_backbone), (SIZE,))


class TestIdentity:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "name", ["top.h5", "top.weights.h5", "top.model.h5", "bare_of_keras2.weights.h5", "bare_renamed.h5"]
    )
    def test_identity_depends_on_the_weights_not_on_the_file_format(
        self, name: str, files: dict[str, Path], resnet50: Backbone, reference: Any
    ) -> None:
        model, sha256 = network.build(of(files[name]), SIZE)
        assert sha256 == resnet50.sha256
        small = probe_image(64)[np.newaxis]
        np.testing.assert_array_equal(
            network.reference_features(model, small), network.reference_features(reference, small)
        )

    @pytest.mark.slow
    def test_identity_is_the_same_in_another_process(self, keras_backbone: Path, random_resnet50: Backbone) -> None:
        program = (
            "import sys; from catsdogs.backbone import Backbone, choose_weights, network\n"
            "print(Backbone(choose_weights(sys.argv[1]), [224]).sha256)\n"
            "print(network.build(choose_weights('random'), 224)[1])"
        )
        keras().layers.Conv2D(1, 1)  # after this, Keras numbers its names differently from the other process
        ended = run_python(program, str(keras_backbone), PYTHONHASHSEED="7")
        _, tiny = network.build(of(keras_backbone), SIZE)
        assert ended.stdout.split() == [tiny, random_resnet50.sha256]

    def test_identity_is_kept_when_a_network_is_rebuilt_and_saved(
        self, tmp_path: Path, make: Callable[..., Path]
    ) -> None:
        first, again = (network.build(of(make(tmp_path / f"{name}.keras")), SIZE)[1] for name in ("a", "b"))
        assert first == again

    @pytest.mark.parametrize("change", [{"seed": 1}, {"activation": "elu"}, {"pooled": False}, {"strides": 16}])
    def test_another_network_has_another_identity(
        self, change: dict[str, Any], tmp_path: Path, make: Callable[..., Path]
    ) -> None:
        paths = make(tmp_path / "a.keras"), make(tmp_path / "b.keras", **change)
        first, other = (network.build(of(path), SIZE)[1] for path in paths)
        assert first != other

    def test_random_weights_follow_from_their_seed(self, keras_backbone: Path) -> None:
        model, _ = network.build(of(keras_backbone), SIZE)

        def kernels(seed: int) -> bytes:
            initialise_kernels(model, seed)
            return b"".join(array.tobytes() for array in model.get_weights())

        assert kernels(0) == kernels(0) != kernels(1)


def _text(path: Path, make: Callable[..., Path]) -> None:
    path.write_text("these are no weights")


def _nothing(path: Path, make: Callable[..., Path]) -> None:
    path.touch()


@cache
def mobilenet() -> Any:
    return keras().applications.MobileNet(weights=None, alpha=0.25, include_top=False, input_shape=(None, None, 3))


def _mobilenet(path: Path, make: Callable[..., Path]) -> None:
    mobilenet().save_weights(path) if path.name.endswith(".weights.h5") else mobilenet().save(path)


def _cut(path: Path, make: Callable[..., Path]) -> None:
    _mobilenet(path, make)
    path.write_bytes(path.read_bytes()[:-1000])


def _zip_of_text(path: Path, make: Callable[..., Path]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")


def _lambda(path: Path, make: Callable[..., Path]) -> None:
    make(path, change=keras().layers.Lambda(lambda tensor: tensor * 2))


def _own_class(path: Path, make: Callable[..., Path]) -> None:
    own = type("Own", (keras().layers.Layer,), {"call": lambda self, tensor: tensor})
    make(path, change=own())


def _unbuilt(path: Path, make: Callable[..., Path]) -> None:
    make(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    layers = [layer for layer in config["config"]["layers"] if layer["class_name"] != "InputLayer"]
    config |= {"class_name": "Sequential", "module": "keras", "registered_name": None, "build_config": None}
    members["config.json"] = json.dumps(config | {"config": {"name": "s", "layers": layers}}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _made(**how: Any) -> Callable[[Path, Callable[..., Path]], None]:
    return lambda path, make: make(path, **how)


def _first_is(value: float) -> Callable[[list[Any]], list[Any]]:
    def spoiled(arrays: list[Any]) -> list[Any]:
        arrays[0][0, 0, 0, 0] = value
        return arrays

    return spoiled


REFUSALS = {
    "text": ("text.h5", _text, "is not an HDF5 file"),
    "text in Keras 3's format": ("text.weights.h5", _text, "is not an HDF5 file"),
    "empty": ("empty.h5", _nothing, "is not an HDF5 file"),
    "cut short": ("cut.h5", _cut, "truncated"),
    "another architecture": ("other.h5", _mobilenet, "expected 106 layers, found 54"),
    "another architecture in Keras 3's format": ("other.weights.h5", _mobilenet, "objects could not be loaded"),
    "no zip": ("text.keras", _text, "File is not a zip file"),
    "empty model": ("empty.keras", _nothing, "File is not a zip file"),
    "another zip": ("zip.keras", _zip_of_text, "no item named 'config.json'"),
    "code": ("code.keras", _lambda, "contains custom code, such as a Lambda layer"),
    "a class of one's own": (
        "own.keras",
        _own_class,
        "cannot be loaded as a Keras model: Could not locate class 'Own'",
    ),
    "no input": ("unbuilt.keras", _unbuilt, "has no defined inputs"),
    "other width": ("wide.keras", _made(width=1000), r"must have an output of 2048 features, but has \[None, 1000\]"),
    "one channel": ("grey.keras", _made(shape=(None, None, None, 1)), "must take RGB images"),
    "two inputs": ("two.keras", _made(more_inputs=1), r"float32\[None, None, None, 3\] and float32\[None, 2\]"),
    "bytes": ("bytes.keras", _made(input_dtype="uint8"), "as floats, but takes uint8"),
    "another size": ("96.keras", _made(shape=(None, 96, 96, 3)), r"96, 96, 3\], not batches of 224 x 224 pixels"),
    "a number of images": (
        "eight.keras",
        _made(shape=(8, 224, 224, 3)),
        r"takes only inputs of shape \[8, 224, 224, 3\]",
    ),
    "a size within": (
        "within.keras",
        _made(change=lambda t: keras().ops.reshape(t, (-1, 96, 96, 3))),
        "fails on an image of 224 x 224",
    ),
    "NaN": ("nan.keras", _made(spoil=_first_is(np.nan)), "weights that are NaN or infinite"),
    "infinite": ("inf.keras", _made(spoil=_first_is(-np.inf)), "weights that are NaN or infinite"),
    "too large": ("large.keras", _made(spoil=lambda arrays: [array + 3e38 for array in arrays]), "not finite"),
    "zeros": ("zeros.keras", _made(spoil=lambda arrays: [array * 0 for array in arrays]), "features that are all zero"),
}

SLOW_REFUSALS = {"cut short", "another architecture", "another architecture in Keras 3's format"}
"""They build a MobileNet."""


@pytest.mark.filterwarnings("ignore::UserWarning:keras")  # Keras warns of layers it skips before it refuses a file
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow) if case in SLOW_REFUSALS else case for case in REFUSALS]
)
def test_an_invalid_backbone_is_refused_and_nothing_is_written(
    case: str,
    tmp_path: Path,
    make: Callable[..., Path],
    pictures: dict[str, bytes],
    write_folder: Callable[..., Path],
) -> None:
    name, write, finding = REFUSALS[case]
    write(tmp_path / name, make)
    data = write_folder(tmp_path / "data", pictures)
    with pytest.raises(CatsDogsError, match=finding) as refusal:
        catsdogs.extract(data, artifacts=tmp_path / "artifacts", weights=str(tmp_path / name))
    assert name in refusal.value.message
    assert refusal.value.hint
    assert "\n" not in refusal.value.message + refusal.value.hint
    assert not (tmp_path / "artifacts").exists()


class TestProcess:
    """State of the process is not changed."""

    def test_loading_in_a_thread_does_not_redirect_standard_error(
        self, keras_backbone: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        written = 0
        with ThreadPoolExecutor() as threads:
            loading = threads.submit(Backbone, of(keras_backbone), (64,), engine="tensorflow")
            while not loading.done():
                written += os.write(2, b"mine\n")
                time.sleep(0.001)
        assert capfd.readouterr().err.count("mine\n") * len(b"mine\n") == written > 0

    @pytest.mark.slow
    def test_quantizing_in_a_thread_does_not_redirect_standard_output(
        self, keras_backbone: Path, drawn: Pixels, capfd: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("nncf")
        model, stdout, written = Backbone(of(keras_backbone), (SIZE,)).model, sys.stdout, ""
        with ThreadPoolExecutor() as threads:
            quantizing = threads.submit(quantize, model, drawn)
            while not quantizing.done():
                written += "mine\n"
                print("mine")
                time.sleep(0.001)
        assert sys.stdout is stdout
        assert capfd.readouterr().out == written > ""

    def test_another_backend_of_keras_is_refused_in_one_line(self) -> None:
        ended = run_python("from catsdogs.backbone.frameworks import keras\nkeras()", KERAS_BACKEND="torch")
        assert "Keras cannot be imported with its torch backend" in ended.stderr.splitlines()[-1]
