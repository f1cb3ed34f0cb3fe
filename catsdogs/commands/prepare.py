"""Write the labelled images as PNGs in the folders of 2017, split into training and test images.

The seed, and what else fixes the split, is kept beside them: who comes again with the same gets what is missing, and
who comes with another is refused.
"""

import hashlib
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

from ..errors import CatsDogsError, printable
from ..exporting.layout_2017 import FORMAT, SHARE, TESTING, TRAINING, arrange
from ..images import identity, png
from ..images.decoding import SIZE
from ..images.views import DEFAULT_VIEW
from ..inference.loading import load_image
from ..inference.timing import StageTimer
from ..locks import RESULTS, write_lock
from ..paths import user_path
from ..progress import Progress, tell
from ..sources import ImageFile, Source
from ..sources.classes import Classes, parse_classes
from ..storage import read_json, to_csv, to_json, write_atomic
from .result import Result

SPLIT_FILE, TABLE_FILE = "prepared.json", "prepared.csv"
"""What fixes the split, and which picture was made of which original."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preparation(Result):
    """What `prepare` did.

    Parameters
    ----------
    folder : Path
    classes : pair of str
        What the pictures' folders are called.
    seed : int
        Of the split.
    images : dict of str to int
        Pictures that are there, by "train" and "test".
    written : int
        Those that this call made.
    renumbered : int
        Those whose number is not that of their original's name: it has none, or another has the same.
    unreadable : dict of str to str
        Why originals are unreadable, by path.
    unlabelled : int
        Images without a label, of which no pictures are made.
    skipped : int
        Files that are no images, or lie outside of the splits or classes.
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
    """An image on its way: what it is and its digest, then its picture's place below the folder, and what became of it.

    Threads fill it in, one of them at a time.
    """

    file: ImageFile
    id: str
    label: int
    digest: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(16, np.uint8))
    name: str = ""
    new: bool = False
    reason: str = ""


def prepare(
    data: str | Path,
    out: str | Path,
    *,
    seed: int = 0,
    classes: str | Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Preparation:
    """Write the labelled images as PNGs of 224x224 pixels, 85 % of each class to train on and 15 % to test.

    The PNGs hold the pixels that features are computed of, so the features are the same bit for bit. Images of equal
    bytes are all on one side of the split.

    Parameters
    ----------
    data : str or Path
        As for `extract`; the labelled images of both splits are taken.
    out : str or Path
        Where ``cats-dogs-training/CLASS/N.png`` and ``cats-dogs-testing/CLASS/N.png`` go, N the last number in the
        original's name; what has none, or shares it, is numbered on from the highest. Beside them ``prepared.csv``
        says which picture was made of which original, and ``prepared.json`` what fixes the split.
    seed : int
        Of the split.
    classes : str or two str, optional
        As for `extract`.
    progress : callable, optional
        Told how far it is.

    Returns
    -------
    Preparation

    Raises
    ------
    CatsDogsError
        `data` cannot be used or has no labelled image, or `out` cannot be written, lies in `data`, or holds a split of
        another seed or of other images. What is done stays.
    """
    start = time.perf_counter()
    folder = user_path(out)
    if seed < 0:
        raise CatsDogsError(f"the seed is {seed}", "It must be 0 or more")
    _check_outside(folder, user_path(data))
    drawn = {"format": FORMAT, "seed": seed, "held_out": SHARE, "size": SIZE, "pixels": identity.pixels()}
    _read_split(folder, drawn)  # before long work
    with Source(data, classes=None if classes is None else parse_classes(classes)) as source:
        images, unlabelled = source.labelled()
        originals = [_Original(*of) for of in zip(images.files, images.ids, images.labels.tolist(), strict=True)]
        _in_threads("reading pictures", _find_digest, originals, progress)
        there = [original for original in originals if not original.reason]
        names, renumbered = arrange(
            [original.id for original in there],
            np.array([original.label for original in there], np.int8),
            np.array([original.digest for original in there], np.uint8).reshape(-1, 16),
            classes=source.classes,
            seed=seed,
        )
        for original, name in zip(there, names, strict=True):
            original.name = name
        # The same where the same images, wherever they lie, are to be in the same places.
        places = hashlib.sha256(to_json([(original.name, original.digest.tobytes().hex()) for original in there]))
        facts = drawn | {"classes": list(source.classes), "data": places.hexdigest()}
        with write_lock(folder, RESULTS, alternative="another OUT"):
            if not _read_split(folder, facts):
                write_atomic(folder / SPLIT_FILE, to_json(facts))
            for parents in itertools.product((TRAINING, TESTING), source.classes):
                folder.joinpath(*parents).mkdir(parents=True, exist_ok=True)
            _in_threads("writing pictures", partial(_write_picture, folder), originals, progress)
            table = [("" if of.reason else of.name, printable("/".join(of.file.parts)), of.reason) for of in originals]
            write_atomic(folder / TABLE_FILE, to_csv(("picture", "original", "unreadable"), table))
    folders = Counter(original.name.split("/")[0] for original in originals if not original.reason)
    done = Preparation(
        folder=folder,
        classes=source.classes,
        seed=seed,
        images={"train": folders[TRAINING], "test": folders[TESTING]},
        written=sum(original.new for original in originals),
        renumbered=renumbered,
        unreadable={original.file.display_path: original.reason for original in originals if original.reason},
        unlabelled=unlabelled,
        skipped=source.skipped,
        seconds=time.perf_counter() - start,
    )
    _log.info("%d of %d pictures written in %.1f s", done.written, folders.total(), done.seconds)
    return done


def _check_outside(folder: Path, data: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise CatsDogsError(f"{folder} is not a folder", "Give the folder where the pictures go")
    out, originals = Path(os.path.realpath(folder)), Path(os.path.realpath(data))
    if out.is_relative_to(originals):
        raise CatsDogsError(
            f"{folder} lies in {data}, and its pictures would be taken for originals next time",
            "Give a folder elsewhere",
        )
    if originals.is_dir() and originals.is_relative_to(out):
        raise CatsDogsError(f"{folder} holds {data}, and both would be mixed there", "Give a folder elsewhere")


def _read_split(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what fixes the split that lies in the folder, nothing where there is none; refuse any but that wanted."""
    kept = read_json(folder / SPLIT_FILE, "Give another OUT, or delete that folder")
    if not kept and any((folder / name).exists() for name in (TRAINING, TESTING)):
        raise CatsDogsError(f"{folder} holds pictures of a split of which nothing is known", "Give another OUT")
    other = next((name for name, value in wanted.items() if kept and kept.get(name) != value), None)
    if other == "seed":
        raise CatsDogsError(
            f"{folder} holds the split of seed {kept.get('seed')}, and two would mix",
            f"Give another OUT for that of seed {wanted['seed']}, or --seed {kept.get('seed')} to go on with this one",
        )
    if other:
        what = "other images or classes" if other in ("classes", "data") else "another version of catsdogs or of Pillow"
        raise CatsDogsError(
            f"{folder} holds the split of {what}, and two would mix", "Give another OUT, or delete that one"
        )
    return kept


def _find_digest(original: _Original) -> None:
    loaded = load_image([original.file], 0, [], None, StageTimer())
    original.digest, original.reason = loaded.digest, loaded.reason or ""


def _write_picture(folder: Path, original: _Original) -> None:
    """Put the picture into its place, unless it is there and whole."""
    path = folder / original.name
    if original.reason or png.is_valid(path, SIZE):
        return
    loaded = load_image([original.file], 0, [DEFAULT_VIEW], None, StageTimer())
    changed = loaded.digest.any() and (loaded.digest != original.digest).any()
    original.reason = "it has changed while it was read" if changed else loaded.reason or ""
    if not original.reason:
        # Not synced: a picture that a power cut spoils is made again.
        write_atomic(path, png.encode(loaded.pixels[DEFAULT_VIEW]), sync=False)
        original.new = True


def _in_threads(
    step: str, function: Callable[[_Original], None], originals: Sequence[_Original], progress: Progress | None
) -> None:
    """Call a function with each original; where one fails, those that wait are left as they are."""
    from joblib import cpu_count

    with ThreadPoolExecutor(cpu_count(), thread_name_prefix="prepare") as threads:
        for done, _ in enumerate(threads.map(function, originals), 1):
            tell(progress, step, done, len(originals))
