"""Pixels come in, ``uint8[n, size, size, 3]`` RGB; ``float32[n, 2048]`` goes out, computed by OpenVINO on a CPU.

TensorFlow's graph is converted in memory; it has one batch size, so that neither neighbours nor position change a row.
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .folding import FULL, fold
from .frameworks import openvino, suppress_stderr
from .network import MEANS_BGR
from .quantized import INT8, Quantized
from .tensorflow import compile_graph

_HINTS = {FULL: "f32", "bfloat16": "bf16", "float16": "f16", INT8: "f32"}
"""OpenVINO's names of precisions; in a quantized network, of what is not quantized."""


class OpenVINOEngine:
    """One compiled model, and a request of its own for each thread that calls.

    Parameters
    ----------
    model : keras.Model or Quantized
        Takes BGR with the means off, gives (n, 2048).
    shape : tuple of int
        (batch, size, size, 3).
    precision : str

    Raises
    ------
    ValueError
        OpenVINO does not compute in that precision on this machine.
    """

    name = "openvino"
    batches = {"cpu": 8}  # noqa: RUF012

    def __init__(self, model: Any, shape: tuple[int, ...], precision: str) -> None:
        self.precision = precision
        with suppress_stderr():
            core = openvino().Core()
            if isinstance(model, Quantized):
                network = core.read_model(model.graph, model.weights)
                network.reshape(list(shape))
            else:
                network = converted(model, shape)
            self._compiled = core.compile_model(
                network, "CPU", {"INFERENCE_PRECISION_HINT": _HINTS[precision], "PERFORMANCE_HINT": "THROUGHPUT"}
            )
        if (runs := self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()) != _HINTS[precision]:
            raise ValueError(f"OpenVINO computes in {runs} on this machine")
        self.streams: int = self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._of_thread = threading.local()

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the features of as many images as the graph takes."""
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._compiled.create_infer_request()
        self._of_thread.request.infer([pixels])
        return np.array(self._of_thread.request.get_output_tensor().data, np.float32)

    @staticmethod
    def device() -> str:
        """Return "cpu"."""
        return "cpu"

    @staticmethod
    def native_precision() -> str:
        """Return the fastest precision that the processor computes without emulating it."""
        return "bfloat16" if "BF16" in openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else FULL


def converted(model: Any, shape: tuple[int | None, ...]) -> Any:
    """Return a network as OpenVINO has it, which takes uint8 RGB of that shape, None for any length.

    It is what `openvino.convert_model` does, but that tells Intel of it unless the user has forbidden it.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.tensorflow.utils import create_tf_graph_iterator

    frontend = FrontEndManager().load_by_framework("tf")
    graph = compile_graph(fold(model, FULL), shape, prepared=True)  # OpenVINO casts by itself
    # Nothing else holds the iterator while it is converted.
    iterator = create_tf_graph_iterator(graph, None, None, None, share_weights=False)
    try:
        network = frontend.convert(frontend.load(iterator))
    except Exception as error:
        if "KeyboardInterrupt" in str(error):  # Ctrl-C in what OpenVINO calls back
            raise KeyboardInterrupt from error
        raise
    _pad_in_pooling(network)
    return _of_rgb(network)


def _pad_in_pooling(network: Any) -> None:
    """Have pooling take for itself the zeros that lie round what a ReLU gives: the same maxima in one pass less."""
    from openvino import opset8

    for pool in network.get_ordered_ops():
        pad = pool.input_value(0).get_node() if pool.get_type_name() == "MaxPool" else None
        if pad is None or pad.get_type_name() != "Pad" or pad.input_value(0).get_node().get_type_name() != "Relu":
            continue
        constants = [pad.input_value(place).get_node() for place in range(1, pad.get_input_size())]
        how = pool.get_attributes()
        if how["auto_pad"] != "valid" or pad.get_attributes()["pad_mode"] != "constant":
            continue
        if any(constant.get_type_name() != "Constant" for constant in constants):
            continue
        before, after, *filled = (constant.get_data().tolist() for constant in constants)
        # A window must not lie in the padding alone: that has no maximum.
        if not any(filled) and all(side[:2] == [0, 0] and max(side) < min(how["kernel"]) for side in (before, after)):
            padded = opset8.max_pool(
                pad.input_value(0),
                how["strides"],
                how["dilations"],
                before[2:],
                after[2:],
                how["kernel"],
                how["rounding_type"],
            )
            pool.output(0).replace(padded.output(0))


def _of_rgb(network: Any) -> Any:
    """Do what `network.from_rgb` does by OpenVINO's own means: it takes the turned channels into the first layer."""
    from openvino import Layout, Type
    from openvino.preprocess import PrePostProcessor

    added = PrePostProcessor(network)
    added.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
    added.input().model().set_layout(Layout("NHWC"))
    added.input().preprocess().convert_element_type(Type.f32).reverse_channels().mean(list(MEANS_BGR))
    return added.build()
