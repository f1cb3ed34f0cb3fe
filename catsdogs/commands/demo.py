"""Draw a small data set and run everything on it."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..artifacts import Artifacts
from ..backbone import fetch_imagenet
from ..backbone.weights import WEIGHTS_VARIABLE
from ..errors import CatsDogsError
from ..locks import BOTH
from ..progress import Progress, tell
from ..result import Result
from ..sample import OUTER, write_sample
from ..storage import NOTE_HINT, read_json
from .run import Run, run


@dataclass(frozen=True)
class Demo(Result):
    """The result of `demo`.

    Parameters
    ----------
    data : Path
        The zip of synthetic images, in Kaggle's layout.
    run : Run
    correct : int
        Test images that the submission classifies correctly.
    imagenet_error : str or None
        Why the ImageNet weights could not be downloaded, so that random ones were used.
    """

    data: Path
    run: Run
    correct: int
    imagenet_error: str | None


def demo(
    artifacts: str | Path = "artifacts/demo",
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Demo:
    """Draw a small data set, zip it like Kaggle's, and extract, train and submit.

    Parameters
    ----------
    artifacts : str or Path
        The artifacts folder, which also gets the zip.
    weights : str or Path, optional
        As for `extract`. If none are given and the ImageNet weights cannot be downloaded, random ones are used.
    seed : int
        Seed of the images.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Returns
    -------
    Demo

    Raises
    ------
    CatsDogsError
        As for `run`.
    """
    imagenet_error = None
    with Artifacts.open(artifacts, *BOTH) as opened:
        data = opened.root / OUTER
        if not (weights or os.environ.get(WEIGHTS_VARIABLE)):
            try:
                fetch_imagenet(progress=progress)
                weights = "imagenet"
            except CatsDogsError as error:
                weights, imagenet_error = "random", error.message
        # An earlier demo may have left features of other weights in its folder. Only its own rows are dropped.
        prune = read_json(opened.source, NOTE_HINT).get("train") == str(data.resolve())
        tell(progress, "drawing images", 0, 0)
        labels = write_sample(data, seed=seed)
        done = run(data, artifacts=opened, weights=weights, prune=prune, progress=progress)
        probabilities = np.loadtxt(opened.submission, delimiter=",", skiprows=1, usecols=1)
    return Demo(data, done, int(np.sum((probabilities > 0.5) == labels)), imagenet_error)
