"""Choose the engine that computes features, by what is asked for and what is installed."""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError, OptionError
from .precisions import INT8, PRECISIONS

AUTO = "auto"
_CLASSES = {"tensorflow": "TensorFlowEngine", "openvino": "OpenVINOEngine", "jax": "JaxEngine", "torch": "TorchEngine"}
ENGINES = tuple(_CLASSES)
_BACKENDS = ("tensorflow", "jax", "torch")


class Engine(Protocol):
    """What computes one shape of images.

    Attributes
    ----------
    name : str
    batches : dict of str to int
        How many images of 224 pixels a side it takes at once, by device.
    streams : int
        How many calls may run at the same time.
    """

    name: str
    batches: dict[str, int]
    streams: int

    def __init__(self, model: Any, shape: tuple[int, ...], precision: str) -> None: ...

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the features of a batch; MemoryError where the device has not enough."""

    @staticmethod
    def device() -> str:
        """Return what it computes on."""

    @staticmethod
    def native_precision() -> str:
        """Return the fastest precision that the device computes without emulating it."""


def choose_engine(choice: str, precision: str = AUTO) -> type[Engine]:
    """Choose the engine, and set Keras to what it needs.

    "auto" is what KERAS_BACKEND names; OpenVINO where that is installed and there is no GPU for TensorFlow; TensorFlow;
    and without that JAX, or PyTorch. Only OpenVINO computes in int8.

    Raises
    ------
    CatsDogsError
        There is no such engine or precision, the engine is not installed, or does not compute in that precision.
    """
    if choice not in (AUTO, *ENGINES):
        raise OptionError(f"there is no engine {choice}", f"Give --engine {AUTO}, {', '.join(ENGINES)}")
    if precision not in (AUTO, *PRECISIONS):
        raise OptionError(f"there is no precision {precision}", f"Give --precision {AUTO}, {', '.join(PRECISIONS)}")
    name = choice
    if precision == INT8:
        if choice not in (AUTO, "openvino"):
            raise OptionError(f"{choice} does not compute in {INT8}", "Give --engine openvino, or --precision auto")
        name = "openvino"
    elif choice == AUTO:
        name = os.environ.get("KERAS_BACKEND") or next((name for name in _BACKENDS if find_spec(name)), _BACKENDS[0])
    backend = "tensorflow" if name == "openvino" else name
    if name not in ENGINES or find_spec(name) is None or find_spec(backend) is None:
        raise CatsDogsError(
            f"the engine {name} is not installed",
            f"pip install {name}, or give another --engine and, where it is set, KERAS_BACKEND",
        )
    if (configured := os.environ.setdefault("KERAS_BACKEND", backend)) != backend:
        raise CatsDogsError(
            f"the engine {name} needs Keras' {backend} backend, and KERAS_BACKEND is {configured}",
            f"Set KERAS_BACKEND={backend} before Keras is imported",
        )
    engine = _engine_class(name)
    if choice == AUTO and name == "tensorflow" and find_spec("openvino") and engine.device() == "cpu":
        return _engine_class("openvino")
    return engine


def _engine_class(name: str) -> type[Engine]:
    """Import an engine: the module that has its name."""
    engine: type[Engine] = getattr(import_module(f".{name}", __package__), _CLASSES[name])
    return engine
