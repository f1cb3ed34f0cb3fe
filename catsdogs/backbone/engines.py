"""Select the engine that computes features, by option, environment and installed packages."""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from ..choices import EngineChoice
from ..errors import CatsDogsError, OptionError
from .gpu import may_have_gpu
from .precisions import INT8, PRECISIONS

AUTO = "auto"
_CLASSES = {"tensorflow": "TensorFlowEngine", "openvino": "OpenVINOEngine", "jax": "JaxEngine", "torch": "TorchEngine"}
ENGINES: tuple[EngineChoice, ...] = get_args(EngineChoice)[1:]  # without "auto"
_BACKENDS = ("tensorflow", "jax", "torch")


class Engine(Protocol):
    """Computes features of batches of one fixed shape.

    Attributes
    ----------
    name : str
    batch_sizes : dict of str to int
        Default batch size for images of 224 x 224 pixels, by device.
    streams : int
        Recommended number of concurrent calls.
    can_be_kept : bool
        Whether the engine has `to_bytes` and `identity`.
    """

    name: str
    batch_sizes: dict[str, int]
    streams: int
    can_be_kept: bool

    def __init__(self, model: Any, shape: tuple[int, ...], precision: str) -> None: ...

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the features of a batch; raise MemoryError if the device has too little memory."""

    @staticmethod
    def device() -> str:
        """Return the device, such as "cpu" or "gpu"."""

    @staticmethod
    def native_precision() -> str:
        """Return the fastest precision that the device supports natively."""

    @staticmethod
    def identity() -> str:
        """Return which build of the engine reads what `to_bytes` returns."""

    def to_bytes(self) -> bytes:
        """Return the compiled network, which the engine accepts as a model on this kind of processor."""


def choose_engine(choice: str, precision: str = AUTO) -> type[Engine]:
    """Select the engine, and set KERAS_BACKEND to the backend that it needs.

    "auto" selects the backend that KERAS_BACKEND names, or else the first of TensorFlow, JAX and PyTorch that is
    installed. OpenVINO then replaces TensorFlow if it is installed and TensorFlow finds no GPU. TensorFlow is not
    imported where there can be none. Only OpenVINO computes in int8.

    Raises
    ------
    CatsDogsError
        The engine or precision does not exist, or the engine is not installed or does not support the precision.
    """
    if choice not in (AUTO, *ENGINES):
        raise OptionError(f"there is no engine {choice}", f"Set --engine to one of {AUTO}, {', '.join(ENGINES)}")
    if precision not in (AUTO, *PRECISIONS):
        hint = f"Set --precision to one of {AUTO}, {', '.join(PRECISIONS)}"
        raise OptionError(f"there is no precision {precision}", hint)
    name = choice
    if precision == INT8:
        if choice not in (AUTO, "openvino"):
            raise OptionError(f"{choice} does not support {INT8}", "Use --engine openvino or --precision auto")
        name = "openvino"
    elif choice == AUTO:
        name = os.environ.get("KERAS_BACKEND") or next((name for name in _BACKENDS if find_spec(name)), _BACKENDS[0])
    backend = "tensorflow" if name == "openvino" else name
    if name not in ENGINES or find_spec(name) is None or find_spec(backend) is None:
        message = f"the engine {name} is not installed"
        raise CatsDogsError(message, f"Run pip install {name}, or select another engine with --engine or KERAS_BACKEND")
    configured = os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or backend
    if configured != backend:
        message = f"the engine {name} needs the {backend} backend of Keras, but KERAS_BACKEND is {configured}"
        raise CatsDogsError(message, f"Set KERAS_BACKEND={backend} before Keras is imported")
    engine = _engine_class(name)
    replaceable = choice == AUTO and name == "tensorflow" and find_spec("openvino")
    if replaceable and not (may_have_gpu() and engine.device() == "gpu"):
        return _engine_class("openvino")
    return engine


def _engine_class(name: str) -> type[Engine]:
    """Import the engine from the module of the same name."""
    engine: type[Engine] = getattr(import_module(f".{name}", __package__), _CLASSES[name])
    return engine
