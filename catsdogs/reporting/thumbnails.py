"""Cut thumbnails of the images to be shown."""

import base64
import io
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from joblib import cpu_count
from PIL import Image

from ..cache import digest
from ..errors import CatsDogsError
from ..images.decoding import UnreadableImageError, decode_thumbnail
from ..images.memory import reserve_memory
from ..progress import Progress, tell
from ..sources import ImageFile, Source, unreadable_reason
from .findings import Findings, Key

SIDE = 320
"""Pixels of the longer side: enough for a tile on a fine screen, and for one that is enlarged on any."""

_TRIED = ((SIDE, 80), (SIDE, 55), (224, 55), (160, 40), (96, 20))
"""Sides and WebP qualities, until a picture is small enough. A photograph is with the first."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture as the page holds it.

    Parameters
    ----------
    uri : str
        A WebP image as a data URI; empty where there is none.
    width, height : int
        In pixels.
    reason : str
        Why there is no picture.
    """

    uri: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Thumbnails:
    """The pictures of a report.

    Parameters
    ----------
    pictures : dict of (split, id) to Thumbnail
    problems : tuple of str
        What is wrong with whole sources: each a sentence without its full stop.
    """

    pictures: dict[Key, Thumbnail]
    problems: tuple[str, ...]

    @property
    def missing(self) -> int:
        """How many images have no picture."""
        return sum(not picture.uri for picture in self.pictures.values())


def cut_thumbnails(
    findings: Findings, wanted: Collection[Key], *, most: int, progress: Progress | None = None
) -> Thumbnails:
    """Read the images' own files, or the zips they are in, and make a small picture of each.

    Parameters
    ----------
    findings : Findings
        Says where the images are, and what their bytes were when their features were computed.
    wanted : collection of (split, id)
        The images, each once.
    most : int
        Bytes that one picture may take as a data URI.
    progress : callable, optional
        Told how far it is.

    Returns
    -------
    Thumbnails
        With a reason for each image that is gone, cannot be read, or is another than it was.
    """
    problems: list[str] = []
    pictures: dict[Key, Thumbnail] = {}
    with ExitStack() as sources, ThreadPoolExecutor(cpu_count(), thread_name_prefix="thumbnail") as threads:
        files = dict(_find(findings, {split for split, _ in wanted}, sources, problems))
        absent = Thumbnail(reason="it is not there any more" if findings.source else "its place is not known")
        futures = {key: threads.submit(_cut, files[key], findings.digests[key], most) for key in wanted if key in files}
        for done, key in enumerate(wanted, 1):
            pictures[key] = futures[key].result() if key in futures else absent
            tell(progress, "cutting thumbnails", done, len(wanted))
    return Thumbnails(pictures, tuple(problems))


def _find(
    findings: Findings, splits: Collection[str], sources: ExitStack, problems: list[str]
) -> Iterator[tuple[Key, ImageFile]]:
    """Yield every image that is where source.json says, and how to read it; add to `problems` what cannot be opened."""
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


def _cut(file: ImageFile, expected: bytes, most: int) -> Thumbnail:
    try:
        with reserve_memory(file.size()) as reserved:
            data = file.read()
            if digest(data).tobytes() != expected:
                return Thumbnail(reason="its file has changed since")
            pixels = decode_thumbnail(data, SIDE, reserved=reserved)
    except UnreadableImageError as error:
        return Thumbnail(reason=str(error))
    except CatsDogsError as error:
        return Thumbnail(reason=error.message)
    except OSError as error:
        return Thumbnail(reason=unreadable_reason(error))
    return _encode(Image.fromarray(pixels), most)


def _encode(image: Image.Image, most: int) -> Thumbnail:
    """Return the picture in the best quality for which there is room."""
    for side, quality in _TRIED:
        image.thumbnail((side, side), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        image.save(file, "WEBP", quality=quality)
        uri = f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
        if len(uri) <= most:
            break
    return Thumbnail(uri, *image.size)
