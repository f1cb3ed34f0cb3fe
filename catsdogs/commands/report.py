"""Write one HTML page that shows how good the head is, and on which images it is not.

Of `reporting`, `findings` gathers what the artifacts say, `galleries` chooses the images, `thumbnails` makes a small
picture of each, `plots` draws, and `page` fills the template.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from ..artifacts import Artifacts
from ..locks import RESULTS
from ..progress import Progress, tell
from ..reporting.findings import gather
from ..reporting.galleries import choose_galleries, choose_pairs
from ..reporting.page import write_page
from ..reporting.plots import draw_plots
from ..reporting.thumbnails import create_thumbnails
from ..storage import write_atomic
from .result import Result

_MAX_TOTAL_BYTES = 4_000_000
"""Bytes that all pictures may take together: the page, of which they are by far the most, is to be below 5 MB."""

_MAX_PICTURE_BYTES = 60_000
"""Bytes of one picture: more would not be seen."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report(Result):
    """What `report` wrote.

    Parameters
    ----------
    path : Path
    size : int
        In bytes.
    pictures : int
        Images of which the page shows a picture.
    missing : int
        Images that it names without one, as their files are gone, changed or unreadable.
    problems : tuple of str
        What is wrong with the sources, if with whole ones.
    seconds : float
        Wall time, loading included.
    """

    path: Path
    size: int
    pictures: int
    missing: int
    problems: tuple[str, ...]
    seconds: float


def report(artifacts: str | Path = "artifacts", *, progress: Progress | None = None) -> Report:
    """Write report.html: figures, plots and the pictures that are worth a look, in one file that needs nothing else.

    The training images are shown by their out-of-fold predictions, those of the test split by the head's; all of
    them unclipped. The pictures come from the images' own files; those that are gone or have changed are only named.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder, with a head in it.
    progress : callable, optional
        Told how far it is.

    Returns
    -------
    Report

    Raises
    ------
    CatsDogsError
        There is no head, it is not of the features as they are now, something is damaged, or another process is
        writing there. The report that was there stays.
    """
    start = time.perf_counter()
    with Artifacts.open(artifacts, RESULTS) as opened:
        tell(progress, "reading the artifacts", 0, 0)
        findings = gather(opened)
        galleries, pairs = choose_galleries(findings), choose_pairs(findings)
        images = [image for gallery in galleries.values() for image in gallery.images]
        images += [image for pair in pairs for image in (pair.first, pair.second)]
        most = min(_MAX_PICTURE_BYTES, _MAX_TOTAL_BYTES // max(1, len(images)))
        keys = dict.fromkeys(image.key for image in images)
        thumbnails = create_thumbnails(findings, keys, most=most, progress=progress)
        tell(progress, "drawing plots", 0, 0)
        page = write_page(findings, galleries, pairs, thumbnails=thumbnails, plots=draw_plots(findings))
        write_atomic(opened.report, page)
        seconds = time.perf_counter() - start
        _log.info("%s, %d bytes in %.1f s", opened.report, len(page), seconds)
        there = len(thumbnails.by_key) - thumbnails.missing
        return Report(opened.report, len(page), there, thumbnails.missing, thumbnails.problems, seconds)
