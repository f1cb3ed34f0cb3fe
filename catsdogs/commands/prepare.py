"""Write the labelled images as PNGs in the folders of 2017, split into training and test images.

The seed, and what else fixes the split, is kept beside them: who comes again with the same gets what is missing, and
who comes with another is refused.
"""

import hashlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import CatsDogsError, printable
from ..exporting.layout_2017 import FORMAT, SHARE, TESTING, TRAINING, arrange
from ..images import identity, png
from ..images.decoding import SIZE
from ..images.views import DEFAULT_VIEW
from ..inference.loading import load_image
from ..inference.timing import StageTimer
from ..locks import RESULTS, write_lock
from ..paths import user_path
from ..progress import Progress
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


class _Picture(NamedTuple):
    """An original on its way: what it is, then its digest, its place below the folder, and what became of it there."""

    file: ImageFile
    id: str
    label: int
    digest: bytes = b""
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
        originals = [_Picture(*of) for of in zip(images.files, images.ids, images.labels.tolist(), strict=True)]
        pictures, renumbered = _with_names(
            _in_threads(_with_digest, originals, "reading pictures", progress), source.classes, seed
        )
        facts = drawn | {"classes": list(source.classes), "data": _images_digest(pictures)}
        with write_lock(folder, RESULTS, alternative="another OUT"):
            if not _read_split(folder, facts):
                write_atomic(folder / SPLIT_FILE, to_json(facts))
            for parents in itertools.product((TRAINING, TESTING), source.classes):
                folder.joinpath(*parents).mkdir(parents=True, exist_ok=True)
            made = _in_threads(partial(_write_picture, folder), pictures, "writing pictures", progress)
            table = [("" if of.reason else of.name, printable("/".join(of.file.parts)), of.reason) for of in made]
            write_atomic(folder / TABLE_FILE, to_csv(("picture", "original", "unreadable"), table))
    there = [picture.name for picture in made if not picture.reason]
    done = Preparation(
        folder=folder,
        classes=source.classes,
        seed=seed,
        images={
            split: sum(name.startswith(f"{of}/") for name in there)
            for split, of in (("train", TRAINING), ("test", TESTING))
        },
        written=sum(picture.new for picture in made),
        renumbered=renumbered,
        unreadable={picture.file.display_path: picture.reason for picture in made if picture.reason},
        unlabelled=unlabelled,
        skipped=source.skipped,
        seconds=time.perf_counter() - start,
    )
    _log.info("%d of %d pictures written in %.1f s", done.written, len(there), done.seconds)
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


def _with_digest(picture: _Picture) -> _Picture:
    """Find the digest of an original."""
    loaded = load_image([picture.file], 0, [], None, StageTimer())
    return picture._replace(reason=loaded.reason) if loaded.reason else picture._replace(digest=loaded.digest.tobytes())


def _with_names(pictures: Sequence[_Picture], classes: Classes, seed: int) -> tuple[list[_Picture], int]:
    """Give each picture that could be read its place; return also how many have a number that is not their own."""
    there = [picture for picture in pictures if picture.digest]
    arranged = arrange(
        [picture.id for picture in there],
        np.array([picture.label for picture in there], np.int8),
        np.frombuffer(b"".join(picture.digest for picture in there), np.uint8).reshape(-1, 16),
        classes=classes,
        seed=seed,
    )
    names = iter(arranged.names)
    named = [picture._replace(name=next(names)) if picture.digest else picture for picture in pictures]
    return named, arranged.renumbered


def _images_digest(pictures: Sequence[_Picture]) -> str:
    """Return what is the same where the same images, wherever they lie, are to be in the same places."""
    return hashlib.sha256(to_json([(p.name, p.digest.hex()) for p in pictures if p.digest])).hexdigest()


def _write_picture(folder: Path, picture: _Picture) -> _Picture:
    """Put the picture into its place, unless it is there and whole."""
    path = folder / picture.name
    if picture.reason or png.is_valid(path, SIZE):
        return picture
    loaded = load_image([picture.file], 0, [DEFAULT_VIEW], None, StageTimer())
    if loaded.digest.any() and loaded.digest.tobytes() != picture.digest:
        return picture._replace(reason="it has changed while it was read")
    if loaded.reason:
        return picture._replace(reason=loaded.reason)
    # Not synced: a picture that a power cut spoils is made again.
    write_atomic(path, png.encode(loaded.pixels[DEFAULT_VIEW]), sync=False)
    return picture._replace(new=True)


def _in_threads(
    change: Callable[[_Picture], _Picture], pictures: Sequence[_Picture], step: str, progress: Progress | None
) -> list[_Picture]:
    """Take all pictures a step further, in their order; where one fails, those that wait are left as they are."""
    from joblib import cpu_count

    done: list[_Picture] = []
    with ThreadPoolExecutor(cpu_count(), thread_name_prefix="prepare") as threads:
        for picture in threads.map(change, pictures):
            done.append(picture)
            if progress:
                progress(step, len(done), len(pictures))
    return done
