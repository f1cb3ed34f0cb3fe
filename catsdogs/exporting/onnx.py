"""Write backbone and head as an .onnx file, and compute with such a file.

TensorFlow traces the network, tf2onnx converts the graph: the way that Keras' own `Model.export` takes, which names
neither input nor output.
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
"""Images at once: what lies between their layers takes memory."""


def check_installed() -> None:
    """Refuse to begin what could not be ended.

    Raises
    ------
    CatsDogsError
        A package is not installed, or Keras is set to another backend than TensorFlow.
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise CatsDogsError(f"export onnx needs {' and '.join(missing)}", f"pip install {' '.join(missing)}")
    if (backend := keras().backend.backend()) != "tensorflow":
        raise CatsDogsError(f"export onnx needs TensorFlow, and KERAS_BACKEND is {backend}", "Unset KERAS_BACKEND")


def to_file(model: Any, metadata: Mapping[str, Any]) -> bytes:
    """Return the content of an .onnx file.

    It takes ``uint8[n, size, size, 3]`` by the names of the model's inputs, gives ``float32[n, 1]``, "probability", and
    has each of the metadata in its metadata, what is no text as JSON.
    """
    # Else tf2onnx copies the graph, weights and all, before each of its many steps, to go on where one fails.
    os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "false")
    import tensorflow as tf
    import tf2onnx

    taken = [tf.TensorSpec(tensor.shape, tf.uint8, name=tensor.name) for tensor in model.inputs]

    @tf.function(input_signature=taken, autograph=False)  # type: ignore[untyped-decorator]
    def probability(*images: Any) -> Any:
        pixels = [tf.cast(image, tf.float32) for image in images]
        return {OUTPUT: model(pixels if len(pixels) > 1 else pixels[0], training=False)}

    graph, _ = tf2onnx.convert.from_function(probability, taken)
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    for name, fact in metadata.items():
        graph.metadata_props.add(key=name, value=fact if isinstance(fact, str) else json.dumps(fact))
    return bytes(graph.SerializeToString())


def compute(content: bytes, images: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the probabilities that onnxruntime computes on the processor, of shape (n,).

    Parameters
    ----------
    content : bytes
    images : dict of str to ndarray of shape (n, size, size, 3), uint8
        RGB, by the input's name.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    count = len(next(iter(images.values())))
    parts = (
        {name: given[start : start + _BATCH] for name, given in images.items()} for start in range(0, count, _BATCH)
    )
    return np.concatenate([session.run([OUTPUT], part)[0][:, 0] for part in parts])
