"""What `demo` says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .console import Line, command, program
from .pipeline import run_lines

if TYPE_CHECKING:
    from ...commands.demo import Demo


def demo_lines(done: Demo, artifacts: Path) -> Iterator[Line]:
    """Say the same of the demo, and how many test pictures it got right."""
    yield "pictures", f"cartoons of cats and dogs, drawn into {done.data}"
    if done.without_imagenet:
        yield "weights", "RANDOM ones had to do, as those of ImageNet could not be downloaded;"
        yield "", "the README says how to do without internet"
    *lines, _, _ = run_lines(done.run, artifacts)  # all but what comes next there
    yield from lines
    if done.run.submission:
        yield "right", f"{done.right} of {done.run.submission.images} test pictures"
    yield "next", command("report", artifacts)
    yield "", command("info", artifacts)
    yield "", f"{program()} run DATA, with pictures of your own or Kaggle's zip"
