"""What `info` says."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from .console import Line, command
from .extraction import duplicates_line
from .training import metrics_lines

_WIDTH = 68
"""Columns of text beside a name: 80 in all."""


def info_lines(found: dict[str, Any]) -> Iterator[Line]:
    """Say what the artifacts are, what made them, and what is to be done about them."""
    features, head, artifacts = found["features"], found["head"], Path(found["artifacts"])
    origin = features["origin"]
    yield "artifacts", found["artifacts"]
    for split, entry in features["splits"].items():
        if entry["complete"]:
            state = f"{entry['unreadable']:,} unreadable, view {', '.join(features['views'])}"
        else:
            state = f"NOT complete: {command('extract', artifacts)} goes on, with the same DATA"
        yield split, f"{entry['images']:,} images, {state}"
    yield "classes", " and ".join(features["classes"])
    if found["duplicates"]:
        yield "duplicates", duplicates_line(found["duplicates"])
    yield "backbone", f"{origin['form']}, SHA-256 {origin['sha256'][:16]}..."
    yield "", f"{origin['engine']} at {origin['precision']}"
    if origin["versions"]:
        yield "", _pairs(origin["versions"])
    yield from zip(chain(["pixels"], repeat("")), textwrap.wrap(origin["pixels"], _WIDTH), strict=False)
    if not head:
        yield "head", f"none yet: {command('train', artifacts)} makes one"
    elif head["stale"]:
        yield "head", f"NOT valid: {head['stale']}"
        yield "", f"{command('train', artifacts)} makes a new one"
    else:
        yield from metrics_lines(found["metrics"])
    for name, (step, facts) in zip(chain(["timings"], repeat("")), found["timings"].items(), strict=False):
        yield name, f"{step}: {facts.get('images', 0):,} images in {facts.get('seconds', 0)} s on {facts.get('host')}"
    for name, (what, path) in zip(chain(["source"], repeat("")), found["source"].items(), strict=False):
        yield name, f"{what}: {path}"
    yield "files", f"{len(found['files']):,}, {sum(found['files'].values()) / 1e6:,.1f} MB"
    for name, size in found["files"].items():
        yield "", f"{size:>13,}  {name}"


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
