"""What `bench` says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .console import Line

if TYPE_CHECKING:
    from ...commands.benchmark import Benchmark


def benchmark_lines(done: Benchmark) -> Iterator[Line]:
    """Show images a second as a table, and which stage waited for how much of the time."""
    yield "images", f"{done.images:,}, weights {done.weights}, {done.cores} cores, {done.processor}"
    yield "alone", f"read {done.read:,.0f}/s, decode {done.decode:,.0f}/s, write {done.write:,.0f}/s"
    yield "recipe", f"{done.recipe:,.1f}/s, Keras' own" if done.recipe else "Keras' own cannot run on these here"
    yield "", f"{'engine':<12}{'precision':<10}{'compute/s':>10}{'end to end/s':>13}{'x recipe':>9}  waited"
    for rates in done.engines:
        end, times = rates.end_to_end, rates.end_to_end and done.recipe and rates.end_to_end / done.recipe
        waited = ", ".join(f"{stage} {share:.0%}" for stage, share in rates.waited.items())
        yield (
            "",
            f"{rates.engine:<12}{rates.precision:<10}{rates.compute:>10.1f}{_or_dash(end, 13)}{_or_dash(times, 9)}"
            f"  {waited}",
        )


def _or_dash(figure: float | None, width: int) -> str:
    return f"{figure:>{width}.2f}" if figure else f"{'-':>{width}}"
