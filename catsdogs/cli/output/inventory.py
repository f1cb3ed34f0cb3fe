"""What `info` says."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import Any

from .console import Line, program
from .extraction import duplicates_line, int8_similarity_line
from .training import metrics_lines

_WIDTH = 68
"""Columns of text beside a name: 80 in all."""


def info_lines(found: dict[str, Any]) -> Iterator[Line]:
    """Say what the artifacts are, what made them, and last what is to be made anew, and how."""
    features, head = found["features"], found["head"]
    provenance = features["provenance"]
    yield "artifacts", found["artifacts"]
    for split, entry in features["splits"].items():
        state = f"{entry['unreadable']:,} unreadable" if entry["complete"] else "NOT complete"
        yield split, f"{entry['images']:,} images, {state}, view {', '.join(features['views'])}"
    yield "classes", " and ".join(features["classes"])
    if found["duplicates"]:
        yield "duplicates", duplicates_line(found["duplicates"])
    yield "backbone", f"{provenance['weights_name']}, SHA-256 {provenance['sha256'][:16]}..."
    yield "", f"{provenance['engine']} at {provenance['precision']}"
    if features["int8_similarity"]:
        yield "", int8_similarity_line(features["int8_similarity"])
    versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    yield from _below("", textwrap.wrap(versions, _WIDTH))
    yield from _below("pixels", textwrap.wrap(provenance["pixels"], _WIDTH))
    if not head:
        yield "head", "none yet"
    elif head["stale"]:
        yield "head", f"NOT valid: {head['stale']}"
    else:
        yield from metrics_lines(found["metrics"])
    yield from _below("timings", chain(*(_timing(step, facts) for step, facts in found["timings"].items())))
    yield from _below("source", (f"{what}: {path}" for what, path in found["source"].items()))
    yield "files", f"{len(found['files']):,}, {sum(found['files'].values()) / 1e6:,.1f} MB"
    for name, size in found["files"].items():
        array = found["arrays"].get(name)
        shape = f"{tuple(array['shape'])} {array['dtype']}" if array else ""
        yield "", f"{size:>13,}  {name:<30} {shape}".rstrip()
    stale = found["stale"]
    yield from _below("stale", [f"{one['what']}: {one['why']}" for one in stale] or ["nothing"])
    yield from _below("next", dict.fromkeys(f"{program()} {shlex.join(one['command'][1:])}" for one in stale))


def _timing(step: str, facts: dict[str, Any]) -> Iterator[str]:
    """Say how long a step took, and of a step that has several stages how long each worked."""
    rate = f", {facts['rate']:g}/s" if facts.get("rate") else ""
    yield f"{step}: {facts.get('images', 0):,} images in {facts.get('seconds', 0):.2f} s{rate} on {facts.get('host')}"
    if stages := facts.get("stages"):
        yield "  " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.items()) + " s, of all threads"


def _below(name: str, texts: Iterable[str]) -> Iterator[Line]:
    """Put a name before the first of several lines."""
    yield from zip(chain([name], repeat("")), texts, strict=False)
