"""Compute features with TensorFlow, on all devices of one kind.

The graph has a fixed batch size, to which `Backbone` pads the last batch, so a row does not depend on the other images
in its batch, or on its position.
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .devices import Devices
from .folding import fold
from .hardware import cpu_supports
from .network import preprocess
from .precisions import FLOAT32


class TensorFlowEngine(Devices):
    """A compiled graph on each device.

    Parameters
    ----------
    model : keras.Model
        Takes BGR with the channel means subtracted, and returns (n, 2048).
    shape : tuple of int
        (batch, size, size, 3).
    precision : str
    """

    name, can_be_kept = "tensorflow", False
    batch_sizes = {"cpu": 32, "gpu": 128}  # noqa: RUF012

    def __init__(self, model: Any, shape: tuple[int, ...], precision: str) -> None:
        graphs = []
        for device in _devices():
            with _tf().device(device):
                graphs.append(partial(_compute, device, compile_graph(fold(model, precision), shape)))
        # Of two calls, one computes while the other waits for its slowest thread, or copies.
        super().__init__(graphs, 2)

    def is_out_of_memory(self, error: Exception) -> bool:  # noqa: D102 - as in the base class
        return isinstance(error, _tf().errors.ResourceExhaustedError)

    @staticmethod
    def device() -> str:
        """Return "gpu" or "cpu"."""
        return "gpu" if _tf().config.get_visible_devices("GPU") else "cpu"

    @staticmethod
    def native_precision() -> str:
        """Return the fastest precision that the device supports natively."""
        if TensorFlowEngine.device() == "cpu":
            return "bfloat16" if cpu_supports("bfloat16") else FLOAT32
        gpu = _tf().config.get_visible_devices("GPU")[0]
        capability = _tf().config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
        # GPUs have tensor cores since Volta (7.0), with bfloat16 since Ampere (8.0).
        return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else FLOAT32


def _devices() -> list[str | None]:
    """Return the devices that compute, or None for the only one: those of other kinds might give other bits."""
    config, kind = _tf().config, TensorFlowEngine.device().upper()
    names: list[str | None] = []
    for device in config.list_physical_devices(kind):  # in the order of the logical devices
        if device in config.get_visible_devices(kind):
            logical = len(config.get_logical_device_configuration(device) or [device])
            names += logical * [config.experimental.get_device_details(device).get("device_name")]
    found = zip(config.list_logical_devices(kind), names, strict=False)
    alike = [device.name for device, name in found if name == names[0]]
    return alike if alike[1:] else [None]


def _compute(device: str | None, graph: Any, pixels: NDArray[np.uint8]) -> Any:
    with _tf().device(device):
        return graph(_tf().constant(pixels))


def compile_graph(model: Any, shape: tuple[int | None, ...], *, preprocessed: bool = False) -> Any:
    """Trace a function of uint8 RGB pixels of a shape (None for any length), or of `preprocessed` inputs."""
    tf, dtype = _tf(), "float32" if preprocessed else "uint8"

    # Autograph is not needed without Python control flow, and leaves temporary files if the process is killed.
    @tf.function(input_signature=[tf.TensorSpec(shape, dtype)], autograph=False)  # type: ignore[untyped-decorator]
    def features(pixels: Any) -> Any:
        inputs = pixels if preprocessed else preprocess(tf.cast(pixels, tf.float32))
        # A model in mixed precision returns 16-bit values.
        return tf.cast(model(inputs, training=False), tf.float32)

    return features.get_concrete_function()


def _tf() -> Any:
    import tensorflow

    return tensorflow
