"""Import Keras, OpenVINO and NNCF when they are first needed.

All settings that affect the whole process are in this module; docs/reference/environment.md lists them.
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
    """Import Keras with the backend that KERAS_BACKEND names, TensorFlow by default.

    Sets KERAS_BACKEND and TF_CPP_MIN_LOG_LEVEL=3 if they are not set, and disables TensorFloat-32.

    Raises
    ------
    CatsDogsError
        Keras cannot be imported, or is set to another backend, to channels first, or to a precision other than float32.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # The backend in keras.json is for the user's other work.
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        import keras

        # float32 must have its 23 bits of mantissa on every device, not the 10 bits of TensorFloat-32.
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
            f"Keras cannot be imported with its {backend} backend ({error})",
            "Unset KERAS_BACKEND, or install catsdogs in a new virtual environment",
        ) from error
    of_keras = keras.backend.backend()
    for found, needed, hint in (
        (f"its {of_keras} backend", f"its {backend} backend", f"Set KERAS_BACKEND={backend} before Keras is imported"),
        (keras.config.image_data_format(), "channels_last", 'Set "image_data_format": "channels_last" in keras.json'),
        (keras.config.dtype_policy().name, "float32", 'Set "floatx" in keras.json and the dtype policy to float32'),
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
    """Import NNCF without its log lines and progress bars, and without its changes to the logger class."""
    loggers = logging.getLoggerClass()
    try:
        with without_telemetry():
            import nncf
            from nncf.common.logging.track_progress import track
    finally:
        logging.setLoggerClass(loggers)
    nncf.set_log_level(logging.ERROR)
    # NNCF prints progress bars to standard output at every log level, and has no option to disable them.
    track.__init__ = partialmethod(track.__init__, disable=True)
    return nncf


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Prevent Intel's packages from sending usage data to Google Analytics, at their import and later.

    They send none if the package openvino_telemetry is not installed, so its import fails within this context.
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
