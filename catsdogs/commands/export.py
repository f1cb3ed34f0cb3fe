"""Write backbone and head as one network, and compare its probabilities with those of catsdogs.

In `exporting`, `network` joins backbone and head, `keras` and `onnx` write a file and compute with it, and `pictures`
selects the images of the check.
"""

import logging
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import head
from ..artifacts import Artifacts
from ..backbone.network import reference_features
from ..choices import ExportFormat
from ..errors import CatsDogsError, OptionError
from ..exporting import keras, onnx
from ..exporting.network import input_names, join
from ..exporting.samples import check_images
from ..images.views import parse_views
from ..inference.plan import load_head_backbone
from ..locks import RESULTS
from ..paths import user_path
from ..progress import Progress
from ..result import Result
from ..sources.classes import Classes
from ..storage import write_atomic

FORMATS: dict[str, ModuleType] = {"keras": keras, "onnx": onnx}
"""The module that writes a file of each format and computes with it."""

TOLERANCE = 1e-4
"""Largest difference allowed between probabilities of the file and of catsdogs, both in float32."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Export(Result):
    """The result of `export`.

    Parameters
    ----------
    path : Path
    format : str
        "keras" or "onnx".
    bytes : int
    classes : pair of str
        The output is the probability of the second.
    inputs : dict of str to tuple of int
        Shape of an image, by the name of the input.
    images : int
        Images that the file was checked on.
    source : str or None
        Folder or zip of these images; None if they were drawn for the check.
    max_difference : float
        Largest difference between probabilities of the file and of catsdogs, both in float32.
    precision : str
        Of the features that the head was trained on, and that `predict` computes.
    max_difference_predict : float
        Largest difference between probabilities of the file and of `predict`.
    seconds : float
    """

    path: Path
    format: str
    bytes: int
    classes: Classes
    inputs: dict[str, tuple[int, ...]]
    images: int
    source: str | None
    max_difference: float
    precision: str
    max_difference_predict: float
    seconds: float


def export(
    format: ExportFormat,
    *,
    out: str | Path | None = None,
    artifacts: str | Path = "artifacts",
    weights: str | Path | None = None,
    progress: Progress | None = None,
) -> Export:
    """Write backbone and head as one network from pixels to probability, which works without this package.

    Parameters
    ----------
    format : {"keras", "onnx"}
    out : str or Path, optional
        The file; by default ``catsdogs.keras`` or ``catsdogs.onnx`` in the artifacts folder.
    artifacts : str or Path
        The artifacts folder, with a head.
    weights : str or Path, optional
        As for `extract`; the head must have been trained with them.
    progress : callable, optional
        Called with the step.

    Returns
    -------
    Export

    Raises
    ------
    CatsDogsError
        There is no head, it was trained with other weights, a package is missing, or the probabilities of the network
        differ from those of catsdogs. Nothing is written then.
    """
    start, report = time.perf_counter(), progress or (lambda step, done, total: None)
    with Artifacts.open(artifacts, *([RESULTS] if out is None else [])) as opened:
        path = _output_path(format, out, opened)
        if format == "onnx":
            onnx.check_installed()
        trained = head.load(opened)
        views = parse_views(trained.metadata.views)
        names = input_names(views)
        backbone = load_head_backbone(trained, opened, weights, progress=progress)()
        report("reading images for the check", 0, 0)
        images, source = check_images(opened, trained.metadata.classes, list(names))
        report(f"writing {path.name}", 0, 0)
        content = FORMATS[format].to_file(join(backbone.model, trained.classifier, views), _metadata(trained))
        report(f"checking {path.name}", 0, 0)
        computed = FORMATS[format].compute(content, {name: images[size] for size, name in names.items()})
        pixels = [np.ascontiguousarray(view.of(images)) for view in views]
        probabilities = trained.classifier.probabilities
        expected = probabilities(np.hstack([_reference_features(backbone.model, of_view) for of_view in pixels]))
        predicted = probabilities(np.hstack([backbone.features(of_view) for of_view in pixels]))
        max_difference = float(np.abs(computed - expected).max())
        if not max_difference <= TOLERANCE:
            found = f"differ by up to {max_difference:.1e} from those of catsdogs, more than {TOLERANCE:g}"
            message = f"the network for {path} gives probabilities that {found}; nothing was written"
            raise CatsDogsError(message, "Please report this, with the versions of the installed packages (pip list)")
        write_atomic(path, content)
    _log.info("%s, %d bytes, probabilities differ by at most %.1e", path, len(content), max_difference)
    return Export(
        path=path,
        format=format,
        bytes=len(content),
        classes=trained.metadata.classes,
        inputs={name: (size, size, 3) for size, name in names.items()},
        images=len(computed),
        source=source,
        max_difference=max_difference,
        precision=backbone.precision,
        max_difference_predict=float(np.abs(computed - predicted).max()),
        seconds=time.perf_counter() - start,
    )


def _output_path(format: str, out: str | Path | None, artifacts: Artifacts) -> Path:
    if format not in FORMATS:
        raise OptionError(f"{format!a} is not an export format", f"Give {' or '.join(FORMATS)}")
    path = artifacts.root / f"catsdogs.{format}" if out is None else user_path(out)
    if path.suffix != f".{format}":
        raise OptionError(f"{path} does not end with .{format}", f"Give --out FILE.{format}")
    return path


def _reference_features(network: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    # One by one: in eager mode, Keras keeps the output of every layer.
    return np.concatenate([reference_features(network, image[np.newaxis]) for image in pixels])


def _metadata(trained: head.Head) -> dict[str, Any]:
    """Return the metadata of the file."""
    metadata, made = trained.metadata.to_dict(), trained.metadata.provenance
    return {
        "classes": metadata["classes"],
        "output": f"the probability of {metadata['classes'][1]}, unclipped",
        "input": f"uint8 or float, 0 to 255: {made.pixels}",
        "views": metadata["views"],
        "backbone": {"weights_name": made.weights_name, "sha256": made.sha256, "network": made.network},
        "head": {name: metadata[name] for name in ("transform", "C", "features")} | {"precision": made.precision},
        "catsdogs": version("catsdogs"),
    }
