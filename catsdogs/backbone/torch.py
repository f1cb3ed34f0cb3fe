"""Compute features with PyTorch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .folding import fold
from .network import preprocess
from .precisions import FLOAT32


class TorchEngine:
    """The network run by Keras on PyTorch, without compilation.

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
    streams = 1

    def __init__(self, model: Any, shape: tuple[int, ...], precision: str) -> None:
        self._model = fold(model, precision)
        self._device = self._model.variables[0].value.device

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the features of one batch.

        Raises
        ------
        MemoryError
            The device has too little memory.
        """
        import torch

        try:
            with torch.inference_mode():
                rgb = torch.from_numpy(pixels).to(self._device).float()
                return np.asarray(self._model(preprocess(rgb), training=False).float().cpu().numpy())
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error

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
