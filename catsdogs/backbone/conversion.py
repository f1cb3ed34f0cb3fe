"""Convert a Keras model to an OpenVINO model, in memory."""

from typing import Any

from .folding import fold
from .precisions import FLOAT32
from .resnet50 import MEANS_BGR
from .tensorflow import compile_graph


def to_openvino(model: Any, shape: tuple[int | None, ...]) -> Any:
    """Convert a model to one that takes uint8 RGB pixels of shape `shape`, with None for any length.

    `openvino.convert_model` does the same, but sends usage data to Intel unless the user has opted out.
    """
    from openvino import Layout, Type
    from openvino.frontend import FrontEndManager
    from openvino.frontend.tensorflow.utils import create_tf_graph_iterator
    from openvino.preprocess import PrePostProcessor

    frontend = FrontEndManager().load_by_framework("tf")
    graph = compile_graph(fold(model, FLOAT32), shape, preprocessed=True)  # OpenVINO casts the weights
    # This reference keeps the iterator alive during the conversion.
    iterator = create_tf_graph_iterator(graph, None, None, None, share_weights=False)
    try:
        network = frontend.convert(frontend.load(iterator))
    except Exception as error:
        if "KeyboardInterrupt" in str(error):  # Ctrl-C in a callback of OpenVINO
            raise KeyboardInterrupt from error
        raise
    # The same as `network.preprocess`; OpenVINO folds the order of the channels into the first layer.
    added = PrePostProcessor(network)
    added.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
    added.input().model().set_layout(Layout("NHWC"))
    added.input().preprocess().convert_element_type(Type.f32).reverse_channels().mean(list(MEANS_BGR))
    return added.build()
