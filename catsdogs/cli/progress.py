"""Show progress as a bar on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..progress import Progress

if TYPE_CHECKING:
    from rich.progress import Task

_MIN_SECONDS, _RATE_WINDOW = 1.0, 10.0
"""Seconds before the rate is shown, and over which it is measured: cached images are skipped very fast."""

_shown: list[Progress] = []
"""What updates the bar of the command that is running, if it has one."""


def show_step(step: str, done: int, total: int) -> None:
    """Show the progress of a step in the bar of the command that is running, if it has one."""
    for update in _shown:
        update(step, done, total)


@contextmanager
def progress_bar(shown: bool = True) -> Iterator[None]:
    """Have `show_step` show a bar with rate and time left on standard error, if this is a terminal."""
    if not (shown and sys.stderr.isatty()):
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[status]}"))
    console = Console(stderr=True)
    bar = Bar(*columns, console=console, transient=True, speed_estimate_period=_RATE_WINDOW)
    try:
        current, task = "", bar.add_task("", visible=False, status="")

        def update(step: str, done: int, total: int) -> None:
            nonlocal current, task
            bar.start()
            if step != current:
                bar.remove_task(task)
                current, task = step, bar.add_task(step, total=total or None, status="")
            bar.update(task, completed=done, total=total or None)
            bar.update(task, status=_status(bar.tasks[-1]))

        _shown.append(update)
        yield
    finally:
        _shown.clear()
        bar.stop()


def _status(task: Task) -> str:
    """Return how much is done, the current rate, and the time left."""
    if task.total is None:
        return ""
    status = f"{task.completed:,.0f}/{task.total:,.0f}"
    if not task.speed or task.time_remaining is None or (task.elapsed or 0) < _MIN_SECONDS:
        return status
    left = round(task.time_remaining)
    return f"{status}  {task.speed:,.0f}/s  {left // 60}:{left % 60:02d} left"
