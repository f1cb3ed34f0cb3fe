"""Compute on all devices of one kind that a machine has."""

from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Devices:
    """The same network on each of several devices; the engines that have such devices derive from it.

    Parameters
    ----------
    networks : sequence of callable
        One for each device: computes the features of a batch.
    streams : int
        Concurrent calls on each device.

    Attributes
    ----------
    streams : int
        Concurrent calls on all devices; further calls wait.
    """

    def __init__(self, networks: Sequence[Callable[[NDArray[np.uint8]], Any]], streams: int) -> None:
        self.streams = streams * len(networks)
        self._idle = SimpleQueue[Callable[[NDArray[np.uint8]], Any]]()
        for network in streams * [*networks]:
            self._idle.put(network)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the features of one batch of the compiled shape, on the device that is idle longest.

        Raises
        ------
        MemoryError
            The device has too little memory.
        """
        network = self._idle.get()
        try:
            return np.asarray(network(pixels))
        except Exception as error:
            if not self.is_out_of_memory(error):
                raise
            raise MemoryError(str(error)) from error
        finally:
            self._idle.put(network)

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether an error of a framework means that the device has too little memory."""
        return False
