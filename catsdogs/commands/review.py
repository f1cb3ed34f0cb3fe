"""Write an HTML page on which the images most worth a look are judged, one at a time."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts import Artifacts
from ..cache import Features
from ..errors import CatsDogsError, printable
from ..head.corrections import DROP, KEEP
from ..locks import RESULTS
from ..progress import Progress, tell
from ..reporting.findings import gather
from ..reporting.page import percent, render
from ..reporting.queue import QueuedImage, build_queue
from ..reporting.thumbnails import MAX_BYTES, Key, Thumbnails, ThumbnailSize, create_thumbnails
from ..reporting.unusual import describe_facts
from ..result import Result
from ..sources.classes import Classes
from ..storage import record_timing, sha256_of, write_atomic

_LARGE, _SMALL = 480, 112
"""Longer sides in pixels of an image that is judged, and of a neighbour."""

_MAX_SMALL_BYTES, _MAX_TOTAL_BYTES = 5_000, 4_800_000
"""Bytes of the thumbnail of a neighbour, and of all thumbnails together: the page must be below 5 MB."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Review(Result):
    """The result of `review`.

    Parameters
    ----------
    path : Path
    size : int
        In bytes.
    queue : tuple of QueuedImage
        The images to judge, those most worth a look first.
    missing : int
        Images without a picture on the page, as their files are missing, changed or unreadable.
    problems : tuple of str
        Folders or zips that cannot be opened, with the reason.
    seconds : float
        Wall time, including loading.
    """

    path: Path
    size: int
    queue: tuple[QueuedImage, ...]
    missing: int
    problems: tuple[str, ...]
    seconds: float


def review(artifacts: str | Path = "artifacts", *, progress: Progress | None = None) -> Review:
    """Write review.html: the 100 images most worth a look, to be judged one at a time, in one self-contained file.

    The page gives a CSV file of verdicts for `correct`; images with a verdict are not asked again. Pictures are made
    from the original files, as for `report`.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder, with a head.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Returns
    -------
    Review

    Raises
    ------
    CatsDogsError
        There is no head, it is stale, a class is named like a verdict, a file is damaged, or another process is
        writing. An earlier page is kept.
    """
    start = time.perf_counter()
    with Artifacts.open(artifacts, RESULTS) as opened:
        tell(progress, "reading the artifacts", 0, 0)
        findings = gather(opened)
        if verdicts := [name for name in findings.classes if name.lower() in (DROP, KEEP)]:
            message = f"a class is named {verdicts[0]}, as a verdict of the page is"
            raise CatsDogsError(message, "Give the names of classes to catsdogs correct in a table")
        features = opened.cache.load()
        tell(progress, "comparing images", 0, 0)
        queue = build_queue(findings, features)
        thumbnails = create_thumbnails(
            _sizes(queue), findings.digests, source=findings.source, classes=findings.classes, progress=progress
        )
        page = _page(queue, features, thumbnails, bool(findings.source))
        write_atomic(opened.review, page)
        seconds = time.perf_counter() - start
        head = findings.metadata.files["head.npz"]
        record_timing(opened.timings, "review", images=len(queue), seconds=round(seconds, 3), head=head)
        _log.info("%s, %d bytes in %.1f s", opened.review, len(page), seconds)
        return Review(opened.review, len(page), queue, thumbnails.missing, thumbnails.problems, seconds)


def _sizes(queue: Sequence[QueuedImage]) -> dict[Key, ThumbnailSize]:
    """Return the sizes of the thumbnails: large for what is judged, small for other neighbours, each image once."""
    small = ThumbnailSize(_SMALL, _MAX_SMALL_BYTES)
    near = {("train", other.id): small for image in queue for other in image.neighbours}
    others = len(near.keys() - {("train", image.id) for image in queue})
    room = (_MAX_TOTAL_BYTES - others * _MAX_SMALL_BYTES) // max(1, len(queue))
    return near | {("train", image.id): ThumbnailSize(_LARGE, min(room, MAX_BYTES)) for image in queue}


def _page(queue: Sequence[QueuedImage], features: Features, thumbnails: Thumbnails, located: bool) -> bytes:
    facts = dict(zip(features.ids.tolist(), features.facts, strict=True))
    pictures = {name: _picture(thumbnails, name) for _, name in thumbnails.by_key}
    images = [_shown(image, features.classes, describe_facts(facts[image.id])) for image in queue]
    content = {"classes": [printable(name) for name in features.classes], "images": images, "pictures": pictures}
    named = [(image.id, image.digest, image.label) for image in queue]
    key = sha256_of(json.dumps(named).encode())[:16]
    return render(
        "review",
        look="review",
        classes=features.classes,
        content=content | {"key": f"catsdogs-review-{key}"},
        thumbnails=thumbnails,
        located=located,
        total=len(queue),
    )


def _picture(thumbnails: Thumbnails, name: str) -> dict[str, Any]:
    found = thumbnails.by_key["train", name]
    size = {"src": found.uri, "width": found.width, "height": found.height}
    return size if found.uri else {"reason": printable(found.reason)}


def _shown(image: QueuedImage, classes: Classes, facts: str) -> dict[str, Any]:
    """Return what the page's script needs of an image."""
    own = image.probability if image.label == classes[1] else 1 - image.probability
    neighbours = [
        {"id": near.id, "label": printable(near.label or ""), "similarity": f"{near.similarity:.2f}"}
        for near in image.neighbours
    ]
    return {
        "id": image.id,
        "digest": image.digest,
        "label": printable(image.label),
        "other": printable(classes[image.label == classes[0]]),
        "probability": percent(own),
        "why": [printable(reason) for reason in image.why],
        "facts": facts,
        "neighbours": neighbours,
    }
