"""Predict the class of images with the trained head."""

import math
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import head
from ..artifacts import Artifacts
from ..backbone import Backbone
from ..errors import CatsDogsError
from ..images.decoding import UnreadableImageError, decode_thumbnail
from ..images.views import parse_views
from ..inference.batches import compute_all
from ..inference.plan import load_head_backbone
from ..paths import is_uri, user_path
from ..progress import Progress
from ..result import Result
from ..sources import ImageFile, find_remote, image_from_stream, walk_archive, walk_folder
from ..sources.files import Readable, StoredFile, given_image
from ..sources.names import is_archive, is_image, skip_reason


class PillowImage(Protocol):
    """A ``PIL.Image.Image``; the import of that class takes 20 ms, and a prediction of files does not need it."""

    def getexif(self) -> object:
        """Return what its EXIF block says."""


ImageInput = str | Path | bytes | bytearray | memoryview | Readable | PillowImage | NDArray[np.uint8]
"""The path or URI of an image, a folder, a zip or a tar; or one image: the bytes of a file, an open binary file, a
Pillow image, or an array of shape (height, width), (height, width, 3) or (height, width, 4)."""

_BYTES = bytes | bytearray | memoryview

_ACCEPTED = "Give paths, bytes, open binary files, Pillow images, or uint8 arrays (h, w), (h, w, 3) or (h, w, 4)"

_TIFF_MODES = ("CMYK", "YCbCr", "LAB", "I", "F")
"""Modes of Pillow that PNG does not store without loss."""

_PREVIEW_PIXELS = 320
"""Longer side of a preview: 20 columns of a high-resolution terminal."""


@dataclass(frozen=True)
class Prediction(Result):
    """The prediction of one image.

    Parameters
    ----------
    image : str
        Its path, as given; "-" if no path was given.
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


class Predictor(AbstractContextManager["Predictor"]):
    """A trained head and its backbone, which stay loaded.

    Use it as a context manager. Several threads may call `predict` at the same time.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder, with a head.
    weights : str or Path, optional
        As for `extract`; the head must have been trained with them.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Raises
    ------
    CatsDogsError
        There is no head, or its images were resized by other rules.

    Examples
    --------
    >>> with catsdogs.Predictor("artifacts") as predictor:  # doctest: +SKIP
    ...     for path in ("cat.jpg", "dog.jpg"):
    ...         print(predictor.predict(path)[0].label)
    """

    def __init__(
        self,
        artifacts: str | Path = "artifacts",
        *,
        weights: str | Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        opened = Artifacts(artifacts)
        self._head = head.load(opened)
        load = load_head_backbone(self._head, opened, weights, progress=progress)
        self._load: Callable[[], Backbone] | None = load
        self._progress, self._lock, self._process = progress, Lock(), os.getpid()

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the backbone; further calls of `predict` raise an error."""
        self._load = None

    def predict(self, images: ImageInput | Iterable[ImageInput], *, previews: int = 0) -> list[Prediction]:
        """Predict the class of each image, as the function `predict` does."""
        self._opened()
        if os.getpid() != self._process:
            message = "the predictor belongs to the process that forked this one"
            raise CatsDogsError(message, "Create one in each process")
        metadata, views = self._head.metadata, parse_views(self._head.metadata.views)
        with ExitStack() as open_zips:
            files, unopened = list[ImageFile](), list[Prediction]()
            for item in _inputs(images):
                broken: dict[str, str] = {}
                files += _list_images(item, open_zips, broken)
                unopened += [Prediction(path, None, None, why.removeprefix(f"{path} ")) for path, why in broken.items()]
            _, reasons, features = compute_all(files, views, self._backbone, "predicting", progress=self._progress)
            small = [_preview(file) if len(files) <= previews else None for file in files]
        probabilities = self._head.classifier.probabilities(features).tolist()
        predictions = [
            Prediction(file.display_path, None, None, reasons[position])
            if position in reasons
            else Prediction(file.display_path, metadata.classes[int(probability > 0.5)], probability, preview=preview)
            for position, (file, probability, preview) in enumerate(zip(files, probabilities, small, strict=True))
        ]
        return predictions + unopened

    def _backbone(self) -> Backbone:
        with self._lock:  # two threads would load it twice
            return self._opened()()

    def _opened(self) -> Callable[[], Backbone]:
        if not (load := self._load):
            raise CatsDogsError("the predictor is closed", "Call predict within its with block")
        return load


def predict(
    images: ImageInput | Iterable[ImageInput],
    *,
    artifacts: str | Path = "artifacts",
    weights: str | Path | None = None,
    previews: int = 0,
    progress: Progress | None = None,
) -> list[Prediction]:
    """Predict the class of each image, without writing anything.

    Parameters
    ----------
    images : str, Path, bytes, open binary file, PIL.Image.Image or ndarray of uint8, or several of them
        Paths or URIs of files, folders, zips and tars; the others are one image each. Arrays are grey, RGB or RGBA, of
        shape (height, width), (height, width, 3) or (height, width, 4). Pillow images and arrays are decoded as
        lossless files of them would be, with the orientation that Pillow has read.
    artifacts : str or Path
        The artifacts folder, with a head.
    weights : str or Path, optional
        As for `extract`; the head must have been trained with them.
    previews : int
        If there are at most this many images, each prediction has a preview of its image.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Returns
    -------
    list of Prediction
        In the order given; the images of a folder or an archive in natural order. Archives that cannot be opened are
        last.

    Raises
    ------
    CatsDogsError
        There is no head, it was trained with other weights, a folder or an archive has no image, a Pillow image lacks
        pixels, or an input is of another type.
    """
    with Predictor(artifacts, weights=weights, progress=progress) as predictor:
        return predictor.predict(images, previews=previews)


def _inputs(images: Any) -> Iterable[Any]:
    """Return several inputs of one or several; a path, bytes, a file, an image and an array are one."""
    one = isinstance(images, str | Path | _BYTES | np.ndarray) or hasattr(images, "read")
    return [images] if one or not isinstance(images, Iterable) else images


def _one_image(source: Any) -> ImageFile:
    """Return an image that is not a path as a file; Pillow images and arrays are saved without loss."""
    if isinstance(source, _BYTES):
        return image_from_stream(BytesIO(bytes(source)), "-")
    from PIL import Image

    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.shape[2:] not in ((), (3,), (4,)) or source.ndim < 2 or not source.size:
            raise CatsDogsError(f"an array is of the type {source.dtype} and the shape {source.shape}", _ACCEPTED)
        source = Image.fromarray(np.ascontiguousarray(source))
    if isinstance(source, Image.Image):
        file, options = BytesIO(), dict[str, Any]()
        form = "TIFF" if source.mode in _TIFF_MODES else "PNG"
        if form == "PNG":
            options["compress_level"] = 1
        with suppress(Exception):  # an EXIF block that cannot be read is ignored, as in files
            options["exif"] = source.getexif()
        try:
            source.save(file, form, **options)
        except MemoryError:
            raise
        except Exception as error:  # on what an image may hold or lack, Pillow raises nearly any exception
            message = f"a Pillow image of the mode {source.mode} cannot be read: {error}"
            hint = "Give its file instead: a file that is damaged is told beside the others"
            raise CatsDogsError(message, hint) from error
        file.seek(0)
        return image_from_stream(file, "-")
    if not hasattr(source, "read"):
        raise CatsDogsError(f"an image is of the type {type(source).__name__}", _ACCEPTED)
    return image_from_stream(source, "-")


def _list_images(source: ImageInput, open_zips: ExitStack, broken: dict[str, str]) -> list[ImageFile]:
    if not isinstance(source, str | Path):
        return [_one_image(source)]
    path: str | Path = source if is_uri(source) else user_path(source)
    remote = find_remote(path) if isinstance(path, str) else None
    file = given_image(path) if isinstance(path, Path) and not path.is_dir() else remote
    files = list[ImageFile]()
    if file is None:
        files.extend(walk_folder(path, open_zips, broken=broken))
        if isinstance(path, Path):
            files = [replace(file, display_path=str(Path(source, *file.parts))) for file in files]
    elif isinstance(file, StoredFile) and (
        is_archive(name := file.parts[-1]) or (file.is_remote and not is_image(name))
    ):
        try:
            files.extend(walk_archive(file, open_zips))
        except CatsDogsError as error:
            broken[file.display_path] = error.message
    else:
        return [file if is_uri(source) else replace(file, display_path=str(source))]
    images = [file for file in files if not skip_reason(file.parts)]
    if not images and not broken:
        raise CatsDogsError(f"there are no images in {path}", "Give files, folders or archives of images")
    from natsort import natsort_keygen

    key = natsort_keygen()
    return sorted(images, key=lambda file: (key("/".join(file.parts)), file.parts))


def _preview(file: ImageFile) -> NDArray[np.uint8] | None:
    try:
        return decode_thumbnail(file.read(), _PREVIEW_PIXELS)
    except (OSError, UnreadableImageError):
        return None
