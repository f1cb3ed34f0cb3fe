"""Build Keras' ResNet50 without random initialisation of weights that are then replaced."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .frameworks import keras

N_FEATURES = 2048
"""Number of features of one view of one image: the channels of ResNet50's last layer, averaged over the positions."""

MEANS_BGR = (103.939, 116.779, 123.68)
"""Channel means of ImageNet, which ResNet50 expects to be subtracted (keras/src/applications/imagenet_utils.py, mode
"caffe")."""

RESNET50 = "keras.applications.ResNet50, include_top=False, pooling=avg"
"""Represents the configuration of ResNet50 in the identity of its weights."""

_KERNEL_INITIALIZERS = ("kernel_initializer", "depthwise_initializer", "pointwise_initializer")
"""Entries of a layer's configuration that set the initialisers of its kernels."""


def build_resnet50(classes: int | None = None) -> Any:
    """Build the architecture with kernels of zeros; with `classes`, including the top."""
    with without_weights():
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

    The kernels are replaced later. With JAX a random initialisation would take seconds, because it is compiled for each
    shape.
    """
    config: dict[str, Any] = layer.get_config()
    if not type(layer).__module__.startswith("keras."):  # custom layers may use these entries differently
        return config
    return config | {name: "zeros" for name in _KERNEL_INITIALIZERS if name in config}


def initialise_kernels(model: Any, seed: int) -> None:
    """Initialise every kernel with He's method (He et al. 2015, arXiv:1502.01852); identical on every machine."""
    for position, layer in enumerate(model.layers):
        if hasattr(layer, "kernel"):
            kernel, *bias = layer.get_weights()
            generator = np.random.default_rng([seed, position])
            deviation = np.sqrt(2 / np.prod(kernel.shape[:-1]))
            layer.set_weights([generator.normal(0, deviation, kernel.shape).astype(np.float32), *bias])


@contextmanager
def without_weights() -> Iterator[None]:
    """Prevent Keras from allocating memory for the weights of models that are built in this context."""
    keras()
    from keras.src.backend import StatelessScope
    from keras.src.backend.common import global_state

    waiting = global_state.get_global_attribute("uninitialized_variables", [], set_to_default=True)
    before = len(waiting)
    try:
        with StatelessScope(initialize_variables=False):
            yield
    finally:
        del waiting[before:]  # otherwise Keras allocates them at the end of its next scope
