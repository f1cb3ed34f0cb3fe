"""What `label` says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .console import Line

if TYPE_CHECKING:
    from ..labelling import Labelled


def label_lines(answers: Sequence[Labelled]) -> Iterator[Line]:
    """Say of each image what it is, and how sure that is."""
    for answer in answers:
        if answer.label is None or answer.probability is None:
            yield "unreadable", f"{answer.image}: {answer.reason}"
        else:
            sure = max(answer.probability, 1 - answer.probability)
            yield answer.label, f"{sure:7.2%}  {answer.image}"
