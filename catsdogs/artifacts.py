"""Open an artifacts folder: hold its locks, read its cache once, and name its files."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from .cache import Cache, Manifest, features_folder, waiting_note
from .errors import CatsDogsError
from .locks import FEATURES, write_lock
from .paths import user_path


class Artifacts:
    """An artifacts folder, opened once for a whole command; nothing is created by asking where a file lies.

    Parameters
    ----------
    folder : str or Path

    Attributes
    ----------
    root : Path
    cache : Cache
        The features as they were when they were first asked for.
    features : Path
        Folder of the cache: ids, labels, digests and features of each split, and pairs of duplicates.
    head, head_metadata : Path
        Coefficients of the head, which this program reads, and what made it.
    estimator : Path
        The head as a scikit-learn estimator, for people's own code; written, never read.
    metrics : Path
        Log loss, accuracy and how they came about.
    predictions : Path
        Out-of-fold prediction of every training image.
    suspects : Path
        Training images whose label is probably wrong.
    submission : Path
        What Kaggle takes.
    report : Path
        What people look at, with pictures.
    source : Path
        Where the images and the weights are.
    timings : Path
        How long each step took.

    Raises
    ------
    CatsDogsError
        Something that is no folder lies there.
    """

    def __init__(self, folder: str | Path) -> None:
        self.root = user_path(folder)
        if self.root.exists() and not self.root.is_dir():
            raise CatsDogsError(f"{self.root} is not a folder", "Give --artifacts the folder where results go")
        self.cache = Cache(features_folder(self.root))
        self.features = self.cache.folder
        self.head = self.root / "head.npz"
        self.head_metadata = self.root / "head.json"
        self.estimator = self.root / "head.joblib"
        self.metrics = self.root / "metrics.json"
        self.predictions = self.root / "predictions.csv"
        self.suspects = self.root / "suspects.csv"
        self.submission = self.root / "submission.csv"
        self.report = self.root / "report.html"
        self.source = self.root / "source.json"
        self.timings = self.root / "timings.json"

    @classmethod
    @contextmanager
    def open(cls, folder: "ArtifactsFolder", *locks: str) -> Iterator["Artifacts"]:
        """Open a folder for writing, and hold it until the command has ended.

        Parameters
        ----------
        folder : str, Path or Artifacts
            What is open already stays so, and its holder has the locks.
        *locks : str
            `locks.FEATURES`, `locks.RESULTS` or `locks.BOTH`.

        Raises
        ------
        CatsDogsError
            Another process holds it, or it cannot be written.
        """
        if isinstance(folder, Artifacts):
            yield folder
            return
        artifacts = cls(folder)
        # Without features there are no results: the command says so, and nothing need be held or made for that.
        needed = FEATURES in locks or artifacts.features.exists()
        with write_lock(artifacts.root, *locks) if needed else nullcontext():
            yield artifacts

    def manifest(self) -> Manifest:
        """Return what the cache says of itself.

        Raises
        ------
        CatsDogsError
            There is no cache, or it is damaged.
        """
        if manifest := self.cache.manifest:
            return manifest
        message = f"there are no artifacts in {self.root}{waiting_note(self.cache.folder)}"
        raise CatsDogsError(message, "Run catsdogs run DATA, or catsdogs demo")


ArtifactsFolder = str | Path | Artifacts
"""How commands that write take an artifacts folder: by its path, or open, where they are a part of another command."""
