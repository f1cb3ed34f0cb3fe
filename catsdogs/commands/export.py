"""Write backbone and head as one network, and check its probabilities against those of catsdogs.

Of `exporting`, `network` joins the two, `keras` and `onnx` write such a file and compute with it, and `pictures` are
what it is tried on.
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
from ..errors import CatsDogsError
from ..exporting import keras, onnx
from ..exporting.network import input_names, join
from ..exporting.samples import check_images
from ..images.views import parse_views
from ..inference.plan import load_head_backbone
from ..locks import RESULTS
from ..paths import user_path
from ..progress import Progress
from ..sources.classes import Classes
from ..storage import write_atomic
from .result import Result

FORMATS: dict[str, ModuleType] = {"keras": keras, "onnx": onnx}
"""What writes a file of each format, and computes with it."""

TOLERANCE = 1e-4
"""How far a probability of the file may be from ours in float32."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Export(Result):
    """What `export` wrote, and how well it agrees.

    Parameters
    ----------
    path : Path
    format : str
        "keras" or "onnx".
    bytes : int
    classes : pair of str
        The probability is that of the second.
    inputs : dict of str to tuple of int
        Shape of an image by the name of the input.
    images : int
        How many the file was checked on.
    source : str or None
        Where these lie; None where they were drawn.
    max_difference : float
        Largest difference of a probability from ours, all of it in float32.
    precision : str
        Of the features that the head was trained on, and of those that `predict` computes.
    max_difference_predict : float
        Largest difference of a probability from what `predict` gives.
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
    format: str,
    *,
    out: str | Path | None = None,
    artifacts: str | Path = "artifacts",
    weights: str | None = None,
    progress: Progress | None = None,
) -> Export:
    """Write backbone and head as one network, which needs nothing of this package: pixels in, probability out.

    Parameters
    ----------
    format : {"keras", "onnx"}
    out : str or Path, optional
        The file; by default ``catsdogs.keras`` or ``catsdogs.onnx`` in the artifacts folder.
    artifacts : str or Path
        The artifacts folder, with a head in it.
    weights : str, optional
        As for `extract`; they must be those that the head was trained with.
    progress : callable, optional
        Told what is being done.

    Returns
    -------
    Export

    Raises
    ------
    CatsDogsError
        There is no head, it belongs to other weights, a package is missing, or what was made computes something else
        than we do: then nothing is written.
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
        report("reading pictures to check it on", 0, 0)
        pictures, source = check_images(opened, trained.metadata.classes, list(names))
        report(f"writing {path.name}", 0, 0)
        content = FORMATS[format].to_file(join(backbone.model, trained.classifier, views), _metadata(trained))
        report(f"checking {path.name}", 0, 0)
        computed = FORMATS[format].compute(content, {name: pictures[size] for size, name in names.items()})
        pixels = [np.ascontiguousarray(view.of(pictures)) for view in views]
        probabilities = trained.classifier.probabilities
        ours = probabilities(np.hstack([_reference_features(backbone.model, of_view) for of_view in pixels]))
        predicted = probabilities(np.hstack([backbone.features(of_view) for of_view in pixels]))
        max_difference = float(np.abs(computed - ours).max())
        if not max_difference <= TOLERANCE:
            raise CatsDogsError(
                f"what {path} would hold gives probabilities up to {max_difference:.1e} from ours, "
                f"more than {TOLERANCE:g}",
                "Nothing was written. Please report it, with the versions of what is installed (pip list)",
            )
        write_atomic(path, content)
    _log.info("%s, %d bytes, %.1e from our own probabilities", path, len(content), max_difference)
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
        raise CatsDogsError(f"there is no format {format} of a network", f"Give {' or '.join(FORMATS)}")
    path = artifacts.root / f"catsdogs.{format}" if out is None else user_path(out)
    if path.suffix != f".{format}":
        raise CatsDogsError(
            f"{path} does not end with .{format}, by which programs know such a file", f"Give --out FILE.{format}"
        )
    return path


def _reference_features(network: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    # One by one: eagerly, Keras keeps the output of every layer until the last.
    return np.concatenate([reference_features(network, image[np.newaxis]) for image in pixels])


def _metadata(trained: head.Head) -> dict[str, Any]:
    """Return what the file says of itself."""
    metadata = trained.metadata.to_dict()
    return {
        "classes": metadata["classes"],
        "output": f"the probability of {metadata['classes'][1]}, unclipped",
        "input": "uint8 or float, 0 to 255: " + metadata["pixels"],
        "views": metadata["views"],
        "backbone": metadata["backbone"],
        "head": {name: metadata[name] for name in ("transform", "C", "precision", "features")},
        "catsdogs": version("catsdogs"),
    }
