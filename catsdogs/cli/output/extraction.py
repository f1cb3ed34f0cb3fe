"""What `extract` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...artifacts import Artifacts
from .console import Line, command, counted, look_at, named

if TYPE_CHECKING:
    from ...commands.extract import Extraction


def extraction_lines(done: Extraction, artifacts: Path) -> Iterator[Line]:
    """Say what became of the images, and what comes next."""
    yield from extraction_facts(done, artifacts)
    yield from look_at(Artifacts(artifacts).features)
    yield "next", command("train", artifacts)


def extraction_facts(done: Extraction, artifacts: Path) -> Iterator[Line]:
    """Say what became of the images."""
    unreadable = {name: reason for split in done.unreadable.values() for name, reason in split.items()}
    total, splits = sum(done.images.values()), ", ".join(f"{count:,} {split}" for split, count in done.images.items())
    yield "images", f"{total:,}: {total - len(unreadable):,} done, {len(unreadable):,} unreadable ({splits})"
    yield from named(unreadable, f"in {Artifacts(artifacts).features}/*/unreadable.csv")
    yield "classes", " and ".join(done.classes)
    yield "", f"{counted(done.skipped, 'other file')} passed over"
    if done.computed:
        rate = f", {done.rate:.0f} images/s" if done.rate else ""
        yield "features", f"{done.computed:,} computed with {done.backbone} in {done.seconds:.1f} s{rate}"
        yield "", f"by {done.engine} in {done.precision}"
        if done.int8_similarity:
            yield "", int8_similarity_line(done.int8_similarity)
        if done.batch_reduced:
            yield "", "fewer images at once than usual: the device had too little memory for more"
    else:
        yield "features", f"none computed: all were cached, made with {done.backbone}"
    if done.backbone.startswith("random"):
        yield "", "RANDOM weights: to try and to time; the predictions mean nothing"
    yield "duplicates", duplicates_line(done.duplicates)


def int8_similarity_line(found: Mapping[str, float]) -> str:
    """Say how near features of 8 bits are to those of float32."""
    return f"cosine to float32 {found['mean']:.4f}, at least {found['least']:.4f}, of {found['images']} images"


def duplicates_line(counts: dict[str, int]) -> str:
    """Say how many pairs of images are the same or nearly so."""
    if not counts:
        return "not looked for yet: the other split is damaged, see verify"
    if not counts["pairs"]:
        return "none: no two images are the same, or nearly so"
    return (
        f"{counted(counts['pairs'], 'pair')}, {counts['identical']:,} of equal bytes; "
        f"{counts['across_classes']:,} across classes, {counts['across_splits']:,} across train and test"
    )
