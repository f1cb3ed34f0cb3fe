"""Predict the class of images with the trained head."""

import math
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
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
from ..result import Result
from ..sources import ImageFile, image_file, image_from_stream, open_zip, walk_folder, walk_zip
from ..sources.names import is_skipped, is_zip

ImageInput = str | Path | BufferedIOBase
"""The path of an image, a folder or a zip; or an open binary file with one image."""

_PREVIEW_PIXELS = 320
"""Longer side of a preview: 20 columns of a high-resolution terminal."""


@dataclass(frozen=True)
class Prediction(Result):
    """The prediction of one image.

    Parameters
    ----------
    image : str
        Its path, as given; "-" for an open file.
    label : str or None
        Name of the predicted class; None if the image is unreadable.
    probability : float or None
        Of the second class (dog), unclipped; None if the image is unreadable.
    reason : str or None
        Why the image is unreadable.
    preview : ndarray of shape (height, width, 3), uint8, or None
        The image, resized to a preview with its aspect ratio; None if none was requested.
    """

    image: str
    label: str | None
    probability: float | None
    reason: str | None = None
    preview: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)

    @property
    def certainty(self) -> float:
        """Distance of the probability from 0.5; infinite if the image is unreadable, so that it is sorted last."""
        return math.inf if self.probability is None else abs(self.probability - 0.5)

    def to_dict(self) -> dict[str, Any]:
        """Return image, label and probability, and the reason if the image is unreadable."""
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
    """Predict the class of each image, without writing anything.

    Parameters
    ----------
    images : str, Path or open binary file, or several of them
        Files, folders and zips; an open file contains one image.
    artifacts : str or Path
        The artifacts folder, with a head.
    weights : str, optional
        As for `extract`; the head must have been trained with them.
    previews : int
        If there are at most this many images, each prediction has a preview of its image.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Returns
    -------
    list of Prediction
        In the order given; the images of a folder or a zip in natural order. Zips that cannot be opened are last.

    Raises
    ------
    CatsDogsError
        There is no head, it was trained with other weights, or a folder or a zip has no image.
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
    from natsort import natsort_keygen

    key = natsort_keygen()
    return sorted(images, key=lambda file: (key("/".join(file.parts)), file.parts))


def _preview(file: ImageFile) -> NDArray[np.uint8] | None:
    try:
        return decode_thumbnail(file.read(), _PREVIEW_PIXELS)
    except (OSError, UnreadableImageError):
        return None
