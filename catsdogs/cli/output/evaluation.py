"""What `evaluate` says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .console import Line, counted, named
from .training import score_lines

if TYPE_CHECKING:
    from ...commands.evaluate import Evaluation


def evaluation_lines(done: Evaluation) -> Iterator[Line]:
    """Say how good the head is on other images, and which of them do not count."""
    yield from score_lines("head", done.scores, f"{done.images:,} labelled images, {' and '.join(done.classes)}")
    if done.seen:
        yield "", f"{done.seen:,} of them were TRAINED on, and flatter these figures"
    yield "passed over", f"{done.unlabelled:,} images without a label, {counted(done.skipped, 'other file')}"
    if done.unreadable:
        yield "unreadable", f"{len(done.unreadable):,}, which do not count:"
        yield from named(done.unreadable, "by --json")
