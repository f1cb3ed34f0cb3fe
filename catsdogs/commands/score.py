"""Score features in Parquet with the head, to files of Parquet."""

from dataclasses import dataclass
from pathlib import Path

from .. import head
from ..artifacts import Artifacts
from ..cache.parquet import FeatureFiles, RangeFiles
from ..head.scores import scores_key, scores_schema, to_scores
from ..inference.at_rest import Unreadable, write_missing
from ..progress import Progress, tell
from ..result import Result
from ..sources import Classes


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
        Number of images that this run scored; the others were scored before, or are unreadable.
    unreadable : dict of str to dict
        Reasons why images are unreadable, by split and id.
    """

    out: str
    classes: Classes
    images: int
    scored: int
    unreadable: Unreadable


def score(
    rows: str | Path, out: str | Path, *, artifacts: str | Path = "artifacts", progress: Progress | None = None
) -> Scoring:
    """Score features in Parquet with the head, and write the probability of each image to Parquet.

    There is one file for each file of the features, with split, id, probability, and reason if an image is unreadable.
    Those that are there are not written again, so a run that was interrupted goes on. One file at a time is in memory;
    neither images nor backbone are needed.

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
    trained, files, folder = head.load(Artifacts(artifacts)), FeatureFiles(rows), RangeFiles(str(out))
    made, key = files.manifest, scores_key(trained, files.key)
    hint = "Train on a sample of these rows: catsdogs subset, then catsdogs train"
    head.check_compatible(trained, made.provenance, made.views, hint)

    def write(missing: list[range]) -> None:
        for positions in missing:
            folder.write(positions, files.images, key, to_scores(trained, files.read(positions)))
            tell(progress, "scoring", positions.stop, files.images)

    scored, unreadable = write_missing(folder, key, files.images, scores_schema(trained), write)
    return Scoring(folder.display_path, trained.metadata.classes, files.images, scored, unreadable)
