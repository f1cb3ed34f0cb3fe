"""Fold batch normalisations into convolutions, and set the precision that a network computes in.

In inference a batch normalisation is one multiplication and one addition for each channel, and both fold into the
convolution before it (Jacob et al. 2018, arXiv:1712.05877, section 3.2). Keras clones the other layers, so all engines
compute the same network.
"""

import json
import re
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frameworks import keras
from .network import to_numpy
from .precisions import FLOAT32
from .resnet50 import zero_init_config


def fold(model: Any, precision: str) -> Any:
    """Fold batch normalisations, and set the precision.

    Parameters
    ----------
    model : keras.Model
        Functional or sequential.
    precision : {"float32", "bfloat16", "float16"}
        Precision of the convolutions and of the layers between them. Features are always averaged in float32.

    Returns
    -------
    model : keras.Model
        A new model; the argument is not changed.
    """
    # A functional model can also be built from a sequential one.
    model = keras().Model(model.inputs, model.outputs[0])
    norms = _find_foldable(model)
    pairs: list[tuple[Any, Any]] = []
    folded_norms: list[Any] = []

    def clone(layer: Any) -> Any:
        config = zero_init_config(layer)
        if not isinstance(layer, keras().Layer):  # an operation such as x / 255: no weights, precision of its input
            return type(layer).from_config(config)
        if precision != FLOAT32:
            config["dtype"] = _dtype_policy(layer, precision)
        if id(layer) in norms:
            config["use_bias"] = True
        new = type(layer).from_config(config)
        if any(layer is norm for norm in norms.values()):
            folded_norms.append(new)
        else:
            pairs.append((layer, new))
        return new

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        return inputs[0] if any(layer is new for new in folded_norms) else layer(*inputs, **options)

    faster = keras().models.clone_model(model, clone_function=clone, call_function=call, recursive=True)
    for layer, new in pairs:
        arrays = [to_numpy(variable) for variable in layer.weights]
        new.set_weights(_fold_weights(layer, arrays, norms[id(layer)]) if id(layer) in norms else arrays)
    faster.trainable = False
    return faster


def _dtype_policy(layer: Any, precision: str) -> str:
    """Return the dtype policy of a layer.

    Convolutions store their weights in the precision that they compute in, because casting them for each batch costs
    time. Other layers keep float32 weights. Layers that scale pixels or average are in float32 throughout.
    """
    layers = keras().layers
    if isinstance(layer, layers.GlobalAveragePooling2D | layers.Rescaling | layers.Normalization):
        return FLOAT32
    return precision if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D) else f"mixed_{precision}"


def _find_foldable(model: Any) -> dict[int, Any]:
    """Return the batch normalisations that alone use the output of a convolution, by the `id` of the convolution."""
    layers, config = keras().layers, model.get_config()
    by_name = {layer.name: layer for layer in model.layers}
    sources = {
        entry["name"]: re.findall(r'"keras_history": \["(.*?)", ', json.dumps(entry["inbound_nodes"]))
        for entry in config["layers"]
    }
    # The model's output counts as a use, too.
    uses = Counter([name for inputs in sources.values() for name in inputs] + [config["output_layers"][0]])
    found = {}
    for norm in model.layers:
        if type(norm) is layers.BatchNormalization and len(sources[norm.name]) == 1:
            conv: Any = by_name.get(sources[norm.name][0])
            if type(conv) not in (layers.Conv2D, layers.DepthwiseConv2D) or conv.data_format != "channels_last":
                continue
            if conv.activation is keras().activations.linear and uses[conv.name] == 1 and norm.axis in (-1, 3):
                found[id(conv)] = norm
    return found


def _fold_weights(layer: Any, arrays: list[NDArray[Any]], norm: Any) -> list[NDArray[np.float32]]:
    """Return the kernel and bias of a convolution that includes the normalisation after it."""
    kernel, *bias = arrays
    mean, variance = (to_numpy(moment).astype(np.float64) for moment in (norm.moving_mean, norm.moving_variance))
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale *= to_numpy(norm.gamma)
    shift = to_numpy(norm.beta) if norm.center else 0
    # The last axes of a depthwise kernel are (channels, multiplier); its outputs are ordered by both.
    per_output = scale.reshape(kernel.shape[2:]) if isinstance(layer, keras().layers.DepthwiseConv2D) else scale
    new_bias = ((bias[0] if bias else 0) - mean) * scale + shift
    return [(kernel * per_output).astype(np.float32), new_bias.astype(np.float32)]
