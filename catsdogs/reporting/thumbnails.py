"""Create the thumbnails of the report."""

import base64
import io
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from PIL import Image

from ..cache import digest
from ..errors import CatsDogsError
from ..images.decoding import UnreadableImageError, decode_thumbnail
from ..images.memory import reserve_memory
from ..progress import Progress, tell
from ..sources import ImageFile, Source, unreadable_reason
from ..threads import cpu_count
from .findings import Findings, Key

SIDE = 320
"""Longer side in pixels: enough for a tile on a high-density screen and for the enlarged view on any screen."""

_TRIED = ((SIDE, 80), (SIDE, 55), (224, 55), (160, 40), (96, 20))
"""Longer sides and WebP qualities, tried in order until the thumbnail fits. For photographs, the first one does."""


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


@dataclass(frozen=True)
class Thumbnails:
    """The thumbnails of a report.

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
    findings: Findings, wanted: Collection[Key], *, most: int, progress: Progress | None = None
) -> Thumbnails:
    """Create a thumbnail of each image from its file, which may be in a zip.

    Parameters
    ----------
    findings : Findings
        Provides the location of the images and the digests of their bytes.
    wanted : collection of (split, id)
        The images, without repetitions.
    most : int
        Largest size of one data URI in bytes.
    progress : callable, optional
        Called with the step, the images done and their total.

    Returns
    -------
    Thumbnails
        With a reason for each image that is missing, unreadable or changed.
    """
    problems: list[str] = []
    by_key: dict[Key, Thumbnail] = {}
    with ExitStack() as sources, ThreadPoolExecutor(cpu_count(), thread_name_prefix="thumbnail") as pool:
        files = dict(_find(findings, {split for split, _ in wanted}, sources, problems))
        absent = Thumbnail(reason="the file is missing" if findings.source else "its location is unknown")
        futures = {key: pool.submit(_load, files[key], findings.digests[key], most) for key in wanted if key in files}
        for done, key in enumerate(wanted, 1):
            by_key[key] = futures[key].result() if key in futures else absent
            tell(progress, "creating thumbnails", done, len(wanted))
    return Thumbnails(by_key, tuple(problems))


def _find(
    findings: Findings, splits: Collection[str], sources: ExitStack, problems: list[str]
) -> Iterator[tuple[Key, ImageFile]]:
    """Yield the images found at the locations in source.json; add sources that cannot be opened to `problems`."""
    places = {split: str(findings.source[split]) for split in sorted(splits) if split in findings.source}
    for place in dict.fromkeys(places.values()):
        try:
            source = sources.enter_context(Source(place, classes=findings.classes))
        except (CatsDogsError, OSError) as error:
            problems.append(error.message if isinstance(error, CatsDogsError) else f"{place}: {error.strerror}")
            continue
        for split, images in source.splits.items():
            if places.get(split) == place:
                yield from (((split, name), file) for name, file in zip(images.ids, images.files, strict=True))


def _load(file: ImageFile, expected: bytes, most: int) -> Thumbnail:
    try:
        with reserve_memory(file.size()) as reserved:
            data = file.read()
            if digest(data).tobytes() != expected:
                return Thumbnail(reason="the file has changed since feature extraction")
            pixels = decode_thumbnail(data, SIDE, reserved=reserved)
    except UnreadableImageError as error:
        return Thumbnail(reason=str(error))
    except CatsDogsError as error:
        return Thumbnail(reason=error.message)
    except OSError as error:
        return Thumbnail(reason=unreadable_reason(error))
    return _encode(Image.fromarray(pixels), most)


def _encode(image: Image.Image, most: int) -> Thumbnail:
    """Return the thumbnail in the best quality that fits."""
    for side, quality in _TRIED:
        image.thumbnail((side, side), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        image.save(file, "WEBP", quality=quality)
        uri = f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
        if len(uri) <= most:
            break
    return Thumbnail(uri, *image.size)
