"""Compute features with PyTorch."""

import logging
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .folding import fold
from .precisions import FLOAT32
from .resnet50 import MEANS_BGR

_log = logging.getLogger(__name__)


class TorchEngine:
    """The network run by Keras on PyTorch; on a GPU, Keras runs it once, and its kernels are captured and replayed.

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
        import torch

        self._model = _channels_last(fold(model, precision))
        self._device = self._model.variables[0].value.device
        self._pixels = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        # Before the capture, in which nothing may be copied from memory of the host.
        self._means = torch.tensor(MEANS_BGR, device=self._device)
        self._graph: Any = None
        self._lock, self.streams = threading.Lock(), 1
        if self._device.type == "cuda":
            self.streams = 2  # one computes while the other copies to pinned memory
            self._capture()

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the features of one batch of the given shape.

        Raises
        ------
        MemoryError
            The device has too little memory.
        """
        import torch

        try:
            batch = torch.from_numpy(pixels)
            if self._device.type == "cuda":
                batch = batch.pin_memory()
            with torch.inference_mode(), self._lock:
                self._pixels.copy_(batch, non_blocking=True)
                if self._graph:
                    self._graph.replay()
                features = self._features if self._graph else self._compute()
                return np.asarray(features.cpu().numpy())
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error

    def _compute(self) -> Any:
        inputs = self._pixels.float().flip(-1) - self._means  # the same as `network.preprocess`
        return self._model(inputs, training=False).float()

    def _capture(self) -> None:
        """Capture the computation of one batch (docs.pytorch.org, CUDA semantics, CUDA Graphs), if that is possible."""
        import torch

        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        try:
            with torch.inference_mode():
                with torch.cuda.stream(stream):
                    for _ in range(3):  # cuDNN initialises itself, and chooses
                        self._compute()
                torch.cuda.current_stream().wait_stream(stream)
                with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                    self._features = self._compute()
        except RuntimeError as error:  # also of too little memory, which the first batch then finds
            _log.info("PyTorch runs the network without a captured graph: %s", error)
        else:
            self._graph = graph

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


def _channels_last(model: Any) -> Any:
    """Store kernels in the order in which PyTorch computes with channels last: Keras' order is copied in each call."""
    import torch

    for variable in model.variables:
        if (kernel := variable.value.data).ndim == 4:
            reordered = kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
            variable.value.data = reordered.permute(2, 3, 1, 0)
    return model
