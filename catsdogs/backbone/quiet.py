"""Nothing comes in; Keras and TensorFlow go out, imported once, at the first need, and without their chatter."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ..errors import CatsDogsError


@cache
def keras() -> Any:
    """Import Keras with its TensorFlow backend.

    Raises
    ------
    CatsDogsError
        Keras is set to another backend, or to channels first.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silence():
        import keras
        import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    if keras.backend.backend() != "tensorflow":
        raise CatsDogsError(f"Keras is set to its {keras.backend.backend()} backend", "Set KERAS_BACKEND=tensorflow")
    if keras.config.image_data_format() != "channels_last":
        raise CatsDogsError("Keras is set to channels_first", 'Set "image_data_format": "channels_last" in keras.json')
    return keras


@contextmanager
def silence() -> Iterator[None]:
    """Keep from standard error what C++ code writes there, however it was asked not to; show it if the block fails.

    TensorFlow logs to file descriptor 2 before it has read any of its own settings.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
