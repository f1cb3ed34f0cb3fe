"""Create the thumbnails of a page."""

import base64
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..cache import Features, digest
from ..errors import CatsDogsError
from ..images.decoding import UnreadableImageError, decode_thumbnail
from ..images.memory import reserve_memory
from ..progress import Progress, tell
from ..sources import Classes, ImageFile, Source, unreadable_reason
from ..threads import cpu_count

Key = tuple[str, str]
"""Split and id, which identify an image."""

SIDE = 320
"""Longer side in pixels: enough for a tile on a high-density screen and for the enlarged view on any screen."""

MAX_BYTES = 60_000
"""Bytes of one thumbnail: more would not be visible."""

_TRIED = ((1.0, 80), (1.0, 55), (0.7, 55), (0.5, 40), (0.3, 20))
"""Fractions of the side and WebP qualities, tried in order until the thumbnail fits. For photographs in the report, the
first one does."""


def digests_by_key(splits: Mapping[str, Features]) -> dict[Key, bytes]:
    """Return the digests of all images of the cache by split and id."""
    return {
        (split, name): row.tobytes()
        for split, images in splits.items()
        for name, row in zip(images.ids.tolist(), images.digests, strict=True)
    }


class ThumbnailSize(NamedTuple):
    """The longer side of a thumbnail in pixels, and the largest size of its data URI in bytes."""

    side: int
    most: int


@dataclass(frozen=True)
class Thumbnail:
    """A thumbnail, as embedded in the page.

    Parameters
    ----------
    uri : str
        A WebP image as a data URI; empty if there is no thumbnail.
    width, height : int
        In pixels.
    reason : str
        Why there is no thumbnail.
    """

    uri: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""

    def pixels(self) -> NDArray[np.uint8]:
        """Decode the thumbnail; of shape (height, width, 3), uint8."""
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(self.uri.partition(",")[2]))).convert("RGB"))


@dataclass(frozen=True)
class Thumbnails:
    """The thumbnails of a page.

    Parameters
    ----------
    by_key : dict of (split, id) to Thumbnail
    problems : tuple of str
        Sources that cannot be opened: a sentence for each, without the full stop.
    """

    by_key: dict[Key, Thumbnail]
    problems: tuple[str, ...]

    @property
    def missing(self) -> int:
        """The number of images without a thumbnail."""
        return sum(not thumbnail.uri for thumbnail in self.by_key.values())


def create_thumbnails(
    wanted: Mapping[Key, ThumbnailSize],
    digests: Mapping[Key, bytes],
    *,
    source: Mapping[str, Any],
    classes: Classes,
    progress: Progress | None = None,
) -> Thumbnails:
    """Create a thumbnail of each image from its file, which may be in a zip.

    Parameters
    ----------
    wanted : dict of (split, id) to ThumbnailSize
    digests : dict of (split, id) to bytes
        BLAKE2b-128 of the bytes of the images.
    source : dict of str to str
        Path of the images of each split, as in source.json; empty if it is not known.
    classes : pair of str
    progress : callable, optional
        Called with the step, the images done and their total.

    Returns
    -------
    Thumbnails
        With a reason for each image that is missing, unreadable or changed.
    """
    problems: list[str] = []
    files: dict[Key, ImageFile] = {}
    by_key: dict[Key, Thumbnail] = {}
    places = {split: str(source[split]) for split in sorted({split for split, _ in wanted} & source.keys())}
    with ExitStack() as sources, ThreadPoolExecutor(cpu_count(), thread_name_prefix="thumbnail") as pool:
        for place in dict.fromkeys(places.values()):
            try:
                opened = sources.enter_context(Source(place, classes=classes))
            except (CatsDogsError, OSError) as error:
                problems.append(error.message if isinstance(error, CatsDogsError) else f"{place}: {error.strerror}")
                continue
            for split, images in opened.splits.items():
                if places.get(split) == place:
                    files |= {(split, name): file for name, file in zip(images.ids, images.files, strict=True)}
        futures = {
            key: pool.submit(load_thumbnail, files[key], digests[key], size)
            for key, size in wanted.items()
            if key in files
        }
        for done, key in enumerate(wanted, 1):
            reason = "the file is missing" if key[0] in places else "its location is unknown"
            by_key[key] = futures[key].result() if key in futures else Thumbnail(reason=reason)
            tell(progress, "creating thumbnails", done, len(wanted))
    return Thumbnails(by_key, tuple(problems))


def load_thumbnail(file: ImageFile, expected: bytes | None, size: ThumbnailSize) -> Thumbnail:
    """Return the thumbnail of a file, or the reason why there is none; its digest must be the expected one, if any."""
    try:
        with reserve_memory(file.size()) as reserved:
            data = file.read()
            if expected is not None and digest(data).tobytes() != expected:
                return Thumbnail(reason="the file has changed since feature extraction")
            pixels = decode_thumbnail(data, size.side, reserved=reserved)
    except UnreadableImageError as error:
        return Thumbnail(reason=str(error))
    except CatsDogsError as error:
        return Thumbnail(reason=error.message)
    except OSError as error:
        return Thumbnail(reason=unreadable_reason(error))
    return _encode(Image.fromarray(pixels), size)


def _encode(image: Image.Image, size: ThumbnailSize) -> Thumbnail:
    """Return the thumbnail in the best quality that fits."""
    for fraction, quality in _TRIED:
        image.thumbnail((round(size.side * fraction),) * 2, Image.Resampling.BICUBIC)
        file = io.BytesIO()
        image.save(file, "WEBP", quality=quality, method=2)  # half the time of 4, the default, for 4 % more bytes
        uri = f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
        if len(uri) <= size.most:
            break
    return Thumbnail(uri, *image.size)
