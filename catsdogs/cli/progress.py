"""Show progress as a bar on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import catsdogs

from ..progress import Progress

if TYPE_CHECKING:
    from rich.progress import Task

_MIN_SECONDS, _RATE_WINDOW = 1.0, 10.0
"""Seconds before a rate means something, and over which it is taken: images that are cached already rush past."""


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show progress with rate and time left on standard error, on what takes over a second, and only to people."""
    if not sys.stderr.isatty():
        yield lambda step, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[status]}"))
    console = Console(stderr=True)
    with Bar(*columns, console=console, transient=True, speed_estimate_period=_RATE_WINDOW) as bar:
        current, task = "", bar.add_task("", visible=False, status="")

        def update(step: str, done: int, total: int) -> None:
            nonlocal current, task
            if step != current:
                bar.remove_task(task)
                current, task = step, bar.add_task(step, total=total or None, status="")
            bar.update(task, completed=done, total=total or None)
            bar.update(task, status=_status(bar.tasks[-1]))

        yield update


@contextmanager
def progress_and_lock(artifacts: Path, wait: bool) -> Iterator[Progress]:
    """Show progress, and with `wait` hold the artifacts as soon as no other process does."""
    with progress_bar() as progress, catsdogs.lock(artifacts, progress=progress) if wait else nullcontext():
        yield progress


def _status(task: Task) -> str:
    """Say how much is done, how fast of late, and how long the rest will take."""
    if task.total is None:
        return ""
    status = f"{task.completed:,.0f}/{task.total:,.0f}"
    if not task.speed or task.time_remaining is None or (task.elapsed or 0) < _MIN_SECONDS:
        return status
    left = round(task.time_remaining)
    return f"{status}  {task.speed:,.0f}/s  {left // 60}:{left % 60:02d} left"
