"""Show previews of images in a terminal: in pixels if it can, otherwise two pixels per character cell."""

from __future__ import annotations

import logging
import os
import sys
import termios
from functools import cache as once
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.color import Color
from rich.console import Console, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

COLUMNS, ROWS = 20, 8
"""Size of a preview in character cells, at most; a cell is about twice as high as wide."""

MAX_PREVIEWS = 10
"""With more images than this no previews are shown."""

_MIN_COLUMNS = 60
"""In a narrower terminal no previews are shown, as they would leave too little space for the names."""

_GRAPHIC_TERMINALS = (
    *("KITTY_WINDOW_ID", "GHOSTTY_RESOURCES_DIR", "WEZTERM_PANE", "ITERM_SESSION_ID"),
    *("KONSOLE_VERSION", "XTERM_VERSION", "WT_SESSION"),
)
"""Variables of terminals that may show pixels. Others are not queried, as they may answer late or never."""


def preview_limit() -> int:
    """Return how many previews may be shown: 0 if standard output is no terminal, or lacks colours or width."""
    console = Console()
    colours = console.color_system in ("256", "truecolor") and not console.no_color
    visible = sys.stdout.isatty() and colours and console.encoding.startswith("utf") and console.width >= _MIN_COLUMNS
    return MAX_PREVIEWS if visible else 0


def render_preview(pixels: NDArray[np.uint8], console: Console) -> RenderableType:
    """Return the image as Rich shows it.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 3), uint8
    console : Console
        The console that shows it.

    Returns
    -------
    renderable
        At most `COLUMNS` wide and `ROWS` high.
    """
    import numpy as np
    from PIL import Image

    height, width = pixels.shape[:2]
    scale = min(COLUMNS / width, 2 * ROWS / height)
    columns, rows = max(1, round(scale * width)), max(1, round(scale * height / 2))
    image = Image.fromarray(pixels)
    if console.color_system == "truecolor" and (renderer := _pixel_renderer()):
        return renderer(image, width=columns, height=rows)
    return _half_blocks(np.asarray(image.resize((columns, 2 * rows), Image.Resampling.BOX)))


def preview_table(
    headers: tuple[str, str, str],
    rows: Sequence[tuple[Text, Text, str]],
    previews: Sequence[NDArray[np.uint8] | None],
    console: Console,
) -> Table:
    """Return a table with a row for each image, and before it its preview, if any image has one."""
    shown = any(preview is not None for preview in previews)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, leading=int(shown))
    if shown:
        table.add_column(no_wrap=True)
    for header in headers[:2]:
        table.add_column(header, overflow="fold", vertical="middle")
    table.add_column(headers[2], no_wrap=True, justify="right", vertical="middle")
    for row, preview in zip(rows, previews, strict=True):
        picture = [] if preview is None else [render_preview(preview, console)]
        table.add_row(*(picture or [""] * shown), *row)
    return table


@once
def _pixel_renderer() -> Callable[..., RenderableType] | None:
    """Return textual-image's renderer, or None if the terminal does not report that it shows pixels."""
    if not (os.isatty(0) and any(map(os.environ.get, _GRAPHIC_TERMINALS))):
        return None
    logging.getLogger("textual_image").addHandler(logging.NullHandler())
    try:
        from textual_image.renderable import Image  # the import queries the terminal
    except (OSError, ValueError, termios.error):  # not a terminal, or the user typed meanwhile
        return None
    return Image


def _half_blocks(pixels: NDArray[np.uint8]) -> Text:
    """Return an image of even height as text: in each cell one pixel is the upper half, and one is the background."""

    def cell(upper: list[int], lower: list[int]) -> tuple[str, Style]:
        return "▀", Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))

    rows = pixels.tolist()
    return Text("\n").join(Text.assemble(*map(cell, *pair)) for pair in zip(rows[::2], rows[1::2], strict=True))
