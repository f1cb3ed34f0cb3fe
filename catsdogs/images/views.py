"""Parse the names of views, the sizes and reflections of an image that features are computed for."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from natsort import natsorted
from numpy.typing import NDArray

from ..errors import OptionError
from .decoding import SIZE

SIZES = range(160, 513, 32)
"""Sides that the network halves five times without a rest, in pixels."""


@dataclass(frozen=True)
class View:
    """One way of looking at an image.

    Parameters
    ----------
    size : int
        Side of the square in pixels.
    mirrored : bool
        Left and right swapped.
    """

    size: int = SIZE
    mirrored: bool = False

    @property
    def name(self) -> str:
        """Its name in files and options."""
        return f"{self.size}{'m' if self.mirrored else ''}"

    def of(self, resized: dict[int, NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return its pixels, of shape (..., size, size, 3), uint8, of one image or several, resized to each size."""
        return resized[self.size][..., ::-1, :] if self.mirrored else resized[self.size]


DEFAULT_VIEW = View()
"""The images as they are, in the size that the network was trained on."""


def sizes_of(views: Iterable[View]) -> list[int]:
    """Return the sizes that an image is resized to for these views, ascending, each once."""
    return sorted({view.size for view in views})


def parse_views(names: Sequence[str]) -> tuple[View, ...]:
    """Return views by their names, in natural order.

    Raises
    ------
    CatsDogsError
        There is none, or one is named that cannot be computed.
    """
    views = []
    for name in natsorted(set(names)):
        found = re.fullmatch("([0-9]{3})(m?)", name)
        if not found or int(found[1]) not in SIZES:
            raise OptionError(
                f"{name!a} is no view",
                f"Give --views sizes, multiples of 32 from {SIZES[0]} to {SIZES[-1]}, m if mirrored: 224,224m,288",
            )
        views.append(View(int(found[1]), bool(found[2])))
    if not views:
        raise OptionError("there are no views", "Give --views one or more, such as 224,224m")
    return tuple(views)
