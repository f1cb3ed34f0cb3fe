"""Print lines of a name and a text, and build the phrases that commands share."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path

from ..errors import CatsDogsError, printable

Line = tuple[str, str]
"""A name, which is shown in bold, and a text."""

_MAX_LISTED = 5
"""Unreadable images that are listed with their reasons."""


def program() -> str:
    """Return what to type for another command: in a clone that nobody installed, uv knows the name."""
    return "uv run catsdogs" if Path(sys.argv[0]).name == "cli.py" else "catsdogs"


def show(lines: Iterable[Line]) -> None:
    """Write lines of a bold name and a text to standard output; lines are never broken, for those who pipe them."""
    _print(((f"{name:<12}", "bold"), printable(text)) for name, text in lines)


def show_error(error: CatsDogsError) -> None:
    """Write what happened and what to do as one line to standard error."""
    _print([(("error:", "bold red"), " ", str(error))], stderr=True)


def _print(lines: Iterable[tuple[str | tuple[str, str], ...]], *, stderr: bool = False) -> None:
    """Write lines of texts, some of them with a style."""
    from rich.console import Console  # only now, as the program's start does not wait for it
    from rich.text import Text

    console = Console(stderr=stderr, highlight=False)
    for line in lines:
        console.print(Text.assemble(*line), soft_wrap=True)


def command(name: str, artifacts: Path) -> str:
    """Return what to type for another command on the same artifacts."""
    return f"{program()} {name}" + ("" if artifacts == Path("artifacts") else f" --artifacts {artifacts}")


def plural(count: int, what: str) -> str:
    """Return a number of things, one or many."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def block(name: str, texts: Iterable[str]) -> Iterator[Line]:
    """Return lines of which the first has the name."""
    return zip(chain([name], repeat("")), texts, strict=False)


def wrote(*paths: Path) -> Iterator[Line]:
    """Say what was written, a line a file."""
    return block("look at", map(str, paths))


def unreadable_lines(unreadable: dict[str, str], where: str) -> Iterator[Line]:
    """Name the first images that are unreadable, each with its reason, and say where the others are."""
    for name, reason in list(unreadable.items())[:_MAX_LISTED]:
        yield "", f"{name}: {reason}"
    if len(unreadable) > _MAX_LISTED:
        yield "", f"and {len(unreadable) - _MAX_LISTED:,} more, all {where}"
