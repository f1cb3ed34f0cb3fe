"""Resolve how features are to be computed: the options that were given, then what the cache has."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from .. import head
from ..artifacts import Artifacts
from ..backbone import AUTO, INT8, Backbone, Quantized, Weights, choose_weights
from ..cache import UNKNOWN, Manifest, Provenance, differences, read_network, read_provenances
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
    """How features are to be computed.

    Parameters
    ----------
    views : sequence of str, optional
        Names such as "224", "224m" for mirrored, "288". By default those that the artifacts have, then "224".
    engine : str
        "auto", "tensorflow", "openvino", "jax" or "torch".
    precision : str
        "auto", "float32", "bfloat16", "float16" or "int8". "auto" is what the artifacts have, then the fastest that the
        hardware computes natively; "int8" is calibrated on a sample of the images, and never taken unless asked for.
    """

    views: Sequence[str] | None = None
    engine: EngineChoice = "auto"
    precision: PrecisionChoice = "auto"


@dataclass(frozen=True)
class Plan:
    """How one run computes.

    Parameters
    ----------
    folder : Path
        The cache.
    weights : Weights
    fingerprint : str
        Theirs, when it was planned.
    views : tuple of View
    engine, precision : str
        By name, or "auto".
    provenance : Provenance or None
        What made the cache that is there, where the run goes on with it; None where only the loaded backbone tells.
    network : Quantized or None
        The quantized network that computed it.
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
        """Whether the backbone cannot be loaded before the images are listed."""
        return self.precision == INT8

    def load(self, files: Sequence[ImageFile] = (), *, progress: Progress | None = None) -> Backbone:
        """Load the backbone.

        Parameters
        ----------
        files : sequence of ImageFile
            What it will compute; read only where it `needs_images`.
        progress : callable, optional
            Told what the wait is for.

        Raises
        ------
        CatsDogsError
            It cannot be had, changes meanwhile, or is not the network any more that made the cache.
        """
        sizes = sizes_of(self.views)
        if self.needs_images:
            loaded = load_int8(self.weights, sizes, files, engine=self.engine, network=self.network, progress=progress)
        else:
            loaded = Backbone(self.weights, sizes, engine=self.engine, precision=self.precision, progress=progress)
        if self.weights.fingerprint() != self.fingerprint:
            raise CatsDogsError(f"{self.weights.name} has changed while it was loaded", "Run the same command again")
        if self.provenance and loaded.sha256 != self.provenance.sha256:
            raise CatsDogsError(
                f"{self.weights.name} is not the network any more that {self.folder} was made with",
                "Give --artifacts DIR for a cache of its own",
            )
        return loaded


def resolve(folder: Path, manifest: Manifest | None, *, weights: Weights, compute: ComputeOptions) -> Plan:
    """Decide how a run computes: as asked, where nothing is asked as the cache has it, else as is best.

    Parameters
    ----------
    folder : Path
        The cache.
    manifest : Manifest or None
        What it says of itself.
    weights : Weights
    compute : ComputeOptions

    Raises
    ------
    CatsDogsError
        The views cannot be computed, or the weights' file cannot be read.
    """
    fingerprint = weights.fingerprint()
    made = _made_as_asked(folder, manifest, fingerprint, compute)
    # Of other pixels, only how they were computed still counts.
    known = made if made and made.pixels == identity.pixels() else None
    network = None
    if known and known.network:
        try:
            network = read_network(folder, known.network)
        except CatsDogsError as error:
            # Without the network that computed it it is not gone on with, unless the same comes out anew.
            _log.info("the backbone is quantized anew: %s", error)
            known = None
    engine, precision = (made.engine, made.precision) if made else (compute.engine, compute.precision)
    return Plan(folder, weights, fingerprint, _views(manifest, compute), engine, precision, known, network)


def provenance_of(weights: Weights, fingerprint: str, backbone: Backbone) -> Provenance:
    """Return what the cache says of features that `backbone` computes, which has weights of that fingerprint."""
    return Provenance(
        weights_name=weights.name,
        sha256=backbone.sha256,
        fingerprint=fingerprint,
        pixels=identity.pixels(),
        precision=backbone.precision,
        engine=backbone.engine,
        versions=backbone.versions | identity.codec_versions(),
        network=backbone.network.sha256 if backbone.network else "",
    )


def load_head_backbone(
    trained: head.Head, artifacts: Artifacts, weights: str | None, *, progress: Progress | None = None
) -> Callable[[], Backbone]:
    """Return what loads the backbone that a head was trained with, when it is called first.

    Raises
    ------
    CatsDogsError
        At once where the head's images were resized by other rules, at the call where the weights are not its own.
    """
    chosen, metadata = choose_weights(weights, artifacts.source), trained.metadata
    if metadata.pixels == UNKNOWN:
        raise CatsDogsError(
            f"the head in {artifacts.root} was trained on features that were not computed from images here",
            "Compute and predict new ones where those came from, or run catsdogs run DATA --artifacts ANOTHER",
        )
    here = identity.pixels()
    of_head, of_here = differences(metadata.pixels, here), differences(here, metadata.pixels)
    what = f"the head in {artifacts.root} was trained on images {of_head}, and here they"
    if identity.resizing_rules(metadata.pixels) != identity.resizing_rules(here):
        raise CatsDogsError(
            f"{what} would be {of_here}",
            "Run catsdogs run DATA --prune, which computes and trains anew, or predict where that one is installed",
        )
    if of_head != of_here:
        _log.warning("%s are %s, by other codecs: probabilities may differ slightly", what, of_here)

    views = parse_views(metadata.views)

    @cache
    def backbone() -> Backbone:
        sha256 = metadata.backbone.network
        network = read_network(artifacts.features, sha256) if sha256 else None
        # By whatever engine there is: within the precision's tolerance they agree.
        loaded = Backbone(chosen, sizes_of(views), precision=metadata.precision, network=network, progress=progress)
        hint = "Give the --weights that the head was trained with"
        provenance = replace(provenance_of(chosen, chosen.fingerprint(), loaded), pixels=metadata.pixels)
        head.check_compatible(trained, provenance, metadata.views, hint)
        return loaded

    return backbone


def _made_as_asked(
    folder: Path, manifest: Manifest | None, fingerprint: str, compute: ComputeOptions
) -> Provenance | None:
    """Return what made the cache that is there, if that is the network, engine and precision that are asked for.

    Else what made the shards of a run that has not ended, if they are of one kind. Nothing need be loaded to know it.
    """

    def as_asked(made: Provenance) -> bool:
        engine, precision = compute.engine in (AUTO, made.engine), compute.precision in (AUTO, made.precision)
        return made.fingerprint == fingerprint and engine and precision

    if manifest and as_asked(manifest.provenance):
        return manifest.provenance
    found = [beside.provenance for beside in read_provenances(folder) if as_asked(beside.provenance)]
    return found[0] if len(found) == 1 else None


def _views(manifest: Manifest | None, compute: ComputeOptions) -> tuple[View, ...]:
    if compute.views is not None:
        return parse_views(compute.views)
    if manifest and manifest.provenance.pixels != UNKNOWN:
        return parse_views(manifest.views)
    return (DEFAULT_VIEW,)
