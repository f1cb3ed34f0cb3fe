"""Pixels come in, ``uint8[n, size, size, 3]`` RGB; ``float32[n, 2048]`` goes out, computed by TensorFlow.

The graph has one batch size: the last batch is padded, so that neither neighbours nor position change a row.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .quiet import silence

MEANS_BGR = (103.939, 116.779, 123.68)
"""Mean of each channel over ImageNet, which ResNet50's first weights expect to be off
(keras/src/applications/imagenet_utils.py, mode "caffe")."""

CPU_BATCH, GPU_BATCH = 16, 128


class TensorFlowEngine:
    """One compiled graph.

    Parameters
    ----------
    model : keras.Model
        Takes BGR with the means off, gives (n, 2048).
    size : int
        Side of the images in pixels.
    """

    name = "tensorflow"
    precision = "float32"

    def __init__(self, model: Any, size: int) -> None:
        with silence():
            self.device = "gpu" if _tf().config.list_physical_devices("GPU") else "cpu"
            self.batch = GPU_BATCH if self.device == "gpu" else CPU_BATCH
            self._graph = _compile(model, (self.batch, size, size, 3))

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the features of up to `batch` images."""
        padded = np.zeros((self.batch, *pixels.shape[1:]), np.uint8)
        padded[: len(pixels)] = pixels
        features = self._graph(_tf().constant(padded))
        return np.asarray(features.numpy()[: len(pixels)])


def _compile(model: Any, shape: tuple[int, ...]) -> Any:
    tf = _tf()

    # There is no Python control flow to convert, and autograph leaves files in the temporary folder when killed.
    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)], autograph=False)  # type: ignore[untyped-decorator]
    def features(rgb: Any) -> Any:
        bgr = tf.cast(rgb, tf.float32)[..., ::-1] - tf.constant(MEANS_BGR, tf.float32)
        # A model of mixed precision gives 16 bits.
        return tf.cast(model(bgr, training=False), tf.float32)

    return features.get_concrete_function()


def _tf() -> Any:
    import tensorflow

    return tensorflow
