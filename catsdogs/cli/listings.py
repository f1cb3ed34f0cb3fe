"""Show the results of the commands that write nothing, as lines of a name and a text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import catsdogs

from ..errors import redact_uri
from ..paths import is_uri
from .console import Line, block, by_split, command, plural, program, unreadable_lines, wrapped, wrote
from .summaries import correction_texts, duplicates_texts, image_lines, int8_similarity_line, metrics_lines, score_lines


def info_lines(info: catsdogs.Info) -> Iterator[Line]:
    """Show what the artifacts are, what made them, and last what is stale and how to rebuild it."""
    yield "artifacts", str(info.artifacts)
    yield from wrapped(_fact_lines(info))
    yield from block("timings", chain(*(_timing(step, facts) for step, facts in info.timings.items())))
    yield from block("source", (f"{what}: {path}" for what, path in info.source.items()))
    yield "files", f"{len(info.files):,}, {sum(info.files.values()) / 1e6:,.1f} MB"
    for name, size in info.files.items():
        if name.startswith("features/shards/"):
            continue  # there may be hundreds; their rows are counted above
        array = info.arrays.get(name)
        shape = f"{tuple(array['shape'])} {array['dtype']}" if array else ""
        yield "", f"{size:>13,}  {name:<30} {shape}".rstrip()
    kept, stale = info.model_cache, info.stale
    if kept.entries:
        yield "networks", f"{kept.entries} kept for all artifacts, {kept.bytes / 1e6:,.1f} MB. To remove them:"
        yield "", shlex.join(["rm", "-r", str(kept.path)])
    yield from block("problem", info.problems)
    yield from wrapped(block("stale", [f"{item.what}: {item.why}" for item in stale] or ["nothing"]))
    yield from block("next", dict.fromkeys(f"{program()} {shlex.join(item.command[1:])}" for item in stale))


def merge_lines(done: catsdogs.Merge, artifacts: Path) -> Iterator[Line]:
    """Summarise a merge, and name the next command."""
    yield from image_lines(done, artifacts)
    yield "parts", f"{done.parts:,}; {plural(done.overlapping, 'image')} in more than one"
    yield "shards", f"{done.shards:,}, of which {done.repeated_shards:,} are copies of others"
    if done.differing:
        yield "", f"{plural(done.differing, 'row')} computed more than once differ by rounding errors"
    yield "features", f"computed with {done.backbone}"
    yield from block("duplicates", duplicates_texts(done.duplicates))
    yield from wrote(artifacts / "features")
    yield "next", command("train", artifacts)


def _fact_lines(info: catsdogs.Info) -> Iterator[Line]:
    features, head = info.features, info.head
    provenance = features.provenance
    for split, entry in features.splits.items():
        yield split, f"{plural(entry.images, 'image')}, {entry.unreadable:,} unreadable, view {', '.join(entry.views)}"
    if info.shards:
        yield "shards", f"{plural(info.shards, 'row')} of an unfinished run"
    yield "classes", " and ".join(features.classes)
    if info.duplicates:
        yield from block("duplicates", duplicates_texts(info.duplicates))
    if info.corrections and not info.metrics:
        yield from block("corrections", correction_texts(info.corrections))
    yield "backbone", f"{provenance.weights_name}, SHA-256 {provenance.sha256[:16]}..."
    yield "", f"{provenance.engine} in {provenance.precision}"
    if features.int8_similarity:
        yield "", int8_similarity_line(features.int8_similarity)
    if provenance.versions:
        yield "", ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    yield "pixels", provenance.pixels
    if not head:
        yield "head", "none"
    elif head["stale"]:
        yield "head", f"stale: {head['stale']}"
    elif info.metrics:
        yield from metrics_lines(info.metrics)


def _timing(step: str, facts: dict[str, Any]) -> Iterator[str]:
    """Return the duration of a step, and of each of its stages."""
    rate = f", {facts['rate']:g}/s" if facts.get("rate") else ""
    images, seconds = plural(facts.get("images", 0), "image"), facts.get("seconds", 0)
    yield f"{step}: {images} in {seconds:.2f} s{rate} on {facts.get('host')}"
    if stages := facts.get("stages"):
        yield ("  " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.items()) + " s, all threads")


def verification_lines(result: catsdogs.Verification) -> Iterator[Line]:
    """Report OK, or each problem with its remedy."""
    for problem in result.problems:
        yield "problem", problem
    if not result.problems:
        others = [name for name, there in (("head", result.head), ("submission", result.submission)) if there]
        yield "OK", f"{by_split(result.images)} images, every row matches its checksum"
        if others:
            yield "", f"{' and '.join(others)} unchanged, and made from these features"


def scan_lines(scan: catsdogs.Scan, data: str, artifacts: str, options: dict[str, str | None]) -> Iterator[Line]:
    """Show what a folder or a zip holds, how it would be read, and whether a head could be trained on it."""
    for split, named in scan.images.items():
        yield split, plural(sum(named.values()), "image")
        for name, count in named.items():
            yield "", f"{count:,} {name}: {', '.join(scan.examples[split][name])}{', ...' if count > 3 else ''}"
    yield "classes", " and ".join(scan.classes)
    yield from wrapped(block("read as", scan.rules))
    yield "skipped", plural(sum(of.files for of in scan.skipped), "file")
    yield from wrapped(block("", (f"{of.files:,} {of.reason}, such as {of.example}" for of in scan.skipped)))
    if scan.part is not None:
        yield "part", f"{options['--part']}: {plural(sum(scan.part.values()), 'image')} ({by_split(scan.part)})"
    problem = scan.training_problem
    yield from wrapped([("training", f"not possible: {problem}" if problem else "possible by the number of images")])
    if "test" in scan.images or not problem:
        given = [argument for name, value in options.items() if value for argument in (name, value)]
        name = "extract" if problem or scan.part is not None else "run"
        arguments = [name, redact_uri(data) if is_uri(data) else str(Path(data)), *given]
        yield "next", command(shlex.join(arguments), artifacts)


def evaluation_lines(done: catsdogs.Evaluation) -> Iterator[Line]:
    """Show the scores on other images, and which images are not scored."""
    yield from score_lines("head", done.scores, f"{done.images:,} labelled images, {' and '.join(done.classes)}")
    if done.seen:
        yield "", f"{done.seen:,} of them were trained on: these scores are too optimistic"
    if done.corrected is None:
        yield "", "corrections.csv is damaged, which does not count here: see catsdogs info"
    elif done.corrected:
        yield "", f"{done.corrected:,} of them are corrected in corrections.csv, which does not count here"
    yield "skipped", f"{plural(done.unlabelled, 'image')} without a label, {plural(done.skipped, 'other file')}"
    if done.unreadable:
        yield "unreadable", f"{len(done.unreadable):,}, not scored:"
        yield from unreadable_lines(done.unreadable, "in the output of --json")


def benchmark_lines(done: catsdogs.Benchmark) -> Iterator[Line]:
    """Show images per second as a table, and for which fraction of the time each stage was idle."""
    images = f"{done.images:,}, weights {done.weights}, {done.cores} cores, {done.processor}"
    yield from wrapped([("images", images)])
    yield "stages", f"read {done.read:,.0f}/s, decode {done.decode:,.0f}/s, write {done.write:,.0f}/s"
    yield "recipe", f"{done.recipe:,.1f}/s with plain Keras" if done.recipe else "plain Keras cannot run here"
    yield "", f"{'images/s':>37}{'x':>9}{'idle':>13}"
    yield "", f"{'engine':<11}{'precision':<9}{'compute':>8}{'end to end':>11}{'recipe':>7} decode compute write"
    for rates in done.engines:
        end, times = rates.end_to_end, rates.end_to_end and done.recipe and rates.end_to_end / done.recipe
        numbers = f"{rates.compute:>8,.1f}{f'{end:,.1f}' if end else '-':>11}{f'{times:.2f}' if times else '-':>7}"
        idle = "".join(f"{rates.waited[stage]:>{len(stage) + 1}.0%}" for stage in rates.waited)
        yield "", f"{rates.engine:<11}{rates.precision:<9}{numbers}{idle}"
    if plan := done.plan:
        yield "plan", f"{plural(plan.images, 'image')} with {plan.engine} in {plan.precision}"
        yield "", f"{plan.read_bytes / 1e9:,.1f} GB to read, {plan.stored_bytes / 1e9:,.1f} GB of features"
        yield "", f"{'workers':>7}{'images/s':>12}{'time':>28}  most of it"
        for of in plan.projections:
            took = timedelta(seconds=round(of.seconds))
            yield "", f"{of.workers:>7,}{of.rate:>12,.1f}{took!s:>28}  {of.limit}"
