"""What `export` says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from typing import TYPE_CHECKING

from .console import Line, look_at

if TYPE_CHECKING:
    from ...commands.export import Export


def export_lines(done: Export) -> Iterator[Line]:
    """Say what was written, what goes in and what comes out of it, and how well it agrees with us."""
    yield "exported", f"backbone and head as one network, {done.bytes / 1e6:,.1f} MB, in {done.seconds:.1f} s"
    for name, (input_name, shape) in zip(chain(["input"], repeat("")), done.inputs.items(), strict=False):
        yield name, f"{input_name}: n x {' x '.join(map(str, shape))}, RGB of 0 to 255"
    yield "output", f"probability: n x 1, of {done.classes[1]} against {done.classes[0]}"
    yield (
        "checked",
        f"on {done.images} images {f'of {done.source}' if done.source else 'that were drawn: yours are gone'}",
    )
    yield "", f"at most {done.max_difference:.1e} from our own probabilities in float32"
    if done.precision != "float32":
        yield "", f"at most {done.max_difference_predict:.1e} from what predict says, in {done.precision}"
    yield from look_at(done.path)
