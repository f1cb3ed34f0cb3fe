"""Show predictions or similar images: as a table in a terminal, as one line per image in a pipe, or as CSV."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

import catsdogs

from ..errors import printable
from ..storage import to_csv
from .console import Line, plural, show, wrote
from .previews import preview_table


def show_predictions(predictions: Sequence[catsdogs.Prediction]) -> None:
    """Print the class of each image and its probability; in a terminal also the number of images per class."""
    if not sys.stdout.isatty():
        show(prediction_lines(predictions))
        return
    console = Console(highlight=False)
    console.print(_table(predictions, console))
    counts = Counter(prediction.label or "unreadable" for prediction in predictions)
    each = ", ".join(f"{count:,} {printable(name)}" for name, count in sorted(counts.items()))
    console.print(Text(f" {plural(len(predictions), 'image')}: {each}"))


def prediction_lines(predictions: Sequence[catsdogs.Prediction]) -> Iterator[Line]:
    """Return one line per image: its class and the probability of that class, or why it is unreadable."""
    for prediction in predictions:
        if prediction.label is None:
            yield "unreadable", f"{prediction.image}: {prediction.reason}"
        else:
            yield prediction.label, f"{_confidence(prediction)}  {prediction.image}"


def predictions_csv(predictions: Sequence[catsdogs.Prediction]) -> bytes:
    """Return one row per image: image, label, probability of the second class, reason."""
    columns = ("image", "label", "probability", "reason")
    return to_csv(columns, ((of.image, of.label, of.probability, of.reason) for of in predictions))


def _table(predictions: Sequence[catsdogs.Prediction], console: Console) -> Table:
    rows = []
    for prediction in predictions:
        name = Text(printable(prediction.image))
        if prediction.reason:
            name.append(f"\n{printable(prediction.reason)}", "italic")
        label = Text(printable(prediction.label or "unreadable"), "bold" if prediction.label else "bold red")
        rows.append((name, label, _confidence(prediction).strip()))
    previews = [prediction.preview for prediction in predictions]
    return preview_table(("image", "class", "confidence"), rows, previews, console)


def _confidence(prediction: catsdogs.Prediction) -> str:
    if prediction.probability is None:
        return ""
    return f"{max(prediction.probability, 1 - prediction.probability):7.2%}"


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
