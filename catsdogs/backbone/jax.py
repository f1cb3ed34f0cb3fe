"""Compute features with JAX."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .folding import fold
from .network import preprocess
from .precisions import FLOAT32


class JaxEngine:
    """One compiled function.

    Parameters
    ----------
    model : keras.Model
        Takes BGR with the channel means subtracted, and returns (n, 2048).
    shape : tuple of int
        (batch, size, size, 3).
    precision : str
    """

    name, can_be_kept = "jax", False
    batch_sizes = {"cpu": 32, "gpu": 128, "tpu": 128}  # noqa: RUF012
    streams = 2

    def __init__(self, model: Any, shape: tuple[int, ...], precision: str) -> None:
        import jax

        folded = fold(model, precision)
        # The weights are arguments, because the compiler would try to optimise constants.
        self._weights = [[variable.value for variable in folded.trainable_variables]]
        self._weights += [[variable.value for variable in folded.non_trainable_variables]]

        def features(weights: Any, rgb: Any) -> Any:
            outputs, _ = folded.stateless_call(*weights, preprocess(rgb.astype(FLOAT32)), training=False)
            return outputs.astype(FLOAT32)

        pixels = jax.ShapeDtypeStruct(shape, np.uint8)
        self._compiled = jax.jit(features).lower(self._weights, pixels).compile()

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the features of one batch of the compiled shape.

        Raises
        ------
        MemoryError
            The device has too little memory.
        """
        from jax.errors import JaxRuntimeError

        try:
            return np.asarray(self._compiled(self._weights, pixels))
        except JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise MemoryError(str(error)) from error

    @staticmethod
    def device() -> str:
        """Return "cpu", "gpu" or "tpu"."""
        import jax

        return str(jax.default_backend())

    @staticmethod
    def native_precision() -> str:
        """Return the fastest precision that the device supports natively; XLA emulates bfloat16 on CPUs."""
        return FLOAT32 if JaxEngine.device() == "cpu" else "bfloat16"
