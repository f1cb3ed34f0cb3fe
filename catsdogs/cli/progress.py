"""Show progress as a bar on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
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
    bar = _StepBar()
    _shown.append(bar.update)
    try:
        yield
    finally:
        _shown.clear()
        bar.stop()


class _StepBar:
    """A bar for one step at a time; the first step imports Rich's bars, which takes 15 ms."""

    _bar: Bar | None = None
    _step = ""

    def update(self, step: str, done: int, total: int) -> None:
        """Show the progress of a step; of another one than before, in a new bar."""
        if not self._bar:
            self._bar = _new_bar()
            self._bar.start()
        if step != self._step:
            for shown in self._bar.task_ids:
                self._bar.remove_task(shown)
            self._bar.add_task(step, total=total or None, status="")
            self._step = step
        (task,) = self._bar.tasks
        self._bar.update(task.id, completed=done, total=total or None)
        self._bar.update(task.id, status=_status(task))

    def stop(self) -> None:
        """Remove the bar, if there is one."""
        if self._bar:
            self._bar.stop()


def _new_bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[status]}"))
    return Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=_RATE_WINDOW)


def _status(task: Task) -> str:
    """Return how much is done, the current rate, and the time left."""
    if task.total is None:
        return ""
    status = f"{task.completed:,.0f}/{task.total:,.0f}"
    if not task.speed or task.time_remaining is None or (task.elapsed or 0) < _MIN_SECONDS:
        return status
    left = round(task.time_remaining)
    return f"{status}  {task.speed:,.0f}/s  {left // 60}:{left % 60:02d} left"
