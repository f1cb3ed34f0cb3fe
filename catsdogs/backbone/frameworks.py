"""Import Keras, OpenVINO and NNCF at the first need, and keep them from writing to standard error."""

import faulthandler
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ..errors import CatsDogsError

_redirection = threading.RLock()


@cache
def keras() -> Any:
    """Import Keras with the backend that KERAS_BACKEND names, by itself TensorFlow.

    Raises
    ------
    CatsDogsError
        It does not load, or is set to another backend, to channels first, or to another precision than float32.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # What keras.json says is meant for the user's own work.
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with suppress_stderr():
            import keras

            # "float32" is to mean that on every device, and not the 10 bits of TensorFloat-32.
            if backend == "tensorflow":
                import tensorflow as tf

                tf.get_logger().setLevel("ERROR")
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
    if keras.backend.backend() != backend:
        raise CatsDogsError(
            f"Keras is set to its {keras.backend.backend()} backend",
            f"Set KERAS_BACKEND={backend} before Keras is imported",
        )
    if keras.config.image_data_format() != "channels_last":
        raise CatsDogsError("Keras is set to channels_first", 'Set "image_data_format": "channels_last" in keras.json')
    if keras.config.dtype_policy().name != "float32":
        raise CatsDogsError(
            f"Keras is set to {keras.config.dtype_policy().name}",
            'Set "floatx" in keras.json and the policy to float32',
        )
    return keras


@cache
def openvino() -> Any:
    """Import OpenVINO."""
    with without_telemetry():
        import openvino
    return openvino


@cache
def nncf() -> Any:
    """Import NNCF, and keep it from logging, and from changing how others log."""
    loggers = logging.getLoggerClass()
    try:
        with without_telemetry():
            import nncf
    finally:
        logging.setLoggerClass(loggers)
    nncf.set_log_level(logging.ERROR)
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


@contextmanager
def suppress_stderr() -> Iterator[None]:
    """Keep from standard error what C++ code writes there, however it was asked not to; show it if the block fails.

    TensorFlow logs to file descriptor 2 before it has read any of its own settings.
    """
    with _redirection:
        if sys.stderr is not None:
            sys.stderr.flush()
        try:
            stderr = os.dup(2)
        except OSError:  # it is closed: whatever is written there, nobody sees it
            stderr = os.open(os.devnull, os.O_WRONLY)
        # A TensorFlow that was built for another processor ends the process: the user is to see why.
        reports_crashes = not faulthandler.is_enabled()
        with tempfile.TemporaryFile() as captured:
            os.dup2(captured.fileno(), 2)
            if reports_crashes:
                faulthandler.enable(stderr)
            try:
                yield
            except Exception:  # not Ctrl-C: then there is nothing to explain
                captured.seek(0)
                os.write(stderr, captured.read())
                raise
            finally:
                if reports_crashes:
                    faulthandler.disable()
                os.dup2(stderr, 2)
                os.close(stderr)
