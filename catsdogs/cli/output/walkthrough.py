"""What `notebook` says."""

from collections.abc import Iterator
from pathlib import Path

from .console import Line, program


def notebook_lines(path: Path) -> Iterator[Line]:
    """Say where the walkthrough is, and what opens it."""
    yield "notebook", f"{path}: the whole job on drawn pictures, step by step"
    if program() == "catsdogs":
        yield "next", f"pip install jupyterlab && jupyter lab {path}"
    else:
        yield "next", f"uv run --with jupyterlab jupyter lab {path}"
    yield "", "or open it with any other editor of notebooks"
