"""Score features in Parquet with the head, to files of Parquet."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import head
from ..artifacts import Artifacts
from ..cache.parquet import FeatureFiles, RangeFiles, file_key, open_parquet
from ..progress import Progress, tell
from ..result import Result
from ..sources import Classes
from ..sources.files import StoredFile

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Scoring(Result):
    """The result of `score`.

    Parameters
    ----------
    out : str
        The folder or URI of the probabilities, without secrets.
    classes : pair of str
        The probabilities are those of the second.
    images : int
        Number of all images.
    scored : int
        Number of images that this run scored; the others were scored before.
    """

    out: str
    classes: Classes
    images: int
    scored: int


def score(
    rows: str | Path, out: str | Path, *, artifacts: str | Path = "artifacts", progress: Progress | None = None
) -> Scoring:
    """Score features in Parquet with the head, and write split, id and probability of each image to Parquet.

    There is one file for each file of the features. Those that are there are not written again, so a run that was
    interrupted goes on. One file at a time is in memory; neither images nor backbone are needed.

    Parameters
    ----------
    rows : str or Path
        Folder or URI that `extract` wrote with its option `parquet`.
    out : str or Path
        Folder or URI for the probabilities of the second class, unclipped; null if an image is unreadable.
    artifacts : str or Path
        The artifacts folder, with a head.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Returns
    -------
    Scoring

    Raises
    ------
    CatsDogsError
        There is no head, or it was trained on features of another kind; a file of the features is missing or damaged,
        or one of the probabilities is damaged; or `out` has other files, such as the probabilities of another head.
    """
    opened = Artifacts(artifacts)
    trained, files, folder = head.load(opened), FeatureFiles(rows), RangeFiles(str(out))
    import pyarrow as pa

    made, classes, sha256 = files.manifest, trained.metadata.classes, trained.metadata.files[opened.head.name]
    hint = "Train on a sample of these rows: catsdogs subset, then catsdogs train"
    head.check_compatible(trained, made.provenance, made.views, hint)
    columns = {"split": pa.string(), "id": pa.string(), "probability": pa.float64()}
    schema = pa.schema(columns, metadata={"catsdogs": json.dumps({"classes": classes, "head": sha256})})
    key, done = file_key(files.key, sha256), 0
    there, *_ = folder.find(key)
    for positions, file in there.items():
        _check(file, schema, len(positions))
    for positions in [positions for positions in files.ranges if positions not in there]:
        table = files.read(positions)
        probabilities = trained.classifier.probabilities(np.hstack([*table.features.values()]))
        values = pa.array(probabilities, pa.float64(), mask=~table.readable)
        scored = pa.table([table.splits, table.ids, values], schema=schema)
        folder.write(positions, files.images, key, scored)
        done += len(positions)
        tell(progress, "scoring", positions.stop, files.images)
    folder.remove_unfinished()
    return Scoring(folder.display_path, classes, files.images, done)


def _check(file: StoredFile, schema: "pa.Schema", rows: int) -> None:
    """Refuse a file of probabilities that is damaged."""
    with open_parquet(file, "Remove it and run catsdogs score again") as opened:
        table = opened.read()
        if not table.schema.equals(schema) or table.num_rows != rows:
            raise ValueError("it has other columns or rows")
