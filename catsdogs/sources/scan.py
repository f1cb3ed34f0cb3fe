"""Summarise what a source holds, how it is read, and whether a head can be trained on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import CatsDogsError, printable
from ..result import Result
from .classes import MIN_IMAGES, Classes, label_hint
from .ids import ImageEntry
from .layout import Layout, Parts

_EXAMPLES = 3
"""Ids that are named of each split and class."""

UNLABELLED = "unlabelled"
"""The key of images without a label."""


@dataclass(frozen=True)
class SkippedFiles:
    """Files of a source that are skipped for the same reason.

    Parameters
    ----------
    reason : str
    files : int
    example : str
        Path of one of them, below the source.
    """

    reason: str
    files: int
    example: str


@dataclass(frozen=True)
class Scan(Result):
    """What a folder or a zip holds, and how it is read; the result of `scan`.

    Parameters
    ----------
    classes : pair of str
        Names of the labels 0 and 1.
    images : dict of str to dict
        Number of images by split and class; those without a label are "unlabelled".
    examples : dict of str to dict
        Three ids each, by split and class.
    rules : tuple of str
        What was decided about splits, classes and ids, and by which rule, in words.
    skipped : tuple of SkippedFiles
        By reason, the most frequent first.
    training_problem : str or None
        Why a head cannot be trained on these images; None if there are enough of both classes.
    part : dict of str to int, or None
        Number of images by split of the part that was asked for; None if there was none.
    """

    classes: Classes
    images: dict[str, dict[str, int]]
    examples: dict[str, dict[str, tuple[str, ...]]]
    rules: tuple[str, ...]
    skipped: tuple[SkippedFiles, ...]
    training_problem: str | None
    part: dict[str, int] | None = None


def summarise(
    layout: Layout, entries: Sequence[ImageEntry], paths: Sequence[Parts], display_path: str
) -> tuple[Scan, CatsDogsError | None]:
    """Return the summary of a source, and the error that training on it would be.

    Parameters
    ----------
    layout : Layout
    entries : sequence of ImageEntry
        The images of the layout with their ids, in order.
    paths : sequence of tuple of str
        Each file's path below the source.
    display_path : str
        The source's path, for messages.
    """
    classes, rules = layout.classes, layout.rules
    ids: dict[str, dict[str, list[str]]] = {}
    for entry in entries:
        name = classes[entry.label] if entry.label >= 0 else UNLABELLED
        ids.setdefault(entry.split, {}).setdefault(name, []).append(entry.id)
    images = {split: {name: len(of) for name, of in named.items()} for split, named in ids.items()}
    by_reason: dict[str, list[Parts]] = {}
    for position, reason in layout.skipped.items():
        by_reason.setdefault(reason, []).append(paths[position])
    reasons = tuple(
        SkippedFiles(reason, len(of), printable("/".join(min(of))))
        for reason, of in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    )
    renamed = [entry.id for entry in entries if entry.id != entry.name]
    if renamed:
        rules = [*rules, f"{len(renamed):,} ids have more than the name, which is not unique, such as {renamed[-1]}"]
    problem = training_problem(images, classes, display_path, skipped=reasons)
    examples = {split: {name: tuple(of[:_EXAMPLES]) for name, of in named.items()} for split, named in ids.items()}
    scan = Scan(classes, images, examples, tuple(rules), reasons, str(problem) if problem else None)
    return scan, problem


def training_problem(
    images: Mapping[str, Mapping[str, int]],
    classes: Classes,
    display_path: str,
    *,
    skipped: Sequence[SkippedFiles] = (),
) -> CatsDogsError | None:
    """Return the error that training on images would be, given how many there are by split and class."""
    training = images.get("train")
    if training is None:
        return CatsDogsError(f"there are no labelled training images in {display_path}", label_hint(classes))
    fewest = min(classes, key=lambda name: training.get(name, 0))
    if (count := training.get(fewest, 0)) >= MIN_IMAGES:
        return None
    others = ", ".join(f"{of.files:,} {of.reason}" for of in skipped[:2])
    finding = f"{count}; skipped: {others}" if others else str(count)
    message = f"training images of the class {fewest} in {display_path}: {finding}"
    return CatsDogsError(message, f"Give at least {MIN_IMAGES} of each class")
