"""Build the frozen network as a Keras model, and identify it.

The model takes the inputs of ResNet50, ``float32[n, h, w, 3]`` BGR with the channel means subtracted, and returns
``float32[n, 2048]``.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError
from ..progress import Progress
from .frameworks import keras
from .resnet50 import MEANS_BGR
from .weights import Weights


def build(weights: Weights, size: int, *, progress: Progress | None = None) -> tuple[Any, str]:
    """Build the network.

    Parameters
    ----------
    weights : Weights
    size : int
        Side of the images in pixels.
    progress : callable, optional
        Called with the bytes downloaded so far.

    Returns
    -------
    model : keras.Model
        Frozen.
    sha256 : str
        Identity: SHA-256 of the configuration and of the weight arrays in layer order.

    Raises
    ------
    CatsDogsError
        The weights are not available, or do not fit.
    """
    model, config = weights.load(size, progress)
    model.trainable = False
    identity = hashlib.sha256(config.encode())
    for variable in model.weights:
        array = to_numpy(variable)
        if not np.isfinite(array).all():
            message = f"{weights.spec} contains weights that are NaN or infinite"
            raise CatsDogsError(message, "Use other weights: the file is damaged, or its training diverged")
        identity.update(f"{array.dtype}{array.shape}".encode())
        identity.update(array.tobytes())
    return _in_float32(model), identity.hexdigest()


def _in_float32(model: Any) -> Any:
    """Return the model in float32, even if it was saved in mixed precision: each engine sets the precision itself."""
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
    """Convert float32 RGB pixels to the network's inputs, within the graph of an engine."""
    ops = keras().ops
    return ops.flip(rgb, axis=-1) - ops.convert_to_tensor(MEANS_BGR, rgb.dtype)


def reference_features(model: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute features in float32 as Keras' documentation shows; engines are checked against them.

    Parameters
    ----------
    model : keras.Model
    pixels : ndarray of shape (n, size, size, 3), uint8
        RGB.

    Returns
    -------
    features : ndarray of shape (n, 2048), float32
    """
    # preprocess_input changes float arrays in place, so it gets a copy.
    inputs = keras().applications.resnet50.preprocess_input(pixels.astype(np.float32))
    if keras().backend.backend() == "jax":  # a plain call would compile each operation separately
        return np.asarray(model.predict_on_batch(inputs), np.float32)
    return np.asarray(to_numpy(model(inputs, training=False)), np.float32)


def to_numpy(tensor: Any) -> NDArray[Any]:
    """Return the values of a tensor or a variable of any backend."""
    return np.asarray(keras().ops.convert_to_numpy(tensor))
