"""Join a backbone and a head into one Keras model, from RGB pixels to the probability of class 1.

The model consists of Keras' built-in layers and operations, so that it loads without this package.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backbone.frameworks import keras
from ..backbone.resnet50 import MEANS_BGR
from ..head.designs import IDENTITY, Classifier
from ..images.views import View, sizes_of

OUTPUT = "probability"


def input_names(views: Sequence[View]) -> dict[int, str]:
    """Return the name of the input of each size: "image" if there is one, else "image_224" and so on.

    Each size is a separate input: an image resized in the graph, from another size or with another filter than
    Pillow's, would have other pixels than those that the head was trained on.
    """
    sizes = sizes_of(views)
    return {size: "image" if len(sizes) == 1 else f"image_{size}" for size in sizes}


def join(backbone: Any, classifier: Classifier, views: Sequence[View]) -> Any:
    """Join backbone and head.

    Parameters
    ----------
    backbone : keras.Model
        From BGR with the means subtracted to features, (n, 2048).
    classifier : Classifier
    views : sequence of View
        The views of the head; a mirrored view is computed from the same input.

    Returns
    -------
    model : keras.Model
        From RGB in 0 to 255, ``float32[n, size, size, 3]`` for each size, to ``float32[n, 1]``.
    """
    layers, ops = keras().layers, keras().ops
    images = {size: keras().Input((size, size, 3), name=name) for size, name in input_names(views).items()}
    # The means as Python floats: an array would not become part of the ONNX graph.
    without_means = layers.Rescaling(1.0, offset=[-mean for mean in MEANS_BGR])
    bgr = {size: without_means(ops.flip(rgb, axis=-1)) for size, rgb in images.items()}
    features = [backbone(ops.flip(bgr[v.size], axis=2) if v.mirrored else bgr[v.size]) for v in views]
    rows = [ops.sqrt(of_view) if classifier.transform != IDENTITY else of_view for of_view in features]
    average = layers.Average()(rows) if len(rows) > 1 else rows[0]
    x = _similarity(average, classifier.kernel.landmarks, classifier.kernel.gamma) if classifier.kernel else average
    head = layers.Dense(1, activation="sigmoid", name=OUTPUT)
    inputs = list(images.values())
    model = keras().Model(inputs if len(inputs) > 1 else inputs[0], head(x), name="catsdogs")
    kernel, bias = classifier.coefficients[:, np.newaxis], np.array([classifier.intercept])
    head.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
    return model


def _similarity(average: Any, landmarks: NDArray[np.float32], gamma: float) -> Any:
    """Compute what `Kernel.compare` computes, with Keras layers.

    ``-gamma * |x - z|^2 = x . (2 gamma z) - gamma |z|^2 - gamma |x|^2``, after the mean of the landmarks is subtracted
    from x and z: without this, float32 would lose the distances between nearly parallel rows.
    """
    layers, ops = keras().layers, keras().ops
    centre = landmarks.mean(axis=0)
    centred = landmarks - centre
    subtract_mean = layers.BatchNormalization(center=False, scale=False, epsilon=0.0, trainable=False)
    compare = layers.Dense(len(landmarks), name="landmarks")
    rows = subtract_mean(layers.UnitNormalization()(average))
    similarity = ops.exp(compare(rows) - gamma * ops.sum(ops.square(rows), axis=-1, keepdims=True))
    subtract_mean.set_weights([centre, np.ones_like(centre)])
    compare.set_weights([2 * gamma * centred.T, -gamma * np.square(centred).sum(axis=1)])
    return similarity
