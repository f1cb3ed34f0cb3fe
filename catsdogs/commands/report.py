"""Write an HTML page with the metrics of the head, plots, and the images to review.

In `reporting`, `findings` reads the artifacts, `galleries` selects the images, `thumbnails` makes a thumbnail of each,
`plots` draws the plots, and `page` fills the template.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from ..artifacts import Artifacts
from ..locks import RESULTS
from ..progress import Progress, tell
from ..reporting.findings import gather
from ..reporting.galleries import choose_galleries, choose_pairs, choose_unusual_galleries
from ..reporting.page import write_page
from ..reporting.plots import draw_plots
from ..reporting.thumbnails import MAX_BYTES, SIDE, ThumbnailSize, create_thumbnails
from ..result import Result
from ..storage import record_timing, write_atomic

_MAX_TOTAL_BYTES = 4_000_000
"""Bytes of all thumbnails together, which are most of the page: the page must be below 5 MB."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report(Result):
    """The result of `report`.

    Parameters
    ----------
    path : Path
    size : int
        In bytes.
    images : int
        Images that the page shows.
    missing : int
        Images that it only names, as their files are missing, changed or unreadable.
    problems : tuple of str
        Folders or zips that cannot be opened, with the reason.
    seconds : float
        Wall time, including loading.
    """

    path: Path
    size: int
    images: int
    missing: int
    problems: tuple[str, ...]
    seconds: float


def report(artifacts: str | Path = "artifacts", *, progress: Progress | None = None) -> Report:
    """Write report.html: metrics, plots and the images to review, in one self-contained file.

    Training images are shown with their out-of-fold predictions, test images with the predictions of the head; all are
    unclipped. Thumbnails are made from the original files; images whose file is missing or changed are only named.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder, with a head.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Returns
    -------
    Report

    Raises
    ------
    CatsDogsError
        There is no head, it is stale, a file is damaged, or another process is writing. An earlier report is kept.
    """
    start = time.perf_counter()
    with Artifacts.open(artifacts, RESULTS) as opened:
        tell(progress, "reading the artifacts", 0, 0)
        findings = gather(opened)
        galleries, pairs = choose_galleries(findings), choose_pairs(findings)
        unusual = choose_unusual_galleries(findings, opened.cache.load())
        images = [image for gallery in (*galleries.values(), *unusual.values()) for image in gallery.images]
        images += [image for pair in pairs for image in (pair.first, pair.second)]
        most = min(MAX_BYTES, _MAX_TOTAL_BYTES // max(1, len(images)))
        wanted = dict.fromkeys((image.key for image in images), ThumbnailSize(SIDE, most))
        thumbnails = create_thumbnails(
            wanted, findings.digests, source=findings.source, classes=findings.classes, progress=progress
        )
        tell(progress, "drawing plots", 0, 0)
        page = write_page(
            findings, galleries, pairs, unusual=unusual, thumbnails=thumbnails, plots=draw_plots(findings)
        )
        write_atomic(opened.report, page)
        seconds, shown = time.perf_counter() - start, len(thumbnails.by_key) - thumbnails.missing
        head = findings.metadata.files["head.npz"]
        record_timing(opened.timings, "report", images=shown, seconds=round(seconds, 3), head=head)
        _log.info("%s, %d bytes in %.1f s", opened.report, len(page), seconds)
        return Report(opened.report, len(page), shown, thumbnails.missing, thumbnails.problems, seconds)
