"""Compute features with PyTorch, on all devices of one kind."""

import logging
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .devices import Devices
from .folding import fold
from .frameworks import keras
from .precisions import FLOAT32
from .resnet50 import MEANS_BGR

_log = logging.getLogger(__name__)


class TorchEngine(Devices):
    """The network on each device.

    Parameters
    ----------
    model : keras.Model
        Takes BGR with the channel means subtracted, and returns (n, 2048).
    shape : tuple of int
        (batch, size, size, 3).
    precision : str
    """

    name, can_be_kept = "torch", False
    batch_sizes = {"cpu": 32, "gpu": 128}  # noqa: RUF012

    def __init__(self, model: Any, shape: tuple[int, ...], precision: str) -> None:
        devices = _devices(model.variables[0].value.device)
        # On a GPU, one call computes while the other copies to pinned memory.
        streams = 2 if devices[0].type == "cuda" else 1
        super().__init__([_Network(model, shape, precision, device) for device in devices], streams)

    def is_out_of_memory(self, error: Exception) -> bool:  # noqa: D102 - as in the base class
        import torch

        return isinstance(error, torch.OutOfMemoryError)

    @staticmethod
    def device() -> str:
        """Return "gpu" or "cpu"."""
        import torch

        return "gpu" if torch.cuda.is_available() else "cpu"

    @staticmethod
    def native_precision() -> str:
        """Return the fastest precision that the device supports natively."""
        import torch

        return "bfloat16" if TorchEngine.device() == "gpu" and torch.cuda.is_bf16_supported(False) else FLOAT32


class _Network:
    """The network on one device; on a GPU, Keras runs it once, and its kernels are captured and replayed."""

    def __init__(self, model: Any, shape: tuple[int, ...], precision: str, device: Any) -> None:
        import torch

        self._device = device
        with keras().device(str(device)):
            self._model = _channels_last(fold(model, precision))
        self._pixels = torch.zeros(shape, dtype=torch.uint8, device=device)
        # Before the capture, in which nothing may be copied from memory of the host.
        self._means = torch.tensor(MEANS_BGR, device=device)
        self._graph: Any = None
        self._lock = threading.Lock()
        if device.type == "cuda":
            self._capture()

    def __call__(self, pixels: NDArray[np.uint8]) -> Any:
        import torch

        batch = torch.from_numpy(pixels)
        if self._device.type == "cuda":
            batch = batch.pin_memory()
        with torch.inference_mode(), self._lock:
            self._pixels.copy_(batch, non_blocking=True)
            if self._graph:
                self._graph.replay()
            return (self._features if self._graph else self._compute()).cpu()

    def _compute(self) -> Any:
        inputs = self._pixels.float().flip(-1) - self._means  # the same as `network.preprocess`
        with keras().device(str(self._device)):  # of this thread
            return self._model(inputs, training=False).float()

    def _capture(self) -> None:
        """Capture the computation of one batch (docs.pytorch.org, CUDA semantics, CUDA Graphs), if that is possible."""
        import torch

        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(self._device)
        try:
            with torch.inference_mode(), torch.cuda.device(self._device):
                with torch.cuda.stream(stream):
                    for _ in range(3):  # cuDNN initialises itself, and chooses
                        self._compute()
                torch.cuda.current_stream().wait_stream(stream)
                with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                    self._features = self._compute()
        except RuntimeError as error:  # also of too little memory, which the first batch then finds
            _log.info("PyTorch runs the network without a captured graph: %s", error)
        else:
            self._graph = graph


def _devices(first: Any) -> list[Any]:
    """Return the devices that compute: those of other kinds might give other bits."""
    import torch

    if first.type != "cuda":
        return [first]
    found = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    return [device for device in found if torch.cuda.get_device_name(device) == torch.cuda.get_device_name(first)]


def _channels_last(model: Any) -> Any:
    """Store kernels in the order in which PyTorch computes with channels last: Keras' order is copied in each call."""
    import torch

    for variable in model.variables:
        if (kernel := variable.value.data).ndim == 4:
            reordered = kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
            variable.value.data = reordered.permute(2, 3, 1, 0)
    return model
