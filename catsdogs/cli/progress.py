"""How far it is comes in; a bar on standard error shows it, to people only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Task

    from ..progress import Progress

_PATIENCE, _RECENT = 1.0, 10.0
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

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[state]}"))
    # TensorFlow's chatter is kept from descriptor 2 while it loads; the bar has a descriptor of its own.
    with (
        os.fdopen(os.dup(2), "w") as terminal,
        Bar(*columns, console=Console(file=terminal), transient=True, speed_estimate_period=_RECENT) as bar,
    ):
        current, task = "", bar.add_task("", visible=False, state="")

        def update(step: str, done: int, total: int) -> None:
            nonlocal current, task
            if step != current:
                bar.remove_task(task)
                current, task = step, bar.add_task(step, total=total or None, state="")
            bar.update(task, completed=done, total=total or None)
            bar.update(task, state=_state(bar.tasks[-1]))

        yield update


def _state(task: Task) -> str:
    """Say how much is done, how fast of late, and how long the rest will take."""
    if task.total is None:
        return ""
    state = f"{task.completed:,.0f}/{task.total:,.0f}"
    if not task.speed or task.time_remaining is None or (task.elapsed or 0) < _PATIENCE:
        return state
    left = round(task.time_remaining)
    return f"{state}  {task.speed:,.0f}/s  {left // 60}:{left % 60:02d} left"
