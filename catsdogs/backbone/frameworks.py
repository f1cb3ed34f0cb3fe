"""Import Keras, OpenVINO and NNCF at the first need.

What is set for the whole process then is all here, and listed in docs/design.md.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partialmethod
from typing import Any

from ..errors import CatsDogsError


@cache
def keras() -> Any:
    """Import Keras with the backend that KERAS_BACKEND names, by itself TensorFlow.

    Sets KERAS_BACKEND and TF_CPP_MIN_LOG_LEVEL=3 where they are not set, and switches TensorFloat-32 off.

    Raises
    ------
    CatsDogsError
        It does not load, or is set to another backend, to channels first, or to another precision than float32.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # What keras.json says is meant for the user's own work.
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        import keras

        # "float32" is to mean that on every device, and not the 10 bits of TensorFloat-32.
        if backend == "tensorflow":
            import tensorflow as tf

            tf.config.experimental.enable_tensor_float_32_execution(False)
        elif backend == "jax":
            import jax

            jax.config.update("jax_default_matmul_precision", "highest")
        elif backend == "torch":
            import torch

            torch.backends.cudnn.allow_tf32 = False
    except ImportError as error:
        raise CatsDogsError(
            f"Keras does not load with its {backend} backend ({error})",
            "Unset KERAS_BACKEND, or install catsdogs anew in an environment of its own",
        ) from error
    of_keras = keras.backend.backend()
    for found, needed, hint in (
        (f"its {of_keras} backend", f"its {backend} backend", f"Set KERAS_BACKEND={backend} before Keras is imported"),
        (keras.config.image_data_format(), "channels_last", 'Set "image_data_format": "channels_last" in keras.json'),
        (keras.config.dtype_policy().name, "float32", 'Set "floatx" in keras.json and the policy to float32'),
    ):
        if found != needed:
            raise CatsDogsError(f"Keras is set to {found}", hint)
    return keras


@cache
def openvino() -> Any:
    """Import OpenVINO."""
    with without_telemetry():
        import openvino
    return openvino


@cache
def nncf() -> Any:
    """Import NNCF, and keep it from logging and from progress bars, and from changing how others log."""
    loggers = logging.getLoggerClass()
    try:
        with without_telemetry():
            import nncf
            from nncf.common.logging.track_progress import track
    finally:
        logging.setLoggerClass(loggers)
    nncf.set_log_level(logging.ERROR)
    # Its bars go to standard output whatever the level, and it has no switch for them.
    track.__init__ = partialmethod(track.__init__, disable=True)
    return nncf


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Keep Intel's packages from telling Google Analytics that they are used, as they do at their import and later.

    They do without the package that sends it where that is not installed.
    """
    name = "openvino_telemetry"
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
        if before:
            sys.modules[name] = before
