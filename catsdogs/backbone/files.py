"""Load weights and models from untrusted files: arrays and Keras' own layers, never code."""

import json
import math
import re
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import CatsDogsError
from .frameworks import keras
from .resnet50 import N_FEATURES, build_resnet50, without_weights

_FREE_BYTES, _MAX_EXPANSION = 64 << 20, 8
"""Bytes of weights that any model may declare, and bytes that it may declare in addition for each byte of its file. A
weight takes 4 bytes in memory; the file may store it in 2 bytes and compress it."""

_HINT = "Use a file with weights of Keras' ResNet50 (with or without top), or a .keras model with 2048 features"


def load_weights_file(path: Path) -> Any:
    """Load only the arrays of weights, even if the file holds a complete model.

    Keras infers which of its two formats a file has from the name: ".h5" or ".weights.h5". Keras 2 wrote the older
    format under both names, so Keras reads the file through a symbolic link with the correct
    name.
    """
    import h5py

    if not h5py.is_hdf5(path):
        raise CatsDogsError(f"{path} is not an HDF5 file, or cannot be read", _HINT)
    try:
        with h5py.File(path, "r") as file:
            older = any(name.startswith("layer_names") for name in file.attrs) or "model_weights" in file
            # The older format must match every layer; from the newer one Keras reads the layers of the architecture.
            classes = _count_classes(file) if older else None
        model = build_resnet50(classes)
        with tempfile.TemporaryDirectory() as folder:
            named = Path(folder, "resnet50.h5" if older else "resnet50.weights.h5")
            named.symlink_to(path.resolve())
            model.load_weights(named)
    except Exception as error:
        message = f"{path} does not hold weights of Keras' ResNet50: {summarize_error(error)}"
        raise CatsDogsError(message, _HINT) from error
    if classes is None:
        return model
    bare = build_resnet50()
    bare.set_weights(model.get_weights()[: len(bare.weights)])
    return bare


def _count_classes(file: Any) -> int | None:
    """Return the number of classes of the top in a weights file, or None without a top.

    The kernel of the top is the only matrix among ResNet50's weights.
    """

    def classes_of(_: str, item: Any) -> int | None:
        shape: tuple[int, ...] = getattr(item, "shape", ())
        return shape[1] if len(shape) == 2 and shape[0] == N_FEATURES else None

    classes: int | None = file.visititems(classes_of)  # the first result that is not None
    return classes


def load_model_file(path: Path, size: int) -> tuple[Any, str]:
    """Load a complete model in Keras' safe mode, and return it with its normalised configuration.

    A scope sets the safe mode, because enable_unsafe_deserialization, if the process has called it, takes precedence
    over the argument of `load_model` (keras/src/saving/serialization_lib.py, deserialize_keras_object).
    """
    keras()
    from keras.src.saving.serialization_lib import SafeModeScope

    try:
        with zipfile.ZipFile(path) as archive:
            saved = json.loads(archive.read("config.json"))
        config = json.dumps(_normalised(saved["config"]), sort_keys=True)
        with SafeModeScope(True):
            _check_declared_weights(path, saved)
            model = keras().saving.load_model(path, compile=False, safe_mode=True)
        _check_signature(path, model.inputs, model.outputs, size)
    except CatsDogsError:
        raise
    except Exception as error:
        if "safe_mode" in str(error):
            message = f"{path} contains custom code, such as a Lambda layer, which is never run"
            raise CatsDogsError(message, "Rebuild the model from Keras' own layers and save it again") from error
        raise CatsDogsError(f"{path} cannot be loaded as a Keras model: {summarize_error(error)}", _HINT) from error
    (output,) = model.outputs
    if len(output.shape) == 4:
        output = keras().layers.GlobalAveragePooling2D()(output)
    # A new model, because the saved one may have its only input or output in a dict.
    return keras().Model(model.inputs[0], output), config


def _check_declared_weights(path: Path, config: Any) -> None:
    """Refuse a model that declares far more weights than its file can hold, before memory is allocated for them."""
    with without_weights():
        model = keras().saving.deserialize_keras_object(config)
    declared = sum(math.prod(weight.shape) for weight in model.weights)
    if 4 * declared > _FREE_BYTES + _MAX_EXPANSION * path.stat().st_size:
        hint = "Use a model from a source that you trust: a file of this size cannot hold these weights"
        raise CatsDogsError(f"{path} declares {declared:,} weights, but has only {path.stat().st_size:,} bytes", hint)


def _check_signature(path: Path, inputs: list[Any], outputs: list[Any], size: int) -> None:
    shapes: list[list[Any]] = [[*tensor.shape] for tensor in outputs]
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[3] != 3 or "float" not in inputs[0].dtype:
        what = " and ".join(f"{tensor.dtype}{list(tensor.shape)}" for tensor in inputs)
        raise CatsDogsError(f"{path} must take RGB images as floats, but takes {what}", _HINT)
    count, *sides, _ = inputs[0].shape
    if count is not None or not {*sides} <= {None, size}:
        message = f"{path} takes only inputs of shape {[*inputs[0].shape]}, not batches of {size} x {size} pixels"
        raise CatsDogsError(message, "Rebuild the model with the input shape (None, None, 3) and save it again")
    if len(shapes) != 1 or len(shapes[0]) not in (2, 4) or shapes[0][-1] != N_FEATURES:
        what = " and ".join(map(str, shapes))
        raise CatsDogsError(f"{path} must have an output of {N_FEATURES} features, but has {what}", _HINT)


def _normalised(config: Any, places: Mapping[str, int] = MappingProxyType({})) -> Any:
    """Return a model's configuration without the parts that differ each time the same network is saved.

    Keras numbers the names of layers within a process, so their positions replace them; and it derives the ids of
    shared objects from memory addresses.
    """
    if isinstance(config, list):
        return [places.get(item, item) if isinstance(item, str) else _normalised(item, places) for item in config]
    if not isinstance(config, dict):
        return config
    if "layers" in config:
        places = {layer["config"]["name"]: place for place, layer in enumerate(config["layers"])}
        config = config | {"name": None}
    return {
        key: places[value] if key == "name" and value in places else _normalised(value, places)
        for key, value in config.items()
        if key != "shared_object_id"
    }


def summarize_error(error: Exception) -> str:
    """Return the cause from an error message of Keras or HDF5, on one line."""
    text = re.sub(r"\{\{.*?\}\} |\x1b\[\d+m", "", str(error).rpartition("Exception encountered: ")[2])
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("Exception encountered")]
    return re.split(" Example error| Please | Make sure ", (lines or [type(error).__name__])[0])[0].strip().rstrip(".:")
