"""What `report` says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .console import Line, command, counted, look_at

if TYPE_CHECKING:
    from ...commands.report import Report


def report_lines(done: Report, artifacts: Path) -> Iterator[Line]:
    """Say what was written to be looked at, and which pictures are not in it."""
    yield (
        "report",
        f"one page with {counted(done.pictures, 'picture')}, {done.size / 1e6:.1f} MB, in {done.seconds:.1f} s",
    )
    if done.missing:
        yield "", f"{counted(done.missing, 'image')} WITHOUT a picture: the page says why of each"
    for problem in done.problems:
        yield "", problem
    yield from look_at(done.path)
    yield "next", command("predict IMAGE...", artifacts)
