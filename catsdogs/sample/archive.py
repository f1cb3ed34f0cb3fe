"""Write a data set of synthetic images, zipped in the layout of Kaggle's download."""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..sources.classes import CLASSES
from ..storage import to_csv, write_atomic
from .drawing import draw

OUTER = "dogs-vs-cats-redux-kernels-edition.zip"
"""Kaggle's name for the outer zip."""


def write_sample(path: Path, *, seed: int = 0, train: int = 200, test: int = 40) -> NDArray[np.int8]:
    """Write a data set of synthetic images as one zip that holds ``train.zip`` and ``test.zip``.

    An image depends only on the seed and on its own name. One in twelve (numbers 11, 23, ...) has the coat of the other
    class. The bytes of the zip depend only on the arguments and on the versions of Pillow and NumPy.

    Parameters
    ----------
    path : Path
        The zip to write, replaced atomically. Kaggle's name for it is `OUTER`.
    seed : int
        Seed of all images.
    train : int
        Number of training images, half of them cats; one more cat than dogs if it is odd.
    test : int
        Number of test images, each a cat or a dog with equal probability.

    Returns
    -------
    labels : ndarray of shape (test,), int8
        The true labels of the test images 1, 2, ..., in this order: 1 for dog, 0 for cat.
    """
    trained = [(label, n) for label in (0, 1) for n in range((train + 1 - label) // 2)]
    labels = [int(np.random.default_rng([seed, 2, n]).integers(2)) for n in range(1, test + 1)]
    members = {
        "sample_submission.csv": to_csv(["id", "label"], [(n, 0.5) for n in range(1, test + 1)]),
        "test.zip": _zip((f"test/{n}.jpg", _jpeg(label, [seed, 3, n])) for n, label in enumerate(labels, start=1)),
        "train.zip": _zip((f"train/{CLASSES[label]}.{n}.jpg", _jpeg(label, [seed, label, n])) for label, n in trained),
    }
    write_atomic(path, _zip(members.items()))
    return np.array(labels, dtype=np.int8)


def _jpeg(label: int, seed: list[int]) -> bytes:
    content = io.BytesIO()
    draw(label, np.random.default_rng(seed), swapped=seed[-1] % 12 == 11).save(content, "JPEG", quality=88)
    return content.getvalue()


def _zip(members: Iterable[tuple[str, bytes]]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data)  # dated 1980, so that the bytes do not depend on the date
    return content.getvalue()
