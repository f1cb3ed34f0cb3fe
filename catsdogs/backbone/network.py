"""Weights come in; out goes the frozen network as a Keras model, and its identity.

The model takes what ResNet50 takes, ``float32[n, h, w, 3]`` BGR with the channel means off, and gives
``float32[n, 2048]``.
"""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError
from ..progress import Progress
from .quiet import keras
from .weights import Weights, fetch_imagenet

WIDTH = 2048
_RESNET50 = "keras.applications.ResNet50, include_top=False, pooling=avg"
_WANTED = "It must hold the weights of Keras' ResNet50 (with or without top), or be a .keras model of 2048 features"


def build(weights: Weights, progress: Progress | None = None) -> tuple[Any, str]:
    """Build the network.

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
    if weights.path is not None and weights.path.suffix == ".keras":
        model, config = _from_model_file(weights.path)
    else:
        config = _RESNET50
        if weights.seed is not None:
            model = _resnet50()
            _randomise(model, weights.seed)
        else:
            model = _from_weights_file(weights.path or fetch_imagenet(progress=progress))
    model.trainable = False
    identity = hashlib.sha256(config.encode())
    for variable in model.weights:
        array = np.ascontiguousarray(keras().ops.convert_to_numpy(variable))
        identity.update(f"{array.dtype}{array.shape}".encode())
        identity.update(array.data)
    return model, identity.hexdigest()


def _resnet50(classes: int | None = None) -> Any:
    """Build the architecture; with `classes`, through the last layer of its top."""
    return keras().applications.ResNet50(
        weights=None,
        input_shape=(None, None, 3) if classes is None else (224, 224, 3),
        include_top=classes is not None,
        pooling="avg" if classes is None else None,
        classes=classes or 1000,
    )


def _randomise(model: Any, seed: int) -> None:
    """Draw every kernel anew by He's rule (He et al. 2015, arXiv:1502.01852), the same on every machine."""
    for position, layer in enumerate(model.layers):
        if hasattr(layer, "kernel"):
            kernel, *bias = layer.get_weights()
            generator = np.random.default_rng([seed, position])
            deviation = np.sqrt(2 / np.prod(kernel.shape[:-1]))
            layer.set_weights([generator.normal(0, deviation, kernel.shape).astype(np.float32), *bias])


def _from_weights_file(path: Path) -> Any:
    try:
        classes = _classes_of(path)
        model = _resnet50(classes)
        model.load_weights(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CatsDogsError(f"{path} does not fit: {_first_line(error)}", _WANTED) from error
    if classes is None:
        return model
    bare = _resnet50()
    for layer, loaded in zip(bare.layers, model.layers, strict=False):
        layer.set_weights(loaded.get_weights())
    return bare


def _classes_of(path: Path) -> int | None:
    """Return how many classes the top in a weights file has: its kernel is ResNet50's only matrix; None without."""
    import h5py

    found: list[int] = []

    def look(_: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and len(item.shape) == 2 and item.shape[0] == WIDTH:
            found.append(item.shape[1])

    with h5py.File(path, "r") as file:
        file.visititems(look)
    return found[0] if found else None


def _from_model_file(path: Path) -> tuple[Any, str]:
    """Load a whole model in Keras' safe mode, and its configuration in one spelling."""
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.dumps(json.loads(archive.read("config.json"))["config"], sort_keys=True)
        model = keras().saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise CatsDogsError(f"{path} does not load as a Keras model: {_first_line(error)}", _WANTED) from error
    shapes = f"it takes {model.input_shape} and gives {model.output_shape}"
    if not (isinstance(model.input_shape, tuple) and len(model.input_shape) == 4 and model.input_shape[3] == 3):
        raise CatsDogsError(f"{path} does not take images: {shapes}", _WANTED)
    output = model.output_shape
    if not (isinstance(output, tuple) and len(output) in (2, 4) and output[-1] == WIDTH):
        raise CatsDogsError(f"{path} does not give 2048 features: {shapes}", _WANTED)
    if len(output) == 4:
        pooled = keras().layers.GlobalAveragePooling2D()(model.output)
        model = keras().Model(model.input, pooled)
    return model, config


def plain_features(model: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute features the way Keras' own documentation does, eagerly in float32: what engines are checked against.

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
    return np.asarray(keras().ops.convert_to_numpy(model(inputs, training=False)), np.float32)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
