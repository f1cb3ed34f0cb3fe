"""Load a frozen network, check it against Keras, and compute features with it."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError
from ..images.views import SIZE
from ..progress import Progress, tell
from . import model_cache
from . import network as networks
from .engines import AUTO, Engine, choose_engine
from .files import summarize_error
from .frameworks import raise_if_forked
from .gpu import warn_of_unused_gpu
from .hardware import processor_identity
from .precisions import FLOAT32, INT8, TOLERANCES
from .quantized import Int8Similarity, Quantized
from .resnet50 import N_FEATURES
from .weights import Weights

_PACKAGES = {"openvino": ("openvino", "tensorflow"), "jax": ("jax", "jaxlib")}
"""Packages of the engines that need more than the package of the same name."""

_log = logging.getLogger(__name__)


class NotFiniteError(CatsDogsError):
    """Features are not finite: first those of the image number `row`."""

    row = 0


class Backbone:
    """A frozen network that is loaded, and was checked against Keras when it was built.

    A network of OpenVINO or JAX is kept in the user's cache, and then loaded without Keras and its weights.

    Parameters
    ----------
    weights : Weights
    sizes : sequence of int
        Sides of the images in pixels.
    engine, precision : str
        A name, or "auto"; "int8" requires a `network`.
    network : Quantized, optional
        The result of `quantize` for the same weights.
    progress : callable, optional
        Called with the current step, and with the bytes downloaded so far.

    Attributes
    ----------
    network : Quantized or None
        The network in int8.
    fingerprint : str
        Fingerprint of the weights.
    sha256 : str
        Identity of the weights.
    batch_size : int
        Recommended batch size.
    streams : int
        Recommended number of concurrent calls.
    precision, engine, device : str
    int8_similarity : Int8Similarity or None
        Similarity of its features to those in float32; None if they were not compared.
    batch_reduced : bool
        Whether the device had too little memory for the default batch size.

    Raises
    ------
    CatsDogsError
        The weights or the engine are not available, the weights do not fit, or the features differ from plain Keras'.
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
        raise_if_forked()
        self._engine_class = choose_engine(engine, precision)
        if (precision == INT8) != (network is not None):
            raise ValueError(f"precision {INT8} requires a quantized network, and other precisions do not accept one")
        tell(progress, "loading the backbone", 0, 0)
        self.network = network
        self.int8_similarity: Int8Similarity | None = None
        self.engine, self.device = self._engine_class.name, self._engine_class.device()
        self.precision = self._engine_class.native_precision() if precision == AUTO else precision
        # Users who select OpenVINO or int8 have selected the CPU.
        if self.device == "cpu" and engine != "openvino" and precision != INT8:
            warn_of_unused_gpu("tensorflow" if self.engine == "openvino" else self.engine)
        self.batch_size, self.batch_reduced = max(map(self._default_batch, sizes)), False
        self.fingerprint, self.sha256 = weights.fingerprint(), ""
        self._weights, self._sizes, self._model = weights, tuple(dict.fromkeys(sizes)), None
        # Batch size and engine by image size.
        self._compiled: dict[int, tuple[int, Engine]] = {}
        self._lock = threading.RLock()
        native, kept = self.precision, [self.precision]
        if precision == AUTO and native != FLOAT32:
            kept.append(f"{FLOAT32} instead of {native}")
        if not any(self._load_kept(name) for name in kept):
            self._build(precision, progress)
            self._keep(native if self.precision == native else kept[-1])
        self.streams = self._compiled[sizes[0]][1].streams
        details = weights.name, self.engine, self.precision, self.device, self.sha256
        _log.info("loaded the backbone %s: engine %s, precision %s, device %s, SHA-256 %s", *details)

    @property
    def model(self) -> Any:
        """The network in float32, a ``keras.Model``; built at its first use if the network was kept.

        Raises
        ------
        CatsDogsError
            The weights are not available any more.
        """
        with self._lock:
            if self._model is None:
                self._build_model(None)
            return self._model

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute features; safe to call from several threads.

        Parameters
        ----------
        pixels : ndarray of shape (n, size, size, 3), uint8
            RGB images, any number.

        Returns
        -------
        features : ndarray of shape (n, 2048), float32

        Raises
        ------
        CatsDogsError
            The device has too little memory for a single image; or a `NotFiniteError`.
        """
        raise_if_forked()
        features, done, size = np.empty((len(pixels), N_FEATURES), np.float32), 0, pixels.shape[1]
        while done < len(pixels):
            batch, engine = self._compiled[size]
            part = pixels[done : done + batch]
            missing = batch - len(part)
            padded = np.pad(part, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else part
            try:
                features[done : done + len(part)] = engine(padded)[: len(part)]
            except MemoryError as error:
                self._halve_batch(size, batch, error)
            else:
                done += len(part)
        if not (finite := np.isfinite(features).all(axis=1)).all():
            not_finite = NotFiniteError("the backbone computed NaN or infinite features", "Use other weights")
            not_finite.row = int(finite.argmin())
            raise not_finite
        return features

    @cached_property
    def versions(self) -> dict[str, str]:
        """Versions of the packages that compute features, by name."""
        packages = _PACKAGES.get(self.engine, (self.engine,))
        return {name: version(name) for name in (*packages, "keras", "numpy", "pillow")}

    def _default_batch(self, size: int) -> int:
        """Return the power of two with about as many pixels as the default batch, so that sizes divide each other."""
        images = self._engine_class.batch_sizes[self.device] * SIZE**2 // size**2
        return 1 << max(0, images.bit_length() - 1)

    def _compile(self, size: int, batch: int, kept: NDArray[np.uint8] | None = None) -> None:
        network = self.network or self.model if kept is None else kept
        engine = self._engine_class(network, (batch, size, size, 3), self.precision)
        self._compiled[size] = batch, engine  # one assignment: other threads read it without the lock

    def _halve_batch(self, size: int, batch: int, error: MemoryError) -> None:
        """Halve a batch size that did not fit into memory, unless another thread has done so."""
        with self._lock:
            if self._compiled[size][0] != batch:
                return
            if batch == 1:
                message = f"the {self.device} has too little memory for one image of {size} x {size} pixels"
                raise CatsDogsError(message, "Free memory on the device, or use another --engine") from error
            if not self.batch_reduced:
                _log.warning(
                    "out of memory on the %s with a batch of %d images: the batch size is reduced", self.device, batch
                )
            self.batch_reduced = True
            self._compile(size, batch // 2)

    def _cache_key(self, precision: str) -> dict[str, str]:
        """Return all that the network, and whether it passes the check, depend on."""
        return {
            "weights": self.fingerprint,
            "int8 network": self.network.sha256 if self.network else "",
            "sizes and batches": ", ".join(f"{size}: {self._default_batch(size)}" for size in self._sizes),
            "precision": precision,
            "engine": self._engine_class.identity(),
            "processor": processor_identity(),
            "versions": ", ".join(f"{name} {number}" for name, number in self.versions.items()),
            "catsdogs": f"{version('catsdogs')}, format {model_cache.FORMAT}",
        }

    def _load_kept(self, precision: str) -> bool:
        """Load the network that was kept for this precision, if there is one."""
        if not self._engine_class.can_be_kept:
            return False
        key = self._cache_key(precision)
        if (kept := model_cache.read(key)) is None:
            return False
        (facts, contents), first = kept, self.precision
        self.sha256, self.precision = facts.backbone, facts.precision
        try:
            for size in self._sizes:
                self._compile(size, self._default_batch(size), contents[str(size)])
        except (KeyError, OSError, RuntimeError, ValueError, CatsDogsError) as error:
            _log.info("the network is built again: the one that was kept cannot be loaded (%s)", error)
            model_cache.remove(key)
            self.sha256, self.precision = "", first
            return False
        return True

    def _keep(self, precision: str) -> None:
        if not self._engine_class.can_be_kept:
            return
        facts = model_cache.Facts(backbone=self.sha256, precision=self.precision)
        contents = {str(size): engine.to_bytes() for size, (_, engine) in self._compiled.items()}
        model_cache.write(self._cache_key(precision), facts, contents)

    def _build(self, precision: str, progress: Progress | None) -> None:
        """Build the network from its weights, and check it."""
        self._build_model(progress)
        references = {size: self._reference_features(size) for size in self._sizes}
        try:
            self._build_and_check(references)
        except CatsDogsError:
            if precision != AUTO or self.precision == FLOAT32:
                raise
            # This network overflows in 16 bits, or its features differ too much: compute it in float32.
            self.precision = FLOAT32
            self._build_and_check(references)

    def _build_model(self, progress: Progress | None) -> None:
        model, sha256 = networks.build(self._weights, self._sizes[0], progress=progress)
        if self._weights.fingerprint() != self.fingerprint or self.sha256 not in ("", sha256):
            raise CatsDogsError(f"{self._weights.name} changed while it was loaded", "Run the same command again")
        self._model, self.sha256 = model, sha256

    def _reference_features(self, size: int) -> NDArray[np.float32]:
        with _weights_named_in_errors(self._weights, size):
            (reference,) = networks.reference_features(self.model, probe_image(size)[np.newaxis])
        if not 0 < np.linalg.norm(reference.astype(np.float64)) < np.inf:
            message = f"{self._weights.name} gives features that are all zero or not finite"
            raise CatsDogsError(message, "Use other weights")
        return np.asarray(reference)

    def _build_and_check(self, references: dict[int, NDArray[np.float32]]) -> None:
        """Build the engine for each image size, and check its features against Keras."""
        name, precision = self._weights.name, self.precision
        for size, reference in references.items():
            with _weights_named_in_errors(self._weights, size):
                self._compile(size, self._default_batch(size))
                (computed,) = self.features(probe_image(size)[None])
            difference = np.linalg.norm(computed.astype(np.float64) - reference)
            distance = float(difference / np.linalg.norm(reference.astype(np.float64)))
            _log.debug("relative difference of %s in %s from plain Keras: %.1e", name, precision, distance)
            if not distance <= TOLERANCES[precision]:
                message = (
                    f"the features of {name} differ from those of plain Keras (relative difference {distance:.1e})"
                )
                other = "Use another --engine, and please report this error"
                raise CatsDogsError(message, other if precision == FLOAT32 else "Use --precision float32")


def probe_image(size: int) -> NDArray[np.uint8]:
    """Return a synthetic image of shape (size, size, 3), uint8, with different channels, to check backbones with."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    waves = np.sin(12 * rows * columns) * np.cos(9 * rows)
    planes = [255 * rows, 255 * (0.5 + 0.5 * waves), 160 * np.hypot(rows - 0.5, columns - 0.5)]
    return np.stack(planes, axis=-1).astype(np.uint8)


@contextmanager
def _weights_named_in_errors(weights: Weights, size: int) -> Iterator[None]:
    """Turn errors of an engine or of Keras into one that names the weights."""
    try:
        yield
    except CatsDogsError:
        raise
    except Exception as error:
        message = f"{weights.name} fails on an image of {size} x {size} pixels: {summarize_error(error)}"
        raise CatsDogsError(message, "Use weights that accept images of this size on this machine") from error
