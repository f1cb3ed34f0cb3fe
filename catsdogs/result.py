"""Convert results to values that JSON can hold."""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from .storage import finite


@dataclass(frozen=True)
class Result:
    """Base of all results, which are frozen dataclasses."""

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as values that JSON can hold.

        Returns
        -------
        dict
            By the names of the fields. Paths are strings, tuples are lists, dataclasses are dictionaries, and numbers
            that are not finite are None.
        """
        return {name: finite(value) for name, value in msgspec.to_builtins(self, enc_hook=_to_builtin).items()}


def _to_builtin(value: object) -> object:
    """Convert a NumPy number to a Python number, and a path to a string."""
    return value.item() if isinstance(value, np.generic) else str(value)
