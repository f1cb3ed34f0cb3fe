"""Resolve how features are computed, from the options and the cache."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import cast

from .. import head
from ..artifacts import Artifacts
from ..backbone import AUTO, INT8, Backbone, Quantized, Weights, choose_weights
from ..cache import UNKNOWN, Manifest, Provenance, pixel_differences, read_network, read_provenances
from ..choices import EngineChoice, PrecisionChoice
from ..errors import CatsDogsError
from ..images import identity
from ..images.views import DEFAULT_VIEW, View, parse_views, sizes_of
from ..progress import Progress
from ..sources import ImageFile
from .calibration import load_int8

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """Options for the computation of features.

    Parameters
    ----------
    views : sequence of str, optional
        Names such as "224", "224m" (mirrored) or "288". The default is the views of the cache, or "224" without a
        cache.
    engine : str
        "auto", "tensorflow", "openvino", "jax" or "torch".
    precision : str
        "auto", "float32", "bfloat16", "float16" or "int8". "auto" is the precision of the cache, or without a cache the
        fastest that the hardware supports natively. "int8" is calibrated on a sample of the images, and never selected
        automatically.
    """

    views: Sequence[str] | None = None
    engine: EngineChoice = "auto"
    precision: PrecisionChoice = "auto"


@dataclass(frozen=True)
class Plan:
    """How one run computes features.

    Parameters
    ----------
    folder : Path
        Folder of the cache.
    weights : Weights
    fingerprint : str
        Fingerprint of the weights when the plan was made.
    views : tuple of View
    engine, precision : str
        A name, or "auto".
    provenance : Provenance or None
        Provenance of the cache, if the run continues it; None if it is only known once the backbone is loaded.
    network : Quantized or None
        The quantized network of the cache.
    """

    folder: Path
    weights: Weights
    fingerprint: str
    views: tuple[View, ...]
    engine: str
    precision: str
    provenance: Provenance | None
    network: Quantized | None

    @property
    def needs_images(self) -> bool:
        """Whether loading the backbone requires the list of images."""
        return self.precision == INT8

    def load(self, files: Sequence[ImageFile] = (), *, progress: Progress | None = None) -> Backbone:
        """Load the backbone.

        Parameters
        ----------
        files : sequence of ImageFile
            The images of the run; used only if `needs_images`.
        progress : callable, optional
            Called with the current step.

        Raises
        ------
        CatsDogsError
            The backbone is not available, its weights change while it is loaded, or it is not the one of the cache.
        """
        sizes = sizes_of(self.views)
        if self.needs_images:
            loaded = load_int8(self.weights, sizes, files, engine=self.engine, network=self.network, progress=progress)
        else:
            loaded = Backbone(self.weights, sizes, engine=self.engine, precision=self.precision, progress=progress)
        if self.weights.fingerprint() != self.fingerprint:
            raise CatsDogsError(f"{self.weights.name} changed while it was loaded", "Run the same command again")
        if self.provenance and loaded.sha256 != self.provenance.sha256:
            message = f"{self.weights.name} is no longer the network that computed the features in {self.folder}"
            raise CatsDogsError(message, "Use --artifacts DIR to create another cache")
        return loaded


def resolve(folder: Path, manifest: Manifest | None, *, weights: Weights, compute: ComputeOptions) -> Plan:
    """Resolve how a run computes: by the options, then as in the cache, then by the defaults.

    Parameters
    ----------
    folder : Path
        Folder of the cache.
    manifest : Manifest or None
        Manifest of the cache.
    weights : Weights
    compute : ComputeOptions

    Raises
    ------
    CatsDogsError
        A view is not valid, or the file of the weights cannot be read.
    """
    fingerprint = weights.fingerprint()
    made = _matching_provenance(folder, manifest, fingerprint, compute)
    # If the preprocessing of pixels has changed, only engine and precision are reused.
    known = made if made and made.pixels == identity.pixels() else None
    network = None
    if known and known.network:
        try:
            network = read_network(folder, known.network)
        except CatsDogsError as error:
            # Without this network the run does not continue the cache, unless quantizing gives the same network again.
            _log.info("the backbone is quantized again: %s", error)
            known = None
    engine, precision = (made.engine, made.precision) if made else (compute.engine, compute.precision)
    return Plan(folder, weights, fingerprint, _views(manifest, compute), engine, precision, known, network)


def provenance_of(weights: Weights, backbone: Backbone) -> Provenance:
    """Return the provenance of features that `backbone` computes, which was loaded from these weights."""
    return Provenance(
        weights_name=weights.name,
        sha256=backbone.sha256,
        fingerprint=backbone.fingerprint,
        pixels=identity.pixels(),
        precision=backbone.precision,
        engine=backbone.engine,
        versions=backbone.versions | identity.codec_versions(),
        network=backbone.network.sha256 if backbone.network else "",
    )


def load_head_backbone(
    trained: head.Head, artifacts: Artifacts, weights: str | Path | None, *, progress: Progress | None = None
) -> Callable[[], Backbone]:
    """Return a function that loads the backbone that a head was trained with, at its first call.

    Raises
    ------
    CatsDogsError
        The head's images were resized by other rules; or, at the first call, the weights are not those of the head.
    """
    chosen, made = choose_weights(weights, artifacts.source), trained.metadata.provenance
    _check_pixels(trained, artifacts)
    views = parse_views(trained.metadata.views)

    @cache
    def backbone() -> Backbone:
        network = read_network(artifacts.features, made.network) if made.network else None
        # With any engine: they agree within the tolerance of the precision.
        loaded = Backbone(chosen, sizes_of(views), precision=made.precision, network=network, progress=progress)
        check_backbone(trained, provenance_of(chosen, loaded))
        return loaded

    return backbone


def plan_for_head(trained: head.Head, artifacts: Artifacts, weights: str | Path | None) -> Plan:
    """Resolve how images are computed for a head: in its views and precision, else as in the cache.

    Raises
    ------
    CatsDogsError
        The head's images were resized by other rules, its quantized network is missing, or as for `resolve`.
    """
    chosen, made = choose_weights(weights, artifacts.source), trained.metadata.provenance
    _check_pixels(trained, artifacts)
    compute = ComputeOptions(views=trained.metadata.views, precision=cast(PrecisionChoice, made.precision))
    plan = resolve(artifacts.features, artifacts.cache.manifest, weights=chosen, compute=compute)
    return replace(plan, network=read_network(artifacts.features, made.network) if made.network else None)


def check_backbone(trained: head.Head, provenance: Provenance) -> None:
    """Refuse features of another backbone than that of a head; whether pixels differ is checked before.

    Raises
    ------
    CatsDogsError
    """
    provenance = replace(provenance, pixels=trained.metadata.provenance.pixels)
    hint = "Use the --weights that the head was trained with"
    head.check_compatible(trained, provenance, trained.metadata.views, hint)


def _check_pixels(trained: head.Head, artifacts: Artifacts) -> None:
    pixels = trained.metadata.provenance.pixels
    if pixels == UNKNOWN:
        raise CatsDogsError(
            f"the head in {artifacts.root} was trained on imported features, not on features that catsdogs computed",
            "Predict with the program that computed them, or train on images: catsdogs run DATA --artifacts ANOTHER",
        )
    _compare_pixels(pixels, f"the head in {artifacts.root} was trained on")


def load_cache_backbone(
    artifacts: Artifacts, weights: str | Path | None, *, progress: Progress | None = None
) -> Callable[[], Backbone]:
    """Return a function that loads the backbone that computed the cache, for its first view, at its first call.

    Raises
    ------
    CatsDogsError
        The images of the cache were resized by other rules; or, at the first call, the weights are not those of the
        cache.
    """
    chosen, manifest = choose_weights(weights, artifacts.source), artifacts.cache.require_manifest()
    made = manifest.provenance
    if made.pixels == UNKNOWN:
        message = f"the features in {artifacts.features} were imported, so those of other images cannot be computed"
        raise CatsDogsError(message, "Give the id of a cached image")
    _compare_pixels(made.pixels, f"the features in {artifacts.features} are those of")
    compute = ComputeOptions(views=manifest.views[:1])
    plan = resolve(artifacts.features, manifest, weights=chosen, compute=compute)

    @cache
    def backbone() -> Backbone:
        loaded = plan.load(progress=progress)
        if loaded.sha256 != made.sha256:
            message = f"{chosen.name} is not the network that computed the features in {artifacts.features}"
            raise CatsDogsError(message, f"Use the same --weights: {made.weights_name}")
        return loaded

    return backbone


def _compare_pixels(pixels: str, subject: str) -> None:
    """Refuse images that were resized by other rules, and warn if other codecs decoded them."""
    here = identity.pixels()
    made, of_here = pixel_differences(pixels, here), pixel_differences(here, pixels)
    finding = f"{subject} images {made}, but here images are {of_here}"
    if identity.resizing_rules(pixels) != identity.resizing_rules(here):
        hint = "Run catsdogs run DATA --prune to compute and train again, or install the previous versions"
        raise CatsDogsError(finding, hint)
    if made != of_here:
        _log.warning("%s: codecs differ, so results may differ slightly", finding)


def _matching_provenance(
    folder: Path, manifest: Manifest | None, fingerprint: str, compute: ComputeOptions
) -> Provenance | None:
    """Return the provenance of the cache, if its weights, engine and precision match the options.

    Otherwise return the matching provenance of an unfinished run's shards, if exactly one matches. Loads no backbone.
    """

    def matches(made: Provenance) -> bool:
        engine, precision = compute.engine in (AUTO, made.engine), compute.precision in (AUTO, made.precision)
        return made.fingerprint == fingerprint and engine and precision

    if manifest and matches(manifest.provenance):
        return manifest.provenance
    found = [entry.provenance for entry in read_provenances(folder) if matches(entry.provenance)]
    return found[0] if len(found) == 1 else None


def _views(manifest: Manifest | None, compute: ComputeOptions) -> tuple[View, ...]:
    if compute.views is not None:
        return parse_views(compute.views)
    if manifest and manifest.provenance.pixels != UNKNOWN:
        return parse_views(manifest.views)
    return (DEFAULT_VIEW,)
