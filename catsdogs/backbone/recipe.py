"""Time feature extraction as Keras' documentation shows it, as a baseline."""

import time
from pathlib import Path

from . import network
from .frameworks import keras
from .weights import Weights


def keras_recipe(weights: Weights, folder: Path, size: int) -> float | None:
    """Compute features as keras.io shows: `predict` on a tf.data pipeline, with a batch size of 32.

    Images are skipped if their file extension is not one of TensorFlow's formats.

    Returns
    -------
    rate : float or None
        Images per second until the end of the last batch, without the tracing of the graph. `predict` itself may return
        many seconds later, because it waits for the autotuning thread of tf.data. None if Keras' backend is not
        TensorFlow, or TensorFlow cannot read one of the images.
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
    except (ValueError, tf.errors.InvalidArgumentError):  # TensorFlow cannot read any image, or one of them
        return None
