"""Return the results of commands as values that JSON can hold."""

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

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
        return {name: finite(_to_json_value(value)) for name, value in vars(self).items()}


def _to_json_value(value: Any) -> Any:
    if isinstance(value, Result):
        return value.to_dict()
    if is_dataclass(value):
        return _to_json_value(vars(value))
    if isinstance(value, Mapping):
        return {name: _to_json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json_value(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value
