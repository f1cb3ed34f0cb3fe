"""Convert a Keras network to OpenVINO's form, in memory."""

from typing import Any

from .folding import fold
from .network import MEANS_BGR
from .precisions import FLOAT32
from .tensorflow import compile_graph


def to_openvino(model: Any, shape: tuple[int | None, ...]) -> Any:
    """Return a network as OpenVINO has it, which takes uint8 RGB of that shape, None for any length.

    It is what `openvino.convert_model` does, but that tells Intel of it unless the user has forbidden it.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.tensorflow.utils import create_tf_graph_iterator

    frontend = FrontEndManager().load_by_framework("tf")
    graph = compile_graph(fold(model, FLOAT32), shape, prepared=True)  # OpenVINO casts by itself
    # Nothing else holds the iterator while it is converted.
    iterator = create_tf_graph_iterator(graph, None, None, None, share_weights=False)
    try:
        network = frontend.convert(frontend.load(iterator))
    except Exception as error:
        if "KeyboardInterrupt" in str(error):  # Ctrl-C in what OpenVINO calls back
            raise KeyboardInterrupt from error
        raise
    return _take_rgb(network)


def _take_rgb(network: Any) -> Any:
    """Do what `network.from_rgb` does by OpenVINO's own means: it takes the turned channels into the first layer."""
    from openvino import Layout, Type
    from openvino.preprocess import PrePostProcessor

    added = PrePostProcessor(network)
    added.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
    added.input().model().set_layout(Layout("NHWC"))
    added.input().preprocess().convert_element_type(Type.f32).reverse_channels().mean(list(MEANS_BGR))
    return added.build()
