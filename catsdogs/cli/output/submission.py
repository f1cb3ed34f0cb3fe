"""What `submit` says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...artifacts import Artifacts
from .console import Line, command, look_at, named

if TYPE_CHECKING:
    from ...commands.submit import Submission

KAGGLE, KAGGLE_ROWS = "dogs-vs-cats-redux-kernels-edition", 12_500
"""The competition, and how many rows it takes."""


def submission_lines(done: Submission, artifacts: Path) -> Iterator[Line]:
    """Say what was written for Kaggle, and what comes next."""
    yield from submission_facts(done, artifacts)
    yield from look_at(done.path)
    yield "next", after_submission(done, artifacts)


def submission_facts(done: Submission, artifacts: Path) -> Iterator[Line]:
    """Say what was written for Kaggle."""
    yield "submission", f"{done.images:,} rows, clipped to [{done.clip:g}, {1 - done.clip:g}]"
    yield "", f"each a probability of {done.classes[1]}, against {done.classes[0]}"
    if done.stale:
        yield "", f"by a head of OLDER training features: {command('train', artifacts)} makes a new one"
    if done.unreadable:
        yield "", f"{len(done.unreadable):,} unreadable, with the training share of {done.classes[1]} as their label:"
        yield from named(done.unreadable, f"in {Artifacts(artifacts).features}/*/unreadable.csv")


def after_submission(done: Submission | None, artifacts: Path) -> str:
    """Return the command that comes next: Kaggle's own, where the file has the rows that Kaggle takes."""
    if done and done.images == KAGGLE_ROWS:
        return f"kaggle competitions submit -c {KAGGLE} -f {done.path} -m catsdogs"
    return command("predict IMAGE...", artifacts)
