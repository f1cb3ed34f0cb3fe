"""Compute features with OpenVINO on a CPU.

TensorFlow's graph is converted in memory. It has a fixed batch size, so a row does not depend on the other images in
its batch, or on its position.
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError
from .conversion import to_openvino
from .frameworks import openvino
from .precisions import FLOAT32, INT8
from .quantized import Quantized

_HINTS = {FLOAT32: "f32", "bfloat16": "bf16", "float16": "f16", INT8: "f32"}
"""OpenVINO's names of the precisions; for int8, of the operations that are not quantized."""


class OpenVINOEngine:
    """A compiled model with one inference request for each calling thread.

    Parameters
    ----------
    model : keras.Model or Quantized
        Takes BGR with the channel means subtracted, and returns (n, 2048).
    shape : tuple of int
        (batch, size, size, 3).
    precision : str

    Raises
    ------
    ValueError
        OpenVINO does not support the precision on this machine.
    """

    name = "openvino"
    batch_sizes = {"cpu": 8}  # noqa: RUF012

    def __init__(self, model: Any, shape: tuple[int, ...], precision: str) -> None:
        core = openvino().Core()
        if isinstance(model, Quantized):
            network = core.read_model(model.graph, model.weights)
            network.reshape(list(shape))
        else:
            network = to_openvino(model, shape)
        self._compiled = core.compile_model(
            network, "CPU", {"INFERENCE_PRECISION_HINT": _HINTS[precision], "PERFORMANCE_HINT": "THROUGHPUT"}
        )
        if (actual := self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()) != _HINTS[precision]:
            message = f"OpenVINO computes in {actual} instead of {_HINTS[precision]} on this machine"
            raise CatsDogsError(message, "Use another --precision, or another --engine")
        self.streams: int = self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._thread = threading.local()

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the features of one batch of the compiled shape."""
        if not hasattr(self._thread, "request"):
            self._thread.request = self._compiled.create_infer_request()
        self._thread.request.infer([pixels])
        return np.array(self._thread.request.get_output_tensor().data, np.float32)

    @staticmethod
    def device() -> str:
        """Return "cpu"."""
        return "cpu"

    @staticmethod
    def native_precision() -> str:
        """Return the fastest precision that the CPU supports natively."""
        return "bfloat16" if "BF16" in openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else FLOAT32
