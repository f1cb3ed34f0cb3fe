"""Compute features with OpenVINO on a CPU.

TensorFlow's graph is converted in memory. The batch size is fixed, so a row does not depend on the other images in its
batch, or on its position.
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

_first_use = threading.Lock()
"""Held while tensors are first seen as arrays of NumPy: OpenVINO initialises the conversion then, and two threads that
do so at the same time wait for each other forever, one for the lock of the initialisation, one for Python's."""


class OpenVINOEngine:
    """A compiled model with one inference request for each calling thread.

    Parameters
    ----------
    model : keras.Model, Quantized or ndarray of uint8
        The bytes that `to_bytes` returned; or a network that takes BGR with the channel means subtracted, and returns
        (n, 2048).
    shape : tuple of int
        (batch, size, size, 3).
    precision : str

    Raises
    ------
    ValueError
        OpenVINO does not support the precision on this machine.
    """

    name, can_be_kept = "openvino", True
    batch_sizes = {"cpu": 1}  # noqa: RUF012
    """Larger batches compute no more images per second, and a single image would wait for a whole batch."""

    def __init__(self, model: Any, shape: tuple[int, ...], precision: str) -> None:
        core = openvino().Core()
        options = {"INFERENCE_PRECISION_HINT": _HINTS[precision], "PERFORMANCE_HINT": "THROUGHPUT"}
        if isinstance(model, np.ndarray):
            self._kept = model  # the compiled network computes with this memory
            kept = openvino().Tensor(model, shared_memory=True)
            self._compiled = core.import_model(kept, "CPU", options)
        elif isinstance(model, Quantized):
            network = core.read_model(model.graph, model.weights)
            network.reshape(list(shape))
            self._compiled = core.compile_model(network, "CPU", options)
        else:
            self._compiled = core.compile_model(to_openvino(model, shape), "CPU", options)
        if (actual := self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()) != _HINTS[precision]:
            message = f"OpenVINO computes in {actual} instead of {_HINTS[precision]} on this machine"
            raise CatsDogsError(message, "Use another --precision, or another --engine")
        self.streams: int = self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._thread = threading.local()
        with _first_use:
            request = self._compiled.create_infer_request()
            for tensor in (request.get_input_tensor(), request.get_output_tensor()):
                tensor.data[:] = 0
            self._thread.request = request

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

    @staticmethod
    def identity() -> str:
        """Return OpenVINO's build."""
        return f"openvino {openvino().get_version()}"

    def to_bytes(self) -> bytes:
        """Return the compiled network in OpenVINO's own format."""
        content: bytes = self._compiled.export_model().getvalue()
        return content
