"""Make a cache of a stratified sample of features in Parquet, to train on."""

import logging
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappush, heappushpop
from pathlib import Path

import numpy as np

from ..artifacts import Artifacts, ArtifactsFolder
from ..cache import CacheWriter
from ..cache.parquet import FeatureFiles
from ..errors import CatsDogsError, OptionError
from ..locks import FEATURES
from ..progress import Progress, tell
from ..result import Result
from ..sources.scan import training_problem
from ..storage import NOTE_HINT, read_json, record
from .extract import find_duplicates

_log = logging.getLogger(__name__)

_Row = tuple[int, str, int, bytes]
"""Position, id, label and digest of an image."""


@dataclass(frozen=True)
class Subset(Result):
    """The result of `subset`.

    Parameters
    ----------
    images : dict of str to int
        Number of images in the sample, by class.
    available : dict of str to int
        Number of readable labelled training images to choose from, by class.
    backbone : str
        Name of the weights that computed the features.
    """

    images: dict[str, int]
    available: dict[str, int]
    backbone: str


def subset(
    rows: str | Path,
    *,
    images: int = 25_000,
    seed: int = 0,
    artifacts: ArtifactsFolder = "artifacts",
    prune: bool = False,
    progress: Progress | None = None,
) -> Subset:
    """Make a cache of a sample of features in Parquet, in which the classes have the shares that they have there.

    Which images are drawn depends on the seed and on the images' bytes only. One file at a time is in memory.

    Parameters
    ----------
    rows : str or Path
        Folder or URI that `extract` wrote with its option `parquet`. Only readable training images with a label are
        drawn.
    images : int
        Number of images to draw; all if there are fewer.
    seed : int
    artifacts : str or Path
        The artifacts folder; its training split becomes the sample.
    prune : bool
        As for `extract`.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Returns
    -------
    Subset

    Raises
    ------
    CatsDogsError
        There are no such images, a file is missing or damaged, or cached features would be removed without `prune`.
    """
    if images < 1:
        raise OptionError(f"{images} images cannot be drawn", "Give --images a number of at least 1")
    if seed < 0:
        raise OptionError(f"the seed is {seed}", "Give a seed of at least 0")
    files = FeatureFiles(rows)
    chosen, available = _draw(files, images, seed, progress)
    positions, ids, labels, encoded = zip(*chosen, strict=True)
    digests = np.frombuffer(b"".join(encoded), np.uint8).reshape(-1, 16)
    made, wanted = files.manifest, {"train": (ids, np.array(labels, np.int8))}
    counts = dict(zip(made.classes, np.bincount(labels, minlength=2).tolist(), strict=True))
    if problem := training_problem({"train": counts}, made.classes, "the sample"):
        _log.warning("no head can be trained on these images: %s", problem)
    with Artifacts.open(artifacts, FEATURES) as opened:
        with CacheWriter(opened.features, made, wanted, prune=prune) as writer:
            writer.check_losses(lambda: digests)
            missing = writer.known().missing
            for of_file in files.ranges:
                here = slice(bisect_left(positions, of_file.start), bisect_left(positions, of_file.stop))
                at = [row for row in range(here.start, here.stop) if missing.get(encoded[row], "all")]
                if at:
                    table, drawn = files.read(of_file), np.array(positions)[at] - of_file.start
                    features = {view: of_view[drawn] for view, of_view in table.features.items()}
                    writer.add_rows(table.digests[drawn], features, table.facts[drawn])
                tell(progress, "copying features", here.stop, len(ids))
            writer.assemble(digests)
        noted, name = read_json(opened.source, NOTE_HINT).get("weights"), made.provenance.weights_name
        if Path(str(noted)).name != name:  # otherwise it is the path of their file, whose name Parquet has
            record(opened.source, weights=name)
        opened.cache.reload()
        find_duplicates(opened, near=False, progress=progress)
    return Subset(counts, dict(zip(made.classes, available, strict=True)), made.provenance.weights_name)


def _draw(
    files: FeatureFiles, images: int, seed: int, progress: Progress | None
) -> tuple[Sequence[_Row], tuple[int, int]]:
    """Draw images, in the order of their positions; also return how many there are of each class.

    The images of a class with the smallest values of a random hash of their digests are a random sample of it.
    """
    factors = np.random.default_rng(seed).integers(0, 1 << 64, 2, np.uint64)
    heaps: tuple[list[tuple[int, _Row]], ...] = ([], [])
    available = [0, 0]
    for table, positions in zip(files.tables(features=False), files.ranges, strict=True):
        words = table.digests.view("<u8") * factors
        hashes, labels = (words[:, 0] + words[:, 1]).tolist(), table.labels.tolist()
        usable = table.readable & (table.labels >= 0) & (np.array(table.splits) == "train")
        for row in np.flatnonzero(usable).tolist():
            label = labels[row]
            image = -hashes[row], (positions[row], table.ids[row], label, table.digests[row].tobytes())
            (heappush if available[label] < images else heappushpop)(heaps[label], image)
            available[label] += 1
        tell(progress, "drawing images", positions.stop, files.images)
    if not any(available):
        message = f"{files.folder.display_path} has no readable training image with a label"
        raise CatsDogsError(message, "Run catsdogs extract --parquet with labelled images")
    of_second = round(min(images, sum(available)) * available[1] / sum(available))
    shares = (min(images, sum(available)) - of_second, of_second)
    drawn = [image for heap, share in zip(heaps, shares, strict=True) for _, image in sorted(heap)[len(heap) - share :]]
    return sorted(drawn), (available[0], available[1])
