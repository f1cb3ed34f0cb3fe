"""Results come in; what the commands that only look say of them goes out, as lines of a name and a text."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from .console import Line, counted, named, program
from .summaries import duplicates_line, int8_similarity_line, metrics_lines, score_lines

if TYPE_CHECKING:
    from ..commands.benchmark import Benchmark
    from ..commands.evaluate import Evaluation
    from ..commands.info import Info
    from ..commands.verify import Verification

_WIDTH = 68
"""Columns of text beside a name: 80 in all."""


def info_lines(found: Info) -> Iterator[Line]:
    """Say what the artifacts are, what made them, and last what is to be made anew, and how."""
    features, head = found.features, found.head
    provenance = features.provenance
    yield "artifacts", str(found.artifacts)
    for split, entry in features.splits.items():
        state = f"{entry['unreadable']:,} unreadable" if entry["complete"] else "NOT complete"
        yield split, f"{entry['images']:,} images, {state}, view {', '.join(features.views)}"
    yield "classes", " and ".join(features.classes)
    if found.duplicates:
        yield "duplicates", duplicates_line(found.duplicates)
    yield "backbone", f"{provenance.weights_name}, SHA-256 {provenance.sha256[:16]}..."
    yield "", f"{provenance.engine} at {provenance.precision}"
    if features.int8_similarity:
        yield "", int8_similarity_line(features.int8_similarity)
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    yield from _below("", textwrap.wrap(versions, _WIDTH))
    yield from _below("pixels", textwrap.wrap(provenance.pixels, _WIDTH))
    if not head:
        yield "head", "none yet"
    elif head["stale"]:
        yield "head", f"NOT valid: {head['stale']}"
    else:
        yield from metrics_lines(found.metrics)
    yield from _below("timings", chain(*(_timing(step, facts) for step, facts in found.timings.items())))
    yield from _below("source", (f"{what}: {path}" for what, path in found.source.items()))
    yield "files", f"{len(found.files):,}, {sum(found.files.values()) / 1e6:,.1f} MB"
    for name, size in found.files.items():
        array = found.arrays.get(name)
        shape = f"{tuple(array['shape'])} {array['dtype']}" if array else ""
        yield "", f"{size:>13,}  {name:<30} {shape}".rstrip()
    stale = found.stale
    yield from _below("stale", [f"{one.what}: {one.why}" for one in stale] or ["nothing"])
    yield from _below("next", dict.fromkeys(f"{program()} {shlex.join(one.command[1:])}" for one in stale))


def _timing(step: str, facts: dict[str, Any]) -> Iterator[str]:
    """Say how long a step took, and of a step that has several stages how long each worked."""
    rate = f", {facts['rate']:g}/s" if facts.get("rate") else ""
    yield f"{step}: {facts.get('images', 0):,} images in {facts.get('seconds', 0):.2f} s{rate} on {facts.get('host')}"
    if stages := facts.get("stages"):
        yield "  " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.items()) + " s, of all threads"


def _below(name: str, texts: Iterable[str]) -> Iterator[Line]:
    """Put a name before the first of several lines."""
    yield from zip(chain([name], repeat("")), texts, strict=False)


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


def evaluation_lines(done: Evaluation) -> Iterator[Line]:
    """Say how good the head is on other images, and which of them do not count."""
    yield from score_lines("head", done.scores, f"{done.images:,} labelled images, {' and '.join(done.classes)}")
    if done.seen:
        yield "", f"{done.seen:,} of them were TRAINED on, and flatter these figures"
    yield "passed over", f"{done.unlabelled:,} images without a label, {counted(done.skipped, 'other file')}"
    if done.unreadable:
        yield "unreadable", f"{len(done.unreadable):,}, which do not count:"
        yield from named(done.unreadable, "by --json")


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
