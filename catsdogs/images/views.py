"""Parse the names of views: the sizes, mirrored or not, in which features of an image are computed."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError

SIZE = 224
"""Side of the squares that ResNet50 was trained on, in pixels."""

SIZES = range(160, 513, 32)
"""Sides in pixels that the network can halve five times without a remainder."""


@dataclass(frozen=True)
class View:
    """One form in which an image enters the backbone.

    Parameters
    ----------
    size : int
        Side of the square in pixels.
    mirrored : bool
        Whether left and right are swapped.
    """

    size: int = SIZE
    mirrored: bool = False

    @property
    def name(self) -> str:
        """The view's name in files and options, such as 224 or 224m."""
        return f"{self.size}{'m' if self.mirrored else ''}"

    def of(self, resized: dict[int, NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return the view of one or more resized images, given by size; of shape (..., size, size, 3), uint8."""
        return resized[self.size][..., ::-1, :] if self.mirrored else resized[self.size]


DEFAULT_VIEW = View()
"""Images that are not mirrored, in the size that the network was trained on."""


def sizes_of(views: Iterable[View]) -> list[int]:
    """Return the sizes of these views, ascending, each once."""
    return sorted({view.size for view in views})


def parse_views(names: Sequence[str]) -> tuple[View, ...]:
    """Return the views with these names, in natural order.

    Raises
    ------
    CatsDogsError
        There are no names, or a name is not that of a view.
    """
    views = []
    for name in sorted({names} if isinstance(names, str) else set(names)):  # all sizes have three digits
        found = re.fullmatch("([0-9]{3})(m?)", name)
        if not found or int(found[1]) not in SIZES:
            raise OptionError(
                f"{name!a} is not a view",
                f"Give --views multiples of 32 from {SIZES[0]} to {SIZES[-1]}, followed by m if mirrored: 224,224m,288",
            )
        views.append(View(int(found[1]), bool(found[2])))
    if not views:
        raise OptionError("no views are given", "Give --views one or more, such as 224,224m")
    return tuple(views)
