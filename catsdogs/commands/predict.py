"""Predict the class of images with the trained head."""

import math
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from natsort import natsort_keygen
from numpy.typing import NDArray

from .. import head
from ..artifacts import Artifacts
from ..errors import CatsDogsError
from ..images.decoding import UnreadableImageError, decode_thumbnail
from ..images.views import parse_views
from ..inference.batches import compute_all
from ..inference.plan import load_head_backbone
from ..paths import user_path
from ..progress import Progress
from ..sources import ImageFile, image_file, image_from_stream, open_zip, walk_folder, walk_zip
from ..sources.layout import is_skipped, is_zip
from .result import Result

ImageInput = str | Path | BufferedIOBase
"""A path of an image, a folder or a zip; or an open file with one image's bytes."""

_PREVIEW_PIXELS = 320
"""Of a preview's longer side: twenty columns of a fine screen."""


@dataclass(frozen=True)
class Prediction(Result):
    """What the head says of one image.

    Parameters
    ----------
    image : str
        Its path, as it was given; "-" for an open file.
    label : str or None
        Name of the likelier class; None where the image is unreadable.
    probability : float or None
        Of the second class (dog), unclipped; None where the image is unreadable.
    reason : str or None
        Why the image is unreadable.
    preview : ndarray of shape (height, width, 3), uint8, or None
        The image, small and in its own proportions, where that was asked for.
    """

    image: str
    label: str | None
    probability: float | None
    reason: str | None = None
    preview: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)

    @property
    def certainty(self) -> float:
        """How far the probability is from one half; infinite where the image is unreadable, so that it sorts last."""
        return math.inf if self.probability is None else abs(self.probability - 0.5)

    def to_dict(self) -> dict[str, Any]:
        """Return image, label and probability, and the reason where there is one."""
        values = {"image": self.image, "label": self.label, "probability": self.probability}
        return values if self.reason is None else values | {"reason": self.reason}


def predict(
    images: ImageInput | Iterable[ImageInput],
    *,
    artifacts: str | Path = "artifacts",
    weights: str | None = None,
    previews: int = 0,
    progress: Progress | None = None,
) -> list[Prediction]:
    """Say of each image which of the two classes it is, a cat or a dog; nothing is written.

    Parameters
    ----------
    images : str, Path or open binary file, or several of them
        Files, folders and zips of files; an open file holds one image's bytes.
    artifacts : str or Path
        The artifacts folder, with a head in it.
    weights : str, optional
        As for `extract`; they must be those that the head was trained with.
    previews : int
        Each prediction has a small preview of its image, where there are no more images than this.
    progress : callable, optional
        Told how far it is.

    Returns
    -------
    list of Prediction
        In the order given; a folder's or a zip's images in natural order. Last, zips that cannot be opened.

    Raises
    ------
    CatsDogsError
        There is no head, it belongs to other weights, or a folder or a zip holds no image.
    """
    opened = Artifacts(artifacts)
    trained = head.load(opened)
    backbone = load_head_backbone(trained, opened, weights, progress=progress)
    views = parse_views(trained.metadata.views)
    inputs = [images] if isinstance(images, str | Path | BufferedIOBase) else images
    with ExitStack() as open_zips:
        broken: dict[str, str] = {}
        files = [file for item in inputs for file in _list_images(item, open_zips, broken)]
        rows, features = compute_all(files, views, backbone, "predicting", progress=progress)
        small = [_preview(file) if len(files) <= previews else None for file in files]
    classes, probabilities = trained.metadata.classes, trained.classifier.probabilities(features).tolist()
    predictions = [
        Prediction(file.display_path, classes[int(probability > 0.5)], probability, preview=preview)
        if row.features
        else Prediction(file.display_path, None, None, row.reason)
        for file, row, probability, preview in zip(files, rows, probabilities, small, strict=True)
    ]
    unopened = [Prediction(path, None, None, message.removeprefix(f"{path} ")) for path, message in broken.items()]
    return predictions + unopened


def _list_images(source: ImageInput, open_zips: ExitStack, broken: dict[str, str]) -> list[ImageFile]:
    if not isinstance(source, str | Path):
        return [image_from_stream(source, "-")]
    path, known = user_path(source), len(broken)
    if path.is_dir():
        found = walk_folder(path, open_zips, broken=broken)
        files = [replace(file, display_path=str(Path(source, *file.parts))) for file in found]
    elif is_zip(path.name):
        files = []
        try:
            files.extend(walk_zip(open_zip(path), str(path), (), open_zips))
        except CatsDogsError as error:
            broken[str(path)] = error.message
    else:
        return [replace(image_file(path, (path.name,)), display_path=str(source))]
    images = [file for file in files if not is_skipped(file.parts)]
    if not images and len(broken) == known:
        raise CatsDogsError(f"there are no images in {path}", "Give files, folders or zips of images")
    key = natsort_keygen()
    return sorted(images, key=lambda file: (key("/".join(file.parts)), file.parts))


def _preview(file: ImageFile) -> NDArray[np.uint8] | None:
    try:
        return decode_thumbnail(file.read(), _PREVIEW_PIXELS)
    except (OSError, UnreadableImageError):
        return None
