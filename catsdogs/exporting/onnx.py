"""Write backbone and head as an .onnx file, and run such a file.

TensorFlow traces the network, and tf2onnx converts the graph. Keras' `Model.export` does the same, but names neither
the inputs nor the output.
"""

import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone.frameworks import keras
from ..errors import CatsDogsError
from .network import OUTPUT

_NEEDED = ("tensorflow", "tf2onnx", "onnx", "onnxruntime")

_BATCH = 4
"""Batch size, small because the activations take memory."""


def check_installed() -> None:
    """Check the requirements before the export starts.

    Raises
    ------
    CatsDogsError
        A package is not installed, or Keras is set to another backend than TensorFlow.
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise CatsDogsError(f"ONNX export needs {', '.join(missing)}", f"Run pip install {' '.join(missing)}")
    if (backend := keras().backend.backend()) != "tensorflow":
        raise CatsDogsError(f"ONNX export needs the TensorFlow backend of Keras, not {backend}", "Unset KERAS_BACKEND")


def to_file(model: Any, metadata: Mapping[str, Any]) -> bytes:
    """Return the content of an .onnx file.

    The inputs are ``uint8[n, size, size, 3]``, named as in the model; the output is "probability", ``float32[n, 1]``.
    The metadata are stored as metadata of the file, values other than strings as JSON.
    """
    # Otherwise tf2onnx copies the graph with its weights before each of its many steps, to recover from failures.
    os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "false")
    import tensorflow as tf
    import tf2onnx

    taken = [tf.TensorSpec(tensor.shape, tf.uint8, name=tensor.name) for tensor in model.inputs]

    @tf.function(input_signature=taken, autograph=False)  # type: ignore[untyped-decorator]
    def probability(*images: Any) -> Any:
        pixels = [tf.cast(image, tf.float32) for image in images]
        return {OUTPUT: model(pixels if len(pixels) > 1 else pixels[0], training=False)}

    graph, _ = tf2onnx.convert.from_function(probability, taken)
    for tensor in (*graph.graph.input, *graph.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "n"
    for name, value in metadata.items():
        graph.metadata_props.add(key=name, value=value if isinstance(value, str) else json.dumps(value))
    return bytes(graph.SerializeToString())


def compute(content: bytes, images: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the probabilities that ONNX Runtime computes on the CPU, of shape (n,).

    Parameters
    ----------
    content : bytes
    images : dict of str to ndarray of shape (n, size, size, 3), uint8
        RGB images by name of the input.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    count = len(next(iter(images.values())))
    parts = (
        {name: given[start : start + _BATCH] for name, given in images.items()} for start in range(0, count, _BATCH)
    )
    return np.concatenate([session.run([OUTPUT], part)[0][:, 0] for part in parts])
