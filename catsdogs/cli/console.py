"""Print lines of a name and a text, and build the phrases that commands share."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, repeat
from pathlib import Path
from shlex import quote

from ..errors import printable, redact_uri
from ..paths import is_uri

Line = tuple[str, str]
"""A name, which is shown in bold, and a text."""

_NAME_WIDTH = 12

_MAX_LISTED = 5
"""Unreadable images that are listed with their reasons."""


def program() -> str:
    """Return how the program is started: in a clone without an installation, through uv."""
    return "uv run catsdogs" if Path(sys.argv[0]).name == "cli.py" else "catsdogs"


def show(lines: Iterable[Line]) -> None:
    """Write lines of a bold name and a text to standard output; long lines are not wrapped, as they may be piped."""
    _print(((f"{name:<{_NAME_WIDTH}}", "bold"), printable(text)) for name, text in lines)


def show_error(text: str) -> None:
    """Write an error as one line to standard error."""
    _print([(("error:", "bold red"), " ", printable(text))], stderr=True)


def _print(lines: Iterable[tuple[str | tuple[str, str], ...]], *, stderr: bool = False) -> None:
    """Write lines of texts, some of them with a style."""
    from rich.console import Console  # imported here, as it would slow down the start
    from rich.text import Text

    console = Console(stderr=stderr, highlight=False)
    for line in lines:
        console.print(Text.assemble(*line), soft_wrap=True)


def command(name: str, artifacts: str | Path) -> str:
    """Return another command for the same artifacts, as the user types it."""
    place = redact_uri(str(artifacts)) if is_uri(artifacts) else str(Path(artifacts))
    return f"{program()} {name}" + ("" if place == "artifacts" else f" --artifacts {quote(place)}")


def plural(count: int, what: str) -> str:
    """Return a count and a noun in singular or plural."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def by_split(counts: Mapping[str, int]) -> str:
    """Return the number of each split, such as "28 train, 12 test"."""
    return ", ".join(f"{count:,} {split}" for split, count in counts.items()) or "none"


def block(name: str, texts: Iterable[str]) -> Iterator[Line]:
    """Return lines of which the first has the name."""
    return zip(chain([name], repeat("")), texts, strict=False)


def wrapped(lines: Iterable[Line]) -> Iterator[Line]:
    """Wrap the texts of lines at spaces to the terminal's width, or to 80 columns if there is no terminal."""
    width = max(20, shutil.get_terminal_size().columns - _NAME_WIDTH)
    for name, text in lines:
        yield from block(name, textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""])


def wrote(*paths: Path) -> Iterator[Line]:
    """Name the files that were written, one per line."""
    return block("wrote", map(str, paths))


def unreadable_lines(unreadable: dict[str, str], where: str) -> Iterator[Line]:
    """Name the first unreadable images, each with its reason, and where the others are listed."""
    for name, reason in list(unreadable.items())[:_MAX_LISTED]:
        yield "", f"{name}: {reason}"
    if len(unreadable) > _MAX_LISTED:
        yield "", f"and {len(unreadable) - _MAX_LISTED:,} more; all are {where}"
