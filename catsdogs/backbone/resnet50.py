"""Build Keras' ResNet50 without drawing weights that are replaced anyway."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .frameworks import keras

N_FEATURES = 2048
"""Features of one view of one image: the channels of ResNet50's last layer, averaged."""

MEANS_BGR = (103.939, 116.779, 123.68)
"""Mean of each channel over ImageNet, which ResNet50's first weights expect to be off
(keras/src/applications/imagenet_utils.py, mode "caffe")."""

RESNET50 = "keras.applications.ResNet50, include_top=False, pooling=avg"
"""What stands for its configuration in the identity of its weights."""

_KERNEL_INITIALIZERS = ("kernel_initializer", "depthwise_initializer", "pointwise_initializer")
"""The entries of a layer's configuration that say how its kernels are initialised."""


def build_resnet50(classes: int | None = None) -> Any:
    """Build the architecture, its kernels zeros; with `classes`, through the last layer of its top."""
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

    The kernels are replaced anyway, and JAX takes seconds to draw some first, as it compiles that for each shape.
    """
    config: dict[str, Any] = layer.get_config()
    if not type(layer).__module__.startswith("keras."):  # what somebody else's layer does with its own is not known
        return config
    return config | {name: "zeros" for name in _KERNEL_INITIALIZERS if name in config}


def draw_kernels(model: Any, seed: int) -> None:
    """Draw every kernel anew by He's rule (He et al. 2015, arXiv:1502.01852), the same on every machine."""
    for position, layer in enumerate(model.layers):
        if hasattr(layer, "kernel"):
            kernel, *bias = layer.get_weights()
            generator = np.random.default_rng([seed, position])
            deviation = np.sqrt(2 / np.prod(kernel.shape[:-1]))
            layer.set_weights([generator.normal(0, deviation, kernel.shape).astype(np.float32), *bias])


@contextmanager
def without_weights() -> Iterator[None]:
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
