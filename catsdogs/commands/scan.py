"""Tell how a folder or a zip would be read, without reading any image."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..artifacts import Artifacts
from ..cache import Part, parse_part
from ..errors import CatsDogsError
from ..paths import is_uri
from ..sources import Scan, Source
from ..sources.classes import Classes, parse_classes

_log = logging.getLogger(__name__)


def scan(
    data: str | Path,
    *,
    artifacts: str | Path = "artifacts",
    classes: str | Sequence[str] | None = None,
    part: str | None = None,
) -> Scan:
    """Tell how a folder or a zip would be read, and whether a head could be trained on it, without writing anything.

    Only names are read, and the content of files that have the same name and size.

    Parameters
    ----------
    data : str or Path
        As for `extract`.
    artifacts : str or Path
        The artifacts folder, whose classes are used if neither `classes` nor folders name any; or a URI as for
        `extract`, which has none.
    classes : str or two str, optional
    part : str, optional
        As for `extract`.

    Returns
    -------
    Scan

    Raises
    ------
    CatsDogsError
        As for `extract`, if `data` or `part` cannot be used.
    """
    names = None if classes is None else parse_classes(classes)
    opened = None if is_uri(artifacts) else Artifacts(artifacts)
    range_of = choose_part(part, opened)
    with list_images(data, names, opened) as source:
        own = source.part(range_of.positions(len(source.files)))
        counts = {split: len(images.ids) for split, images in own.items()}
        return replace(source.scan, part=counts if part else None)


def choose_part(text: str | None, artifacts: Artifacts | None) -> Part:
    """Return the part that a text such as "3/8" names, or all images; refuse a part where there is a cache."""
    part = parse_part(text) if text else Part(1, 1)
    if text and artifacts and artifacts.cache.manifest:
        hint = "Give each part another --artifacts DIR, or extract without --part"
        raise CatsDogsError(f"{artifacts.root} has a cache already, and a part needs a folder without", hint)
    return part


def list_images(data: str | Path, classes: Classes | None, artifacts: Artifacts | None) -> Source:
    """List the images; the classes of the cache, if any, are used if neither the user nor the folders name them."""
    manifest = artifacts.cache.manifest if artifacts else None
    default_classes = manifest.classes if manifest and manifest.has_labels else None
    return Source(data, classes=classes, default_classes=default_classes)


def warn_of_training_problem(source: Source, artifacts: Artifacts) -> None:
    """Log a warning if no head can be trained on the images, nor on those that are cached and stay."""
    if source.training_problem and ("train" in source.splits or not artifacts.cache.labelled("train")):
        _log.warning("no head can be trained on these images: %s", source.training_problem)
