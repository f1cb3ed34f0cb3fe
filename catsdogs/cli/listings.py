"""List what the commands find that write nothing, as lines of a name and a text."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator
from itertools import chain
from typing import Any

import catsdogs

from .console import Line, block, plural, program, unreadable_lines
from .summaries import duplicates_line, int8_similarity_line, metrics_lines, score_lines

_WIDTH = 68
"""Columns of text beside a name: 80 in all."""


def info_lines(info: catsdogs.Info) -> Iterator[Line]:
    """Say what the artifacts are, what made them, and last what is to be made anew, and how."""
    features, head = info.features, info.head
    provenance = features.provenance
    yield "artifacts", str(info.artifacts)
    for split, entry in features.splits.items():
        yield split, f"{entry.images:,} images, {entry.unreadable:,} unreadable, view {', '.join(entry.views)}"
    if info.shards:
        yield "shards", f"{info.shards:,} rows of a run that has not ended, or not well"
    yield "classes", " and ".join(features.classes)
    if info.duplicates:
        yield "duplicates", duplicates_line(info.duplicates)
    yield "backbone", f"{provenance.weights_name}, SHA-256 {provenance.sha256[:16]}..."
    yield "", f"{provenance.engine} at {provenance.precision}"
    if features.int8_similarity:
        yield "", int8_similarity_line(features.int8_similarity)
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    yield from block("", textwrap.wrap(versions, _WIDTH))
    yield from block("pixels", textwrap.wrap(provenance.pixels, _WIDTH))
    if not head:
        yield "head", "none yet"
    elif head["stale"]:
        yield "head", f"NOT valid: {head['stale']}"
    else:
        yield from metrics_lines(info.metrics)
    yield from block("timings", chain(*(_timing(step, facts) for step, facts in info.timings.items())))
    yield from block("source", (f"{what}: {path}" for what, path in info.source.items()))
    yield "files", f"{len(info.files):,}, {sum(info.files.values()) / 1e6:,.1f} MB"
    for name, size in info.files.items():
        if name.startswith("features/shards/"):
            continue  # there may be hundreds, and what counts is how many rows they hold
        array = info.arrays.get(name)
        shape = f"{tuple(array['shape'])} {array['dtype']}" if array else ""
        yield "", f"{size:>13,}  {name:<30} {shape}".rstrip()
    stale = info.stale
    yield from block("stale", [f"{item.what}: {item.why}" for item in stale] or ["nothing"])
    yield from block("next", dict.fromkeys(f"{program()} {shlex.join(item.command[1:])}" for item in stale))


def _timing(step: str, facts: dict[str, Any]) -> Iterator[str]:
    """Say how long a step took, and of a step that has several stages how long each worked."""
    rate = f", {facts['rate']:g}/s" if facts.get("rate") else ""
    yield f"{step}: {facts.get('images', 0):,} images in {facts.get('seconds', 0):.2f} s{rate} on {facts.get('host')}"
    if stages := facts.get("stages"):
        yield "  " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.items()) + " s, of all threads"


def verification_lines(result: catsdogs.Verification) -> Iterator[Line]:
    """Say in one line that all is well, or in one each what is not and what mends it."""
    for problem in result.problems:
        yield "not well", problem
    if not result.problems:
        rows = ", ".join(f"{count:,} {split}" for split, count in result.images.items())
        others = [name for name, there in (("head", result.head), ("submission", result.submission)) if there]
        yield "all is well", f"{rows} images, every row matches its checksum"
        if others:
            yield "", f"{' and '.join(others)} as written, and of these features"


def evaluation_lines(done: catsdogs.Evaluation) -> Iterator[Line]:
    """Say how good the head is on other images, and which of them do not count."""
    yield from score_lines("head", done.scores, f"{done.images:,} labelled images, {' and '.join(done.classes)}")
    if done.seen:
        yield "", f"{done.seen:,} of them were TRAINED on, and flatter these figures"
    yield "passed over", f"{done.unlabelled:,} images without a label, {plural(done.skipped, 'other file')}"
    if done.unreadable:
        yield "unreadable", f"{len(done.unreadable):,}, which do not count:"
        yield from unreadable_lines(done.unreadable, "by --json")


def benchmark_lines(done: catsdogs.Benchmark) -> Iterator[Line]:
    """Show images a second as a table, and which stage waited for how much of the time."""
    yield "images", f"{done.images:,}, weights {done.weights}, {done.cores} cores, {done.processor}"
    yield "alone", f"read {done.read:,.0f}/s, decode {done.decode:,.0f}/s, write {done.write:,.0f}/s"
    yield "recipe", f"{done.recipe:,.1f}/s, Keras' own" if done.recipe else "Keras' own cannot run on these here"
    yield "", f"{'engine':<12}{'precision':<10}{'compute/s':>10}{'end to end/s':>13}{'x recipe':>9}  waited"
    for rates in done.engines:
        end, times = rates.end_to_end, rates.end_to_end and done.recipe and rates.end_to_end / done.recipe
        waited = ", ".join(f"{stage} {share:.0%}" for stage, share in rates.waited.items())
        figures = f"{rates.compute:>10.1f}{_or_dash(end, 13)}{_or_dash(times, 9)}"
        yield "", f"{rates.engine:<12}{rates.precision:<10}{figures}  {waited}"


def _or_dash(figure: float | None, width: int) -> str:
    return f"{figure:>{width}.2f}" if figure else f"{'-':>{width}}"
