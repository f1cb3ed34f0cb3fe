"""Open an artifacts folder: hold its locks, read its cache once, and name its files."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from .cache import Cache, features_folder
from .errors import CatsDogsError
from .locks import FEATURES, write_lock
from .paths import user_path


class Artifacts:
    """An artifacts folder, opened once for a command; reading its paths creates nothing.

    Parameters
    ----------
    folder : str or Path

    Attributes
    ----------
    root : Path
    cache : Cache
        The features, as they were at the first access.
    features : Path
        Folder of the cache: ids, labels, digests and features of each split, and pairs of duplicates.
    head, head_metadata : Path
        Coefficients of the head, and how it was trained.
    estimator : Path
        The head as a scikit-learn estimator, for the user's own code. It is never read.
    metrics : Path
        Log loss, accuracy and other metrics.
    predictions : Path
        Out-of-fold prediction of every training image.
    suspects : Path
        Training images whose label may be wrong.
    corrections : Path
        Verdicts on labels, by the digest of the image.
    submission : Path
        Kaggle's submission file.
    report : Path
        HTML page with metrics, plots and images.
    review : Path
        HTML page on which images are judged.
    source : Path
        Paths of the images and the weights.
    timings : Path
        Duration of each step.

    Raises
    ------
    CatsDogsError
        The path is not a folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.root = user_path(folder)
        if self.root.exists() and not self.root.is_dir():
            raise CatsDogsError(f"{self.root} is not a folder", "Give --artifacts a folder for the results")
        self.cache = Cache(features_folder(self.root))
        self.features = self.cache.folder
        self.head = self.root / "head.npz"
        self.head_metadata = self.root / "head.json"
        self.estimator = self.root / "head.joblib"
        self.metrics = self.root / "metrics.json"
        self.predictions = self.root / "predictions.csv"
        self.suspects = self.root / "suspects.csv"
        self.corrections = self.root / "corrections.csv"
        self.submission = self.root / "submission.csv"
        self.report = self.root / "report.html"
        self.review = self.root / "review.html"
        self.source = self.root / "source.json"
        self.timings = self.root / "timings.json"

    @classmethod
    @contextmanager
    def open(cls, folder: "ArtifactsFolder", *locks: str) -> Iterator["Artifacts"]:
        """Open a folder for writing, and lock it until the command ends.

        Parameters
        ----------
        folder : str, Path or Artifacts
            An open folder is returned unchanged; the caller holds its locks.
        *locks : str
            `locks.FEATURES`, `locks.RESULTS` or `locks.BOTH`.

        Raises
        ------
        CatsDogsError
            Another process holds the lock, or the folder is not writable.
        """
        if isinstance(folder, Artifacts):
            yield folder
            return
        artifacts = cls(folder)
        # Without features there are no results: the command reports that, and needs neither the lock nor the folder.
        needed = FEATURES in locks or artifacts.features.exists()
        with write_lock(artifacts.root, *locks) if needed else nullcontext():
            yield artifacts


ArtifactsFolder = str | Path | Artifacts
"""An artifacts folder as commands that write accept it: a path, or open if the command is part of another one."""
