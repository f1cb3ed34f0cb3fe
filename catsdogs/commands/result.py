"""Return the results of commands as values that JSON can hold."""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from ..storage import finite


@dataclass(frozen=True)
class Result:
    """What a command returns: each is a frozen dataclass with these methods."""

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values that JSON can hold.

        Returns
        -------
        dict
            By the fields' names. Paths are strings, tuples are lists, dataclasses are dictionaries, and numbers that
            are not finite are None.
        """
        return {name: finite(value) for name, value in msgspec.to_builtins(self, enc_hook=_to_builtin).items()}


def _to_builtin(value: object) -> object:
    """Return a number of NumPy's as one of Python's, and a path as a string."""
    return value.item() if isinstance(value, np.generic) else str(value)
