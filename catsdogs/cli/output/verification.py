"""What `verify` says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .console import Line

if TYPE_CHECKING:
    from ...commands.verify import Verification


def verification_lines(found: Verification) -> Iterator[Line]:
    """Say in one line that all is well, or in one each what is not and what mends it."""
    for problem in found.problems:
        yield "not well", problem
    if not found.problems:
        rows = ", ".join(f"{count:,} {split}" for split, count in found.images.items())
        others = [name for name, there in (("head", found.head), ("submission", found.submission)) if there]
        yield "all is well", f"{rows} images, every row matches its checksum"
        if others:
            yield "", f"{' and '.join(others)} as written, and of these features"
