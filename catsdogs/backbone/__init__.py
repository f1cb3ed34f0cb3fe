"""Pixels come in, ``uint8[n, 224, 224, 3]`` RGB; ``float32[n, 2048]`` goes out of a frozen network.

`weights` says which weights, `network` builds the model that Keras would, an engine of its own file computes it.
"""

import logging
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError
from ..progress import Progress
from .weights import Weights, choose_weights, fetch_imagenet

__all__ = ["Backbone", "Weights", "choose_weights", "drawn_picture", "fetch_imagenet", "load"]

_log = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""How far an engine's features may be from plain Keras', as a share of their norm, at float32.

Of the difference and not of the angle, as all features of random weights point almost the same way. TensorFlow on
a CPU is 3e-7 away; with the channels swapped it is 0.5 (random:0, `drawn_picture`, 2 cores of an x86-64)."""


class Backbone:
    """A frozen network, loaded and checked.

    Parameters
    ----------
    weights : Weights
    size : int
        Side of the images in pixels.
    progress : callable, optional
        Told how far a download is.

    Attributes
    ----------
    sha256 : str
        Identity of the network.
    batch : int
        How many images are computed at once.
    precision, engine, device : str

    Raises
    ------
    CatsDogsError
        The weights cannot be had, do not fit, or give other features here than Keras' own code does.
    """

    def __init__(self, weights: Weights, size: int, *, progress: Progress | None = None) -> None:
        from . import network

        model, self.sha256 = network.build(weights, size, progress=progress)
        from .tensorflow import TensorFlowEngine

        picture = drawn_picture(size)[None]
        try:
            (plain,) = network.plain_features(model, picture)
            self._engine = TensorFlowEngine(model, size)
            (computed,) = self._engine(picture)
        except Exception as error:
            raise CatsDogsError(
                f"{weights.name} fails on a picture of {size} x {size}: {network.gist(error)}",
                "Give weights that compute images of that size on this machine",
            ) from error
        _must_agree(plain, computed, weights)
        self.engine, self.precision = self._engine.name, self._engine.precision
        self.device, self.batch = self._engine.device, self._engine.batch

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute features.

        Parameters
        ----------
        pixels : ndarray of shape (n, size, size, 3), uint8
            RGB; n at most `batch`.

        Returns
        -------
        features : ndarray of shape (n, 2048), float32

        Raises
        ------
        CatsDogsError
            The network gave values that are not finite.
        """
        features = self._engine(pixels)
        if not np.isfinite(features).all():
            raise CatsDogsError("the backbone gave NaN or infinite features", "Its weights are damaged: give others")
        return features

    @property
    def versions(self) -> dict[str, str]:
        """Of the packages that take part, by name."""
        return {name: version(name) for name in ("tensorflow", "keras", "numpy", "pillow")}


def load(weights: Weights, size: int, *, progress: Progress | None = None) -> Backbone:
    """Load a backbone, telling `progress` what the wait is for."""
    if progress:
        progress("loading the backbone", 0, 0)
    backbone = Backbone(weights, size, progress=progress)
    _log.info("%s on the %s: %s", weights.name, backbone.device, backbone.sha256)
    return backbone


def drawn_picture(size: int) -> NDArray[np.uint8]:
    """Draw a picture of shape (size, size, 3), uint8, whose channels differ: what a new backbone is tried on."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    waves = np.sin(12 * rows * columns) * np.cos(9 * rows)
    planes = [255 * rows, 255 * (0.5 + 0.5 * waves), 160 * np.hypot(rows - 0.5, columns - 0.5)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def _must_agree(plain: NDArray[np.float32], computed: NDArray[np.float32], weights: Weights) -> None:
    norm = float(np.linalg.norm(plain.astype(np.float64)))
    if not 0 < norm < np.inf:
        raise CatsDogsError(f"{weights.name} gives features that are all zero or not finite", "Give other weights")
    apart = float(np.linalg.norm(computed.astype(np.float64) - plain)) / norm
    if not apart <= TOLERANCE:
        raise CatsDogsError(
            f"the features of {weights.name} are not Keras' own: they are {apart:.1e} of their norm apart",
            "This machine's TensorFlow computes wrongly: try another version, and please report it",
        )
