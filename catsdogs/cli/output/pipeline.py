"""What `run` says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...artifacts import Artifacts
from .console import Line, command, look_at
from .extraction import extraction_facts
from .submission import after_submission, submission_facts
from .training import metrics_lines

if TYPE_CHECKING:
    from ...commands.run import Run


def run_lines(done: Run, artifacts: Path) -> Iterator[Line]:
    """Say what was done, where to look, and what comes next."""
    paths = Artifacts(artifacts)
    yield from extraction_facts(done.extraction, artifacts)
    if not done.metrics:
        yield "head", "none: there are no training images, with labels, among what was extracted"
        yield from look_at(paths.features)
        yield "next", command("run DATA", artifacts) + ", DATA with training images"
        return
    yield from metrics_lines(done.metrics)
    if not done.trained:
        yield "", "trained before, and still valid"
    if done.submission:
        yield from submission_facts(done.submission, artifacts)
    else:
        yield "submission", "none: there are no test images without labels"
    yield from look_at(paths.metrics, paths.predictions, *([paths.submission] if done.submission else []))
    yield "next", after_submission(done.submission, artifacts)
    yield "", command("report", artifacts)
