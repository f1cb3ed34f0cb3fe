"""Load weights and models from files that a stranger may have made: arrays and layers of Keras' own, no code."""

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
"""Bytes of weights that a model may declare whatever its file holds, and for each byte of its file: a weight takes 4,
and may have been stored as 2 and compressed."""

_FITTING = "It must hold the weights of Keras' ResNet50 (with or without top), or be a .keras model of 2048 features"


def load_weights_file(path: Path) -> Any:
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
        model = build_resnet50(classes)
        with tempfile.TemporaryDirectory() as folder:
            named = Path(folder, "resnet50.h5" if older else "resnet50.weights.h5")
            named.symlink_to(path.resolve())
            model.load_weights(named)
    except Exception as error:
        raise CatsDogsError(
            f"{path} holds no weights of Keras' ResNet50: {summarize_error(error)}", _FITTING
        ) from error
    if classes is None:
        return model
    bare = build_resnet50()
    bare.set_weights(model.get_weights()[: len(bare.weights)])
    return bare


def _count_classes(file: Any) -> int | None:
    """Return how many classes the top in a weights file has: its kernel is ResNet50's only matrix; None without."""

    def classes_of(_: str, item: Any) -> int | None:
        shape: tuple[int, ...] = getattr(item, "shape", ())
        return shape[1] if len(shape) == 2 and shape[0] == N_FEATURES else None

    classes: int | None = file.visititems(classes_of)  # the first that is not None
    return classes


def load_model_file(path: Path, size: int) -> tuple[Any, str]:
    """Load a whole model in Keras' safe mode, and its configuration in one spelling.

    The mode is set around it all, as what the process has set by enable_unsafe_deserialization wins over the argument
    of `load_model` (keras/src/saving/serialization_lib.py, deserialize_keras_object).
    """
    keras()
    from keras.src.saving.serialization_lib import SafeModeScope

    try:
        with zipfile.ZipFile(path) as archive:
            saved = json.loads(archive.read("config.json"))
        config = json.dumps(_normalized(saved["config"]), sort_keys=True)
        with SafeModeScope(True):
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
    with without_weights():
        model = keras().saving.deserialize_keras_object(config)
    declared = sum(math.prod(weight.shape) for weight in model.weights)
    if 4 * declared > _FREE_BYTES + _MAX_EXPANSION * path.stat().st_size:
        raise CatsDogsError(
            f"{path} declares {declared:,} weights, and holds {path.stat().st_size:,} bytes",
            "That is no trained model: take it from a place that you trust",
        )


def _check_signature(path: Path, inputs: list[Any], outputs: list[Any], size: int) -> None:
    shapes: list[list[Any]] = [[*tensor.shape] for tensor in outputs]
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[3] != 3 or "float" not in inputs[0].dtype:
        what = " and ".join(f"{tensor.dtype}{list(tensor.shape)}" for tensor in inputs)
        raise CatsDogsError(f"{path} does not take RGB images as floats, but {what}", _FITTING)
    count, *sides, _ = inputs[0].shape
    if count is not None or not {*sides} <= {None, size}:
        raise CatsDogsError(
            f"{path} takes only {[*inputs[0].shape]}, not any number of images of {size} x {size}",
            "Build it with the input shape (None, None, 3) and save it again",
        )
    if len(shapes) != 1 or len(shapes[0]) not in (2, 4) or shapes[0][-1] != N_FEATURES:
        raise CatsDogsError(
            f"{path} does not give {N_FEATURES} features, but {' and '.join(map(str, shapes))}", _FITTING
        )


def _normalized(config: Any, places: Mapping[str, int] = MappingProxyType({})) -> Any:
    """Return a model's configuration without what tells one saving of the same network from another.

    Keras counts layers' names up in a process, so their places stand for them; and it numbers objects by address.
    """
    if isinstance(config, list):
        return [places.get(item, item) if isinstance(item, str) else _normalized(item, places) for item in config]
    if not isinstance(config, dict):
        return config
    if "layers" in config:
        places = {layer["config"]["name"]: place for place, layer in enumerate(config["layers"])}
        config = config | {"name": None}
    return {
        key: places[value] if key == "name" and value in places else _normalized(value, places)
        for key, value in config.items()
        if key != "shared_object_id"
    }


def summarize_error(error: Exception) -> str:
    """Return the part of Keras' or HDF5's message that says what is wrong, on one line."""
    text = re.sub(r"\{\{.*?\}\} |\x1b\[\d+m", "", str(error).rpartition("Exception encountered: ")[2])
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("Exception encountered")]
    return re.split(" Example error| Please | Make sure ", (lines or [type(error).__name__])[0])[0].strip().rstrip(".:")
