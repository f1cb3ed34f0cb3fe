"""Show similar images: as a table with previews in a terminal, or as one line per image."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

import catsdogs

from ..errors import printable
from .console import Line, show, wrote
from .previews import preview_table


def show_similar(images: Sequence[catsdogs.SimilarImage], html: Path | None) -> None:
    """Print the images with class and similarity, and the page that was written."""
    if sys.stdout.isatty():
        console = Console(highlight=False)
        rows = [(Text(_name(image)), Text(_label(image), "bold"), f"{image.similarity:.4f}") for image in images]
        headers = ("image", "class", "similarity")
        console.print(preview_table(headers, rows, [image.preview for image in images], console))
    else:
        show(similar_lines(images))
    if html:
        show(wrote(html))


def similar_lines(images: Sequence[catsdogs.SimilarImage]) -> Iterator[Line]:
    """Return one line per image: its class, its similarity and its id."""
    for image in images:
        yield _label(image), f"{image.similarity:.4f}  {_name(image)}"


def _name(image: catsdogs.SimilarImage) -> str:
    return printable(image.id) if image.split == "train" else f"{image.split}/{printable(image.id)}"


def _label(image: catsdogs.SimilarImage) -> str:
    return printable(image.label or "no label")
