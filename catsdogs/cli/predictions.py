"""What `label` says: a table to people, a line an image to what reads a pipe."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import printable
from ..storage import to_csv
from .console import Line, counted, show
from .previews import preview_limit, show_picture

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..commands.predict import Prediction


def previews_shown() -> int:
    """Return how many images may be shown with their pictures."""
    from rich.console import Console

    return preview_limit(Console())


def show_predictions(answers: Sequence[Prediction]) -> None:
    """Write what each image is, and how sure that is, to standard output."""
    if not sys.stdout.isatty():
        show(prediction_lines(answers))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(_table(answers, console))
    console.print(Text(_summary(answers)))


def prediction_lines(answers: Sequence[Prediction]) -> Iterator[Line]:
    """Say of each image what it is, and how sure that is."""
    for answer in answers:
        if answer.label is None:
            yield "unreadable", f"{answer.image}: {answer.reason}"
        else:
            yield answer.label, f"{_sure(answer)}  {answer.image}"


def predictions_csv(answers: Sequence[Prediction]) -> bytes:
    """Return the same four columns that JSON has, the probability that of the second class."""
    columns = ("image", "label", "probability", "reason")
    rows = ((printable(answer.image), answer.label, answer.probability, answer.reason) for answer in answers)
    return to_csv(columns, rows)


def _table(answers: Sequence[Prediction], console: Console) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    with_pictures = any(answer.picture is not None for answer in answers)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, leading=int(with_pictures))
    if with_pictures:
        table.add_column(no_wrap=True)
    table.add_column("image", overflow="fold", vertical="middle")
    table.add_column("class", overflow="fold", vertical="middle")
    table.add_column("sure", no_wrap=True, justify="right", vertical="middle")
    for answer in answers:
        picture = [] if answer.picture is None else [show_picture(answer.picture, console)]
        name = Text(printable(answer.image))
        if answer.label is None:
            name.append(f"\n{printable(answer.reason or '')}", "italic")
            label = Text("unreadable", "bold red")
        else:
            label = Text(printable(answer.label), "bold")
        table.add_row(*(picture or [""] * with_pictures), name, label, _sure(answer).strip())
    return table


def _sure(answer: Prediction) -> str:
    if answer.probability is None:
        return ""
    return f"{max(answer.probability, 1 - answer.probability):7.2%}"


def _summary(answers: Sequence[Prediction]) -> str:
    """Say how many images are what."""
    counts = Counter(answer.label or "unreadable" for answer in answers)
    each = ", ".join(f"{count:,} {printable(name)}" for name, count in sorted(counts.items()))
    return f" {counted(len(answers), 'image')}: {each}"
