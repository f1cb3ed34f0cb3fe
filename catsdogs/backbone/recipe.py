"""Time Keras' own recipe for features, as a baseline for ours."""

import time
from pathlib import Path

from . import network
from .frameworks import keras
from .weights import Weights


def keras_recipe(weights: Weights, folder: Path, size: int) -> float | None:
    """Do what keras.io shows: a tf.data pipeline into `predict`, in batches of 32.

    Returns
    -------
    rate : float or None
        Images a second up to the last batch, the tracing of the graph left out: `predict` may come back many seconds
        later, as long as tf.data's autotuning sleeps. None where Keras has another backend than TensorFlow, or
        cannot read one of the images; those whose names do not end as TensorFlow's formats do are left out.
    """
    if keras().backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    model, _ = network.build(weights, size)
    try:
        images = keras().utils.image_dataset_from_directory(
            folder, labels=None, image_size=(size, size), batch_size=32, shuffle=False, verbose=False
        )
        batches = images.map(keras().applications.resnet50.preprocess_input).prefetch(2)
        model.predict(batches.take(2), verbose=0)
        ends: list[float] = []
        clock = keras().callbacks.LambdaCallback(
            on_predict_batch_end=lambda batch, logs: ends.append(time.perf_counter())
        )
        start = time.perf_counter()
        features = model.predict(batches, verbose=0, callbacks=[clock])
        return round(len(features) / (ends[-1] - start), 1)
    except (ValueError, tf.errors.InvalidArgumentError):  # none is of a format that TensorFlow reads, or one is not
        return None
