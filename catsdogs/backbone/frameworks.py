"""Import Keras, JAX, OpenVINO and NNCF when they are first needed.

All settings that affect the whole process are in this module; docs/reference/environment.md lists them.
"""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partialmethod
from typing import Any

from ..errors import CatsDogsError

_used_by: list[int] = []
"""The process that first used a framework here."""

_import_lock = threading.RLock()


def raise_if_forked() -> None:
    """Refuse to compute in a process that was forked after a framework had been used: it would wait forever.

    Raises
    ------
    CatsDogsError
        A fork copies none of the frameworks' threads.
    """
    if os.getpid() not in (_used_by or [os.getpid()]):
        message = "this process was forked from one that had used a backbone, whose threads a fork does not copy"
        hint = 'Start processes by multiprocessing.get_context("spawn"), or before the first call'
        raise CatsDogsError(message, hint)


def keras() -> Any:
    """Import Keras with the backend that KERAS_BACKEND names, TensorFlow by default.

    Sets KERAS_BACKEND and TF_CPP_MIN_LOG_LEVEL=3 if they are not set, and disables TensorFloat-32.

    Raises
    ------
    CatsDogsError
        Keras cannot be imported; it is set to another backend, to channels first, or to a precision other than float32;
        or TensorFlow does not execute eagerly, or executes functions eagerly.
    """
    with _import_lock:
        imported, backend = _import_keras()
    of_keras, data_format = imported.backend.backend(), imported.config.image_data_format()
    dtypes = {imported.config.dtype_policy().name, imported.config.floatx()} - {"float32"}
    # The user may change these at any time, also after the import.
    settings: list[tuple[object, object, str, str]] = [
        (of_keras, backend, f"Keras uses its {of_keras} backend", f"Set KERAS_BACKEND={backend} before its import"),
        (data_format, "channels_last", f"Keras is set to {data_format}", "Set image_data_format to channels_last"),
        (dtypes, set(), f"Keras is set to {'/'.join(dtypes)}", "Set floatx and the dtype policy to float32"),
    ]
    if backend == "tensorflow":
        import tensorflow as tf

        eager, functions = tf.compat.v1.executing_eagerly_outside_functions(), tf.config.functions_run_eagerly()
        settings += [
            (eager, True, "TensorFlow's eager execution is disabled", "Do not call disable_eager_execution"),
            (functions, False, "TensorFlow runs functions eagerly", "Call tf.config.run_functions_eagerly(False)"),
        ]
    for found, needed, message, hint in settings:
        if found != needed:
            raise CatsDogsError(message, hint)
    return imported


@cache
def _import_keras() -> tuple[Any, str]:
    _used_by.append(os.getpid())
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # The backend in keras.json is for the user's other work.
    backend = os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
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
        message = f"Keras cannot be imported with its {backend} backend ({error})"
        raise CatsDogsError(message, "Unset KERAS_BACKEND, or install catsdogs in a new virtual environment") from error
    return keras, backend


@cache
def openvino() -> Any:
    """Import OpenVINO."""
    _used_by.append(os.getpid())
    with without_telemetry():
        import openvino
    return openvino


@cache
def jax() -> Any:
    """Import JAX."""
    _used_by.append(os.getpid())
    import jax
    import jax.export

    return jax


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
    with _import_lock:
        before = sys.modules.get(name)
        sys.modules[name] = None  # type: ignore[assignment]
        try:
            yield
        finally:
            sys.modules.pop(name, None)
            if before:
                sys.modules[name] = before
