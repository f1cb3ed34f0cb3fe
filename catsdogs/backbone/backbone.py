"""Load a frozen network, check it against Keras, and compute features with it."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError
from ..images.decoding import SIZE
from ..progress import Progress, tell
from . import network as networks
from .engines import AUTO, Engine, choose_engine
from .files import summarize_error
from .gpu import warn_of_unused_gpu
from .precisions import FLOAT32, INT8, TOLERANCES
from .quantized import Int8Similarity, Quantized
from .resnet50 import N_FEATURES
from .weights import Weights

_PACKAGES = {"openvino": ("openvino", "tensorflow"), "jax": ("jax", "jaxlib")}
"""Of the engines that take more than the package of their name."""

_log = logging.getLogger(__name__)


class Backbone:
    """A frozen network, loaded and checked.

    Parameters
    ----------
    weights : Weights
    sizes : sequence of int
        Sides of the images in pixels.
    engine, precision : str
        By name, or "auto"; "int8" takes a `network`.
    network : Quantized, optional
        What `quantize` made of the same weights.
    progress : callable, optional
        Told what the wait is for, and how far a download is.

    Attributes
    ----------
    model : keras.Model
        As Keras would compute it.
    network : Quantized or None
        What computes in int8.
    sha256 : str
        Identity of the weights.
    batch : int
        How many images to give at once.
    streams : int
        How many calls may run at the same time.
    precision, engine, device : str
    int8_similarity : Int8Similarity or None
        How near to float32 it was found to be; None where nobody has looked.
    batch_reduced : bool
        Whether the device had too little memory for the usual batch.

    Raises
    ------
    CatsDogsError
        The weights or the engine cannot be had, do not fit, or give other features here than Keras' own code does.
    """

    def __init__(
        self,
        weights: Weights,
        sizes: Sequence[int],
        *,
        engine: str = AUTO,
        precision: str = AUTO,
        network: Quantized | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._engine_class = choose_engine(engine, precision)
        if (precision == INT8) != (network is not None):
            raise ValueError(f"a quantized network is what computes in {INT8}, and in nothing else")
        tell(progress, "loading the backbone", 0, 0)
        self.model, self.sha256 = networks.build(weights, sizes[0], progress=progress)
        self.network = network
        self.int8_similarity: Int8Similarity | None = None
        self.engine, self.device = self._engine_class.name, self._engine_class.device()
        self.precision = self._engine_class.native_precision() if precision == AUTO else precision
        # Who asks for OpenVINO or int8 asks for the processor.
        if self.device == "cpu" and engine != "openvino" and precision != INT8:
            warn_of_unused_gpu("tensorflow" if self.engine == "openvino" else self.engine)
        self.batch, self.batch_reduced = max(map(self._usual_batch, sizes)), False
        # By size: how many images at once, and what computes them.
        self._compiled: dict[int, tuple[int, Engine]] = {}
        self._lock = threading.Lock()
        references = {size: self._reference_features(weights, size) for size in sizes}
        try:
            self._build_and_check(weights, references)
        except CatsDogsError:
            if precision != AUTO or self.precision == FLOAT32:
                raise
            # What overflows in 16 bits, or is far off, is computed in 32.
            self.precision = FLOAT32
            self._build_and_check(weights, references)
        self.streams = self._compiled[sizes[0]][1].streams
        facts = weights.name, self.engine, self.precision, self.device, self.sha256
        _log.info("%s by %s in %s on the %s: %s", *facts)

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute features; several threads may ask for them.

        Parameters
        ----------
        pixels : ndarray of shape (n, size, size, 3), uint8
            RGB; any number of images.

        Returns
        -------
        features : ndarray of shape (n, 2048), float32

        Raises
        ------
        CatsDogsError
            The network gave values that are not finite, or the device has not the memory for a single image.
        """
        features, done, size = np.empty((len(pixels), N_FEATURES), np.float32), 0, pixels.shape[1]
        while done < len(pixels):
            batch, engine = self._compiled[size]
            part = pixels[done : done + batch]
            padded = part if len(part) == batch else np.zeros((batch, *pixels.shape[1:]), np.uint8)
            padded[: len(part)] = part
            try:
                features[done : done + len(part)] = engine(padded)[: len(part)]
            except MemoryError as error:
                self._halve_batch(size, batch, error)
            else:
                done += len(part)
        if not np.isfinite(features).all():
            raise CatsDogsError("the backbone gave NaN or infinite features", "Its weights are damaged: give others")
        return features

    @property
    def versions(self) -> dict[str, str]:
        """Of the packages that take part, by name."""
        packages = _PACKAGES.get(self.engine, (self.engine,))
        return {name: version(name) for name in (*packages, "keras", "numpy", "pillow")}

    def _usual_batch(self, size: int) -> int:
        """Return the power of two that has about as many pixels as the usual batch: all sizes then fill one another."""
        return max(1, 1 << int(np.log2(self._engine_class.batches[self.device] * SIZE**2 / size**2)))

    def _compile(self, size: int, batch: int) -> None:
        engine = self._engine_class(self.network or self.model, (batch, size, size, 3), self.precision)
        self._compiled[size] = batch, engine  # in one assignment: other threads read it without the lock

    def _halve_batch(self, size: int, batch: int, error: MemoryError) -> None:
        """Go on with half the batch that did not fit, unless another thread has seen to that."""
        with self._lock:
            if self._compiled[size][0] != batch:
                return
            if batch == 1:
                raise CatsDogsError(
                    f"the {self.device} has not the memory for one image of {size} x {size}",
                    "Free some, or give --engine another",
                ) from error
            if not self.batch_reduced:
                _log.warning("too little memory on the %s for %d images at once: fewer from now on", self.device, batch)
            self.batch_reduced = True
            self._compile(size, batch // 2)

    def _reference_features(self, weights: Weights, size: int) -> NDArray[np.float32]:
        with _failing_weights_named(weights, size):
            (reference,) = networks.reference_features(self.model, probe_image(size)[np.newaxis])
        if not 0 < np.linalg.norm(reference.astype(np.float64)) < np.inf:
            raise CatsDogsError(f"{weights.name} gives features that are all zero or not finite", "Give other weights")
        return np.asarray(reference)

    def _build_and_check(self, weights: Weights, references: dict[int, NDArray[np.float32]]) -> None:
        """Build the engine for images of each size, and check it against Keras."""
        name, precision = weights.name, self.precision
        for size, reference in references.items():
            with _failing_weights_named(weights, size):
                self._compile(size, self._usual_batch(size))
                (computed,) = self.features(probe_image(size)[None])
            difference = np.linalg.norm(computed.astype(np.float64) - reference)
            distance = float(difference / np.linalg.norm(reference.astype(np.float64)))
            _log.debug("%s in %s is %.1e of the features' norm away from plain Keras", name, precision, distance)
            if not distance <= TOLERANCES[precision]:
                raise CatsDogsError(
                    f"the features of {name} are not Keras' own: they are {distance:.1e} of their norm apart",
                    "Give --precision float32"
                    if precision != FLOAT32
                    else "This machine's engine computes wrongly: give another --engine, and please report it",
                )


def probe_image(size: int) -> NDArray[np.uint8]:
    """Draw a picture of shape (size, size, 3), uint8, whose channels differ: what a new backbone is tried on."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    waves = np.sin(12 * rows * columns) * np.cos(9 * rows)
    planes = [255 * rows, 255 * (0.5 + 0.5 * waves), 160 * np.hypot(rows - 0.5, columns - 0.5)]
    return np.stack(planes, axis=-1).astype(np.uint8)


@contextmanager
def _failing_weights_named(weights: Weights, size: int) -> Iterator[None]:
    """Say of what an engine or Keras raises within which weights it is about."""
    try:
        yield
    except CatsDogsError:
        raise
    except Exception as error:
        raise CatsDogsError(
            f"{weights.name} fails on a picture of {size} x {size}: {summarize_error(error)}",
            "Give weights that compute images of that size on this machine",
        ) from error
