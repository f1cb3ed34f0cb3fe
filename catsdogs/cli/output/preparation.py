"""What `prepare` says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .console import Line, counted, look_at, named, program

if TYPE_CHECKING:
    from ...commands.prepare import Preparation


def preparation_lines(done: Preparation) -> Iterator[Line]:
    """Say which pictures there are, what there are none of, and what comes next."""
    total, splits = sum(done.images.values()), ", ".join(f"{count:,} {split}" for split, count in done.images.items())
    yield "pictures", f"{total:,} of 224x224 pixels ({splits}), split by seed {done.seed}"
    if done.written:
        yield "", f"{done.written:,} written in {done.seconds:.1f} s, {done.written / done.seconds:.0f} images/s"
    else:
        yield "", "none written: all were there"
    if done.renumbered:
        yield "", f"{done.renumbered:,} with a new number, as theirs was taken, or they had none:"
        yield "", f"in {done.folder / 'prepared.csv'}"
    yield "classes", " and ".join(done.classes)
    yield "passed over", f"{done.unlabelled:,} images without a label, {counted(done.skipped, 'other file')}"
    if done.unreadable:
        yield "unreadable", f"{len(done.unreadable):,}, of which there are no pictures:"
        yield from named(done.unreadable, f"in {done.folder / 'prepared.csv'}")
    yield from look_at(done.folder)
    yield "next", f"{program()} run {done.folder}"
