"""Pixels come in, ``uint8[n, 224, 224, 3]`` RGB; ``float32[n, 2048]`` goes out of a frozen network.

`weights` says which weights, `network` builds the model that Keras would, an engine of its own file computes it.
"""

from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError
from ..progress import Progress
from .weights import Weights, choose_weights, fetch_imagenet

__all__ = ["Backbone", "Weights", "choose_weights", "drawn_picture", "fetch_imagenet", "load"]

TOLERANCE = 1e-4
"""How far the cosine of an engine's features to plain Keras' may fall short of 1 at float32."""


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

        model, self.sha256 = network.build(weights, progress)
        from .tensorflow import TensorFlowEngine

        self._engine = TensorFlowEngine(model, size)
        self.engine, self.precision, self.device = (
            self._engine.name,
            self._engine.precision,
            self._engine.device,
        )
        self.batch = self._engine.batch
        picture = drawn_picture(size)[None]
        _check_same(network.plain_features(model, picture)[0], self._engine(picture)[0], weights)

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
    return Backbone(weights, size, progress=progress)


def drawn_picture(size: int) -> NDArray[np.uint8]:
    """Draw a picture of shape (size, size, 3), uint8, whose channels differ: what a new backbone is tried on."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    waves = np.sin(12 * rows * columns) * np.cos(9 * rows)
    planes = [255 * rows, 255 * (0.5 + 0.5 * waves), 160 * np.hypot(rows - 0.5, columns - 0.5)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def _check_same(plain: NDArray[np.float32], engine: NDArray[np.float32], weights: Weights) -> None:
    scale = float(np.linalg.norm(plain) * np.linalg.norm(engine))
    if not scale > 0:
        raise CatsDogsError(f"{weights.name} gives features that are all zero or NaN", "Give other weights")
    cosine = float(plain @ engine) / scale
    if cosine < 1 - TOLERANCE:
        raise CatsDogsError(
            f"the features of {weights.name} differ from Keras' own (cosine {cosine:.5f})",
            "This machine's TensorFlow computes wrongly: try another version, and please report it",
        )
