"""Write the labelled images as PNGs in the folders of 2017, split into training and test images.

The seed and everything else that determines the split is kept beside the PNGs. A rerun with the same values writes
only the missing PNGs; a rerun with other values is an error.
"""

import itertools
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CatsDogsError, OptionError, printable
from ..exporting.layout_2017 import FORMAT, SHARE, TESTING, TRAINING, arrange
from ..images import identity, png
from ..images.views import DEFAULT_VIEW, SIZE
from ..inference.loading import ChunkLoader
from ..locks import RESULTS, write_lock
from ..paths import is_uri, user_path
from ..progress import Progress, tell
from ..result import Result
from ..sources import Classes, ImageFile, Source, parse_classes
from ..storage import read_json, sha256_of, to_csv, to_json, write_atomic
from ..threads import cpu_count

SPLIT_FILE, TABLE_FILE = "prepared.json", "prepared.csv"
"""The first determines the split; the second lists which PNG was made from which original."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preparation(Result):
    """The result of `prepare`.

    Parameters
    ----------
    folder : Path
    classes : pair of str
        Names of the class folders.
    seed : int
        Of the split.
    images : dict of str to int
        PNGs in the folder, by "train" and "test".
    written : int
        PNGs that this call wrote.
    renumbered : int
        PNGs with another number than their original, whose name has no number or not a unique one.
    unreadable : dict of str to str
        Reasons why originals are unreadable, by path.
    unlabelled : int
        Images without a label, which are not written.
    skipped : int
        Files that are not images, or are outside of the splits or classes.
    seconds : float
        Wall time.
    """

    folder: Path
    classes: Classes
    seed: int
    images: dict[str, int]
    written: int
    renumbered: int
    unreadable: dict[str, str]
    unlabelled: int
    skipped: int
    seconds: float


@dataclass(eq=False)
class _Original:
    """An original, its digest, the path of its PNG below the folder, and whether this was written or why not.

    Threads fill in the fields, one thread at a time.
    """

    file: ImageFile
    id: str
    label: int
    digest: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(16, np.uint8))
    name: str = ""
    written: bool = False
    reason: str = ""


def prepare(
    data: str | Path,
    out: str | Path,
    *,
    seed: int = 0,
    classes: str | Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Preparation:
    """Write the labelled images as PNGs of 224x224 pixels, 85 % of each class for training and 15 % for testing.

    The PNGs contain the pixels that features are computed from, so the features are bit-identical. Identical images
    are all in the same part of the split.

    Parameters
    ----------
    data : str or Path
        As for `extract`; the labelled images of both splits are written.
    out : str or Path
        The folder for ``cats-dogs-training/CLASS/N.png`` and ``cats-dogs-testing/CLASS/N.png``. N is the last number in
        the original's name; if there is none or it is not unique, the next free number. Beside them ``prepared.csv``
        lists which PNG was made from which original, and ``prepared.json`` what determines the split.
    seed : int
        Of the split.
    classes : str or two str, optional
        As for `extract`.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Returns
    -------
    Preparation

    Raises
    ------
    CatsDogsError
        `data` cannot be used or has no labelled image, or `out` is not writable, is inside `data`, or has a split with
        another seed or other images. Written PNGs are kept.
    """
    start = time.perf_counter()
    folder = user_path(out)
    if seed < 0:
        raise OptionError(f"the seed is {seed}", "Give a seed of at least 0")
    if not is_uri(data):
        _check_outside(folder, user_path(data))
    settings = {"format": FORMAT, "seed": seed, "held_out": SHARE, "size": SIZE, "pixels": identity.pixels()}
    _read_split(folder, settings)  # before long work
    with Source(data, classes=None if classes is None else parse_classes(classes)) as source:
        images, unlabelled = source.labelled()
        originals = [_Original(*of) for of in zip(images.files, images.ids, images.labels.tolist(), strict=True)]
        _in_threads("reading images", _find_digest, originals, progress)
        readable = [original for original in originals if not original.reason]
        names, renumbered = arrange(
            [original.id for original in readable],
            np.array([original.label for original in readable], np.int8),
            np.array([original.digest for original in readable], np.uint8).reshape(-1, 16),
            classes=source.classes,
            seed=seed,
        )
        for original, name in zip(readable, names, strict=True):
            original.name = name
        # Depends on the images and the paths of their PNGs, but not on the paths of the originals.
        places = to_json([(original.name, original.digest.tobytes().hex()) for original in readable])
        facts = settings | {"classes": list(source.classes), "data": sha256_of(places)}
        with write_lock(folder, RESULTS, alternative="another OUT"):
            if not _read_split(folder, facts):
                write_atomic(folder / SPLIT_FILE, to_json(facts))
            for parents in itertools.product((TRAINING, TESTING), source.classes):
                folder.joinpath(*parents).mkdir(parents=True, exist_ok=True)
            _in_threads("writing images", partial(_write_png, folder), originals, progress)
            table = [("" if of.reason else of.name, printable("/".join(of.file.parts)), of.reason) for of in originals]
            write_atomic(folder / TABLE_FILE, to_csv(("picture", "original", "unreadable"), table))
    folders = Counter(original.name.split("/")[0] for original in originals if not original.reason)
    done = Preparation(
        folder=folder,
        classes=source.classes,
        seed=seed,
        images={"train": folders[TRAINING], "test": folders[TESTING]},
        written=sum(original.written for original in originals),
        renumbered=renumbered,
        unreadable={original.file.display_path: original.reason for original in originals if original.reason},
        unlabelled=unlabelled,
        skipped=source.skipped,
        seconds=time.perf_counter() - start,
    )
    _log.info("%d of %d images written in %.1f s", done.written, folders.total(), done.seconds)
    return done


def _check_outside(folder: Path, data: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise CatsDogsError(f"{folder} is not a folder", "Give a folder for the images")
    out, originals = Path(os.path.realpath(folder)), Path(os.path.realpath(data))
    if out.is_relative_to(originals):
        message = f"{folder} is inside {data}, and the next run would read its images as originals"
        raise CatsDogsError(message, "Give a folder elsewhere")
    if originals.is_dir() and originals.is_relative_to(out):
        raise CatsDogsError(f"{folder} contains {data}, and both would be mixed", "Give a folder elsewhere")


def _read_split(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what determines the existing split, or nothing if there is none; refuse one that is not as wanted."""
    kept = read_json(folder / SPLIT_FILE, "Give another OUT, or delete that folder")
    if not kept and any((folder / name).exists() for name in (TRAINING, TESTING)):
        raise CatsDogsError(f"{folder} has images of a split, but no {SPLIT_FILE}", "Give another OUT")
    other = next((name for name, value in wanted.items() if kept and kept.get(name) != value), None)
    if other == "seed":
        hint = f"Give another OUT for seed {wanted['seed']}, or --seed {kept.get('seed')} to continue this split"
        raise CatsDogsError(f"{folder} has a split with seed {kept.get('seed')}", hint)
    if other:
        what = "other images or classes" if other in ("classes", "data") else "another version of catsdogs or of Pillow"
        raise CatsDogsError(f"{folder} has a split made with {what}", "Give another OUT, or delete that folder")
    return kept


def _find_digest(original: _Original) -> None:
    loaded = ChunkLoader([]).load_one(original.file)
    original.digest, original.reason = loaded.digest, loaded.reason or ""


def _write_png(folder: Path, original: _Original) -> None:
    """Write the PNG, unless it exists and is valid."""
    path = folder / original.name
    if original.reason or png.is_valid(path, SIZE):
        return
    loaded = ChunkLoader([DEFAULT_VIEW]).load_one(original.file)
    changed = loaded.digest.any() and (loaded.digest != original.digest).any()
    original.reason = "it changed while it was read" if changed else loaded.reason or ""
    if not original.reason:
        # Not synced: a PNG that a power cut damages is written again.
        write_atomic(path, png.encode(loaded.pixels[DEFAULT_VIEW]), sync=False)
        original.written = True


def _in_threads(
    step: str, function: Callable[[_Original], None], originals: Sequence[_Original], progress: Progress | None
) -> None:
    """Call a function with each original; after an error, the waiting originals are not processed."""
    with ThreadPoolExecutor(cpu_count(), thread_name_prefix="prepare") as threads:
        for done, _ in enumerate(threads.map(function, originals), 1):
            tell(progress, step, done, len(originals))
