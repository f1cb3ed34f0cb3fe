"""Score features in Parquet, or images, with the head, to files of Parquet."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from .. import head
from ..artifacts import Artifacts
from ..cache.parquet import FeatureFiles, RangeFiles, file_key, require_pyarrow
from ..errors import redact_uri
from ..head.scores import scores_schema, to_scores
from ..inference.at_rest import ParquetWorker, compute_to_parquet, write_missing
from ..inference.cluster import check_workers, start_workers
from ..inference.plan import plan_for_head
from ..inference.ranges import make_job
from ..paths import local_or_uri
from ..progress import Progress, tell
from ..result import Result
from ..sources import Classes, Scan, Source


@dataclass(frozen=True)
class Scoring(Result):
    """The result of `score` and `predict_to_parquet`.

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
    scan : Scan or None
        How the images were read; None of features.
    """

    out: str
    classes: Classes
    images: int
    scored: int
    unreadable: dict[str, dict[str, str]]
    scan: Scan | None = None


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
    folder, trained, files = RangeFiles(local_or_uri(out)), head.load(Artifacts(artifacts)), FeatureFiles(rows)
    made, key = files.manifest, file_key(files.key, trained.sha256)
    hint = "Train on a sample of these rows: catsdogs subset, then catsdogs train"
    head.check_compatible(trained, made.provenance, made.views, hint)

    def write(missing: list[range]) -> None:
        for positions in missing:
            folder.write(positions, files.images, key, to_scores(trained, files.read(positions)))
            tell(progress, "scoring", positions.stop, files.images)

    scored, unreadable = write_missing(folder, key, files.images, scores_schema(trained), write)
    return Scoring(folder.display_path, trained.metadata.classes, files.images, scored, unreadable)


def predict_to_parquet(
    data: str | Path,
    out: str | Path,
    *,
    artifacts: str | Path = "artifacts",
    weights: str | Path | None = None,
    ray: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Scoring:
    """Compute the features of images, and write the probability of each image to Parquet, but no features.

    The files are those that `extract` with its option `parquet`, and then `score`, would write. Those that are there
    are not computed again. The artifacts do not change.

    Parameters
    ----------
    data : str or Path
        As for `extract`. If that refuses or skips images for their labels, all images are read without labels.
    out : str or Path
        As for `score`.
    artifacts : str or Path
        The artifacts folder, with a head.
    weights : str or Path, optional
        As for `extract`; the head must have been trained with them.
    ray, workers : optional
        As for `extract`. The machines must share the folder of the images, and `out`, unless these are URIs.
    progress : callable, optional
        Called with the step, how much of it is done, and its total.

    Returns
    -------
    Scoring

    Raises
    ------
    CatsDogsError
        As for `predict`, a file in `out` is damaged, or it has other files, such as the probabilities of another head.
    """
    check_workers(ray, workers)
    require_pyarrow()
    opened = Artifacts(artifacts)
    trained = head.load(opened)
    plan, classes = plan_for_head(trained, opened, weights), trained.metadata.classes
    with Source(data, default_classes=classes, every=True) as source:
        job = make_job(data, plan, source, out, head=trained, kind=ParquetWorker)
        with start_workers(ray, job, per_machine=workers) if ray else nullcontext() as pool:
            _, scored, unreadable = compute_to_parquet(job, source, pool, progress=progress)
        return Scoring(redact_uri(job.parquet), classes, len(source.files), scored, unreadable, source.scan)
