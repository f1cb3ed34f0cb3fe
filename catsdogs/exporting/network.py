"""Join a backbone and a head into one Keras model: RGB pixels in, the probability of class 1 out.

It is made of Keras' own layers and operations alone, so that who loads it needs nothing of this package.
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
    """Return what the input of each size is called: "image", or "image_224" and so on where there are several.

    Each size is an input of its own: a picture that the graph squashed from another size, or by another filter than
    Pillow's, would have other pixels than those that the head was trained on.
    """
    sizes = sizes_of(views)
    return {size: "image" if len(sizes) == 1 else f"image_{size}" for size in sizes}


def join(backbone: Any, classifier: Classifier, views: Sequence[View]) -> Any:
    """Join backbone and head.

    Parameters
    ----------
    backbone : keras.Model
        Takes BGR with the means off, gives (n, 2048).
    classifier : Classifier
    views : sequence of View
        The head's; a mirrored one is computed of the same input.

    Returns
    -------
    model : keras.Model
        Takes RGB of 0 to 255, ``float32[n, size, size, 3]`` a size, and gives ``float32[n, 1]``.
    """
    layers, ops = keras().layers, keras().ops
    images = {size: keras().Input((size, size, 3), name=name) for size, name in input_names(views).items()}
    # The means as plain numbers: an array would stay outside of the graph that goes to ONNX.
    without_means = layers.Rescaling(1.0, offset=[-mean for mean in MEANS_BGR])
    bgr = {size: without_means(ops.flip(rgb, axis=-1)) for size, rgb in images.items()}
    features = [backbone(ops.flip(bgr[v.size], axis=2) if v.mirrored else bgr[v.size]) for v in views]
    rows = [ops.sqrt(of_view) if classifier.transform != IDENTITY else of_view for of_view in features]
    average = layers.Average()(rows) if len(rows) > 1 else rows[0]
    seen = _similarity(average, classifier.kernel.landmarks, classifier.kernel.gamma) if classifier.kernel else average
    head = layers.Dense(1, activation="sigmoid", name=OUTPUT)
    inputs = list(images.values())
    model = keras().Model(inputs if len(inputs) > 1 else inputs[0], head(seen), name="catsdogs")
    kernel, bias = classifier.coefficients[:, np.newaxis], np.array([classifier.intercept])
    head.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
    return model


def _similarity(average: Any, landmarks: NDArray[np.float32], gamma: float) -> Any:
    """Do what `Kernel.compare` does, as a layer of exponential units.

    ``-gamma * |x - z|^2 = x . (2 gamma z) - gamma |z|^2 - gamma |x|^2``, all of it less the landmarks' mean: without
    that, float32 would lose the distances of rows that are nearly parallel.
    """
    layers, ops = keras().layers, keras().ops
    centre = landmarks.mean(axis=0)
    centred = landmarks - centre
    take_off = layers.BatchNormalization(center=False, scale=False, epsilon=0.0, trainable=False)
    compare = layers.Dense(len(landmarks), name="landmarks")
    rows = take_off(layers.UnitNormalization()(average))
    similarity = ops.exp(compare(rows) - gamma * ops.sum(ops.square(rows), axis=-1, keepdims=True))
    take_off.set_weights([centre, np.ones_like(centre)])
    compare.set_weights([2 * gamma * centred.T, -gamma * np.square(centred).sum(axis=1)])
    return similarity
