"""Build the frozen network as a Keras model, load its weights, and identify it.

The model takes what ResNet50 takes, ``float32[n, h, w, 3]`` BGR with the channel means off, and gives
``float32[n, 2048]``.
"""

import hashlib
import json
import math
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError
from ..progress import Progress
from .frameworks import keras
from .imagenet import fetch_imagenet
from .weights import Weights

N_FEATURES = 2048
"""Features of one view of one image: the channels of ResNet50's last layer, averaged."""

MEANS_BGR = (103.939, 116.779, 123.68)
"""Mean of each channel over ImageNet, which ResNet50's first weights expect to be off
(keras/src/applications/imagenet_utils.py, mode "caffe")."""

_FREE_BYTES, _MAX_EXPANSION = 64 << 20, 8
"""Bytes of weights that a model may declare whatever its file holds, and for each byte of its file: a weight takes 4,
and may have been stored as 2 and compressed."""

_KERNEL_INITIALIZERS = ("kernel_initializer", "depthwise_initializer", "pointwise_initializer")
"""The entries of a layer's configuration that say how its kernels are initialised."""

_RESNET50 = "keras.applications.ResNet50, include_top=False, pooling=avg"
_FITTING = "It must hold the weights of Keras' ResNet50 (with or without top), or be a .keras model of 2048 features"


def build(weights: Weights, size: int, *, progress: Progress | None = None) -> tuple[Any, str]:
    """Build the network.

    Parameters
    ----------
    weights : Weights
    size : int
        Side of the images in pixels.
    progress : callable, optional
        Told how far a download is.

    Returns
    -------
    model : keras.Model
        Frozen.
    sha256 : str
        Identity: SHA-256 of configuration and weights, the arrays in layer order.

    Raises
    ------
    CatsDogsError
        The weights cannot be had, or do not fit.
    """
    config = _RESNET50
    if weights.seed is not None:
        model = _resnet50()
        _set_random_weights(model, weights.seed)
    elif weights.path is not None and weights.path.suffix == ".keras":
        model, config = _load_model_file(weights.path, size)
    else:
        model = _load_weights_file(weights.path or fetch_imagenet(progress=progress))
    model.trainable = False
    identity = hashlib.sha256(config.encode())
    for variable in model.weights:
        array = to_numpy(variable)
        if not np.isfinite(array).all():
            raise CatsDogsError(
                f"{weights.path or weights.name} holds weights that are NaN or infinite",
                "The file, or the training that made it, is at fault: give other weights",
            )
        identity.update(f"{array.dtype}{array.shape}".encode())
        identity.update(array.tobytes())
    return _in_float32(model), identity.hexdigest()


def _resnet50(classes: int | None = None) -> Any:
    """Build the architecture, its kernels zeros; with `classes`, through the last layer of its top."""
    with _without_weights():
        model = keras().applications.ResNet50(
            weights=None,
            input_shape=(None, None, 3) if classes is None else (224, 224, 3),
            include_top=classes is not None,
            pooling="avg" if classes is None else None,
            classes=classes or 1000,
        )
    return keras().models.clone_model(
        model, clone_function=lambda layer: type(layer).from_config(zero_init_config(layer))
    )


def zero_init_config(layer: Any) -> dict[str, Any]:
    """Return the layer's configuration with zeros as initial kernels, if it is one of Keras' own layers.

    The kernels are replaced anyway, and JAX takes seconds to draw some first, as it compiles that for each shape.
    """
    config: dict[str, Any] = layer.get_config()
    if not type(layer).__module__.startswith("keras."):  # what somebody else's layer does with its own is not known
        return config
    return config | {name: "zeros" for name in _KERNEL_INITIALIZERS if name in config}


def _set_random_weights(model: Any, seed: int) -> None:
    """Draw every kernel anew by He's rule (He et al. 2015, arXiv:1502.01852), the same on every machine."""
    for position, layer in enumerate(model.layers):
        if hasattr(layer, "kernel"):
            kernel, *bias = layer.get_weights()
            generator = np.random.default_rng([seed, position])
            deviation = np.sqrt(2 / np.prod(kernel.shape[:-1]))
            layer.set_weights([generator.normal(0, deviation, kernel.shape).astype(np.float32), *bias])


def _load_weights_file(path: Path) -> Any:
    """Load arrays, and nothing else, even where the file holds a whole model.

    Keras goes by the name, ".h5" or ".weights.h5", as to which of its two formats a file is in; Keras 2 wrote the
    older one under both. So it gets to see the file under a name that is right.
    """
    import h5py

    if not h5py.is_hdf5(path):
        raise CatsDogsError(f"{path} is no HDF5 file, or cannot be read", _FITTING)
    try:
        with h5py.File(path, "r") as file:
            older = any(name.startswith("layer_names") for name in file.attrs) or "model_weights" in file
            # The older format must be taken whole, of the newer what the architecture has a place for.
            classes = _count_classes(file) if older else None
        model = _resnet50(classes)
        with tempfile.TemporaryDirectory() as folder, _ignore_warnings():
            named = Path(folder, "resnet50.h5" if older else "resnet50.weights.h5")
            named.symlink_to(path.resolve())
            model.load_weights(named)
    except Exception as error:
        raise CatsDogsError(
            f"{path} holds no weights of Keras' ResNet50: {summarize_error(error)}", _FITTING
        ) from error
    if classes is None:
        return model
    bare = _resnet50()
    for layer, loaded in zip(bare.layers, model.layers, strict=False):
        layer.set_weights(loaded.get_weights())
    return bare


def _count_classes(file: Any) -> int | None:
    """Return how many classes the top in a weights file has: its kernel is ResNet50's only matrix; None without."""
    found: list[int] = []

    def collect(_: str, item: Any) -> None:
        shape: tuple[int, ...] = getattr(item, "shape", ())
        if len(shape) == 2 and shape[0] == N_FEATURES:
            found.append(shape[1])

    file.visititems(collect)
    return found[0] if found else None


def _load_model_file(path: Path, size: int) -> tuple[Any, str]:
    """Load a whole model in Keras' safe mode, and its configuration in one spelling."""
    try:
        with zipfile.ZipFile(path) as archive:
            saved = json.loads(archive.read("config.json"))
        config = json.dumps(_normalized_config(saved["config"]), sort_keys=True)
        with _ignore_warnings(), _safe_mode():
            _check_declared_weights(path, saved)
            model = keras().saving.load_model(path, compile=False, safe_mode=True)
        _check_signature(path, model.inputs, model.outputs, size)
    except CatsDogsError:
        raise
    except Exception as error:
        if "safe_mode" in str(error):
            raise CatsDogsError(
                f"{path} holds code of its own, such as a Lambda layer, and that is never run",
                "Build those layers from Keras' own and save the model again",
            ) from error
        raise CatsDogsError(f"{path} does not load as a Keras model: {summarize_error(error)}", _FITTING) from error
    (output,) = model.outputs
    if len(output.shape) == 4:
        output = keras().layers.GlobalAveragePooling2D()(output)
    # Built anew, as an only input or output may sit in a dict.
    return keras().Model(model.inputs[0], output), config


def _check_declared_weights(path: Path, config: Any) -> None:
    """Refuse a model that declares far more weights than lie in its file, before memory is allocated for them."""
    with _without_weights():
        model = keras().saving.deserialize_keras_object(config)
    declared = sum(math.prod(weight.shape) for weight in model.weights)
    if 4 * declared > _FREE_BYTES + _MAX_EXPANSION * path.stat().st_size:
        raise CatsDogsError(
            f"{path} declares {declared:,} weights, and holds {path.stat().st_size:,} bytes",
            "That is no trained model: take it from a place that you trust",
        )


@contextmanager
def _without_weights() -> Iterator[None]:
    """Have Keras allocate no memory for the weights of models that are built within."""
    keras()
    from keras.src.backend import StatelessScope
    from keras.src.backend.common import global_state

    waiting = global_state.get_global_attribute("uninitialized_variables", [], set_to_default=True)
    before = len(waiting)
    try:
        with StatelessScope(initialize_variables=False):
            yield
    finally:
        del waiting[before:]  # else Keras would allocate them at the end of its next such scope


def _check_signature(path: Path, inputs: list[Any], outputs: list[Any], size: int) -> None:
    input_shapes: list[tuple[Any, ...]] = [tuple(tensor.shape) for tensor in inputs]
    output_shapes: list[tuple[Any, ...]] = [tuple(tensor.shape) for tensor in outputs]
    if len(input_shapes) != 1 or len(input_shapes[0]) != 4 or input_shapes[0][3] != 3 or "float" not in inputs[0].dtype:
        what = " and ".join(f"{tensor.dtype}{list(tensor.shape)}" for tensor in inputs)
        raise CatsDogsError(f"{path} does not take RGB images as floats, but {what}", _FITTING)
    if input_shapes[0][0] is not None or not {*input_shapes[0][1:3]} <= {None, size}:
        raise CatsDogsError(
            f"{path} takes only {list(input_shapes[0])}, not any number of images of {size} x {size}",
            "Build it with the input shape (None, None, 3) and save it again",
        )
    if len(output_shapes) != 1 or len(output_shapes[0]) not in (2, 4) or output_shapes[0][-1] != N_FEATURES:
        what = " and ".join(str(list(shape)) for shape in output_shapes)
        raise CatsDogsError(f"{path} does not give {N_FEATURES} features, but {what}", _FITTING)


def _normalized_config(config: Any, places: Mapping[str, int] = MappingProxyType({})) -> Any:
    """Return a model's configuration without what tells one saving of the same network from another.

    Keras counts layers' names up in a process, so their places stand for them; and it numbers objects by address.
    """
    if isinstance(config, list):
        return [
            places.get(item, item) if isinstance(item, str) else _normalized_config(item, places) for item in config
        ]
    if not isinstance(config, dict):
        return config
    if "layers" in config:
        places = {layer["config"]["name"]: place for place, layer in enumerate(config["layers"])}
        config = config | {"name": None}
    return {
        key: places[value] if key == "name" and value in places else _normalized_config(value, places)
        for key, value in config.items()
        if key != "shared_object_id"
    }


def _in_float32(model: Any) -> Any:
    """Return what was saved in mixed precision as a model that computes in float32: engines choose for themselves."""
    if all(layer.dtype_policy.name == "float32" for layer in model.layers):
        return model

    def clone(layer: Any) -> Any:
        precision = {"dtype": "float32"} if isinstance(layer, keras().Layer) else {}
        return type(layer).from_config(layer.get_config() | precision)

    full = keras().models.clone_model(model, clone_function=clone, recursive=True)
    full.set_weights([to_numpy(variable).astype(np.float32) for variable in model.weights])
    full.trainable = False
    return full


def preprocess(rgb: Any) -> Any:
    """Turn float32 RGB pixels into the network's inputs, as a part of every engine's graph."""
    ops = keras().ops
    return ops.flip(rgb, axis=-1) - ops.convert_to_tensor(MEANS_BGR, rgb.dtype)


def reference_features(model: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute features in float32 as Keras' own documentation does: engines are checked against them.

    Parameters
    ----------
    model : keras.Model
    pixels : ndarray of shape (n, size, size, 3), uint8
        RGB.

    Returns
    -------
    features : ndarray of shape (n, 2048), float32
    """
    # preprocess_input changes a float array in place: this one is nobody else's.
    inputs = keras().applications.resnet50.preprocess_input(pixels.astype(np.float32))
    if keras().backend.backend() == "jax":  # it would compile each operation by itself
        return np.asarray(model.predict_on_batch(inputs), np.float32)
    return np.asarray(to_numpy(model(inputs, training=False)), np.float32)


def to_numpy(tensor: Any) -> NDArray[Any]:
    """Return what a tensor or a variable of any backend holds."""
    with _ignore_warnings():  # Keras does it in a way that NumPy has deprecated
        return np.asarray(keras().ops.convert_to_numpy(tensor))


def _safe_mode() -> AbstractContextManager[None]:
    """Have Keras refuse code in a file even where the process has called enable_unsafe_deserialization.

    That wins over the argument of `load_model` (keras/src/saving/serialization_lib.py, deserialize_keras_object).
    """
    keras()
    from keras.src.saving.serialization_lib import SafeModeScope

    scope: AbstractContextManager[None] = SafeModeScope(True)
    return scope


@contextmanager
def _ignore_warnings() -> Iterator[None]:
    """Keep Keras from warning of what it finds in a file: what matters is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def summarize_error(error: Exception) -> str:
    """Return the part of Keras' or HDF5's message that says what is wrong, on one line."""
    text = re.sub(r"\{\{.*?\}\} |\x1b\[\d+m", "", str(error).rpartition("Exception encountered: ")[2])
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("Exception encountered")]
    return re.split(" Example error| Please | Make sure ", (lines or [type(error).__name__])[0])[0].strip().rstrip(".:")
