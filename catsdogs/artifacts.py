"""Name every file of an artifacts folder."""

from dataclasses import dataclass
from pathlib import Path

from .errors import CatsDogsError
from .paths import user_path


@dataclass(frozen=True)
class Artifacts:
    """Where each file lies under one folder; nothing is created by asking.

    Raises
    ------
    CatsDogsError
        Something that is no folder lies there.
    """

    root: Path

    def __post_init__(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise CatsDogsError(f"{self.root} is not a folder", "Give --artifacts the folder where results go")

    @classmethod
    def at(cls, folder: "ArtifactsPath") -> "Artifacts":
        """Return the artifacts in a folder, given by its path or as what this has returned before."""
        return folder if isinstance(folder, Artifacts) else cls(user_path(folder))

    @property
    def features(self) -> Path:
        """Folder of the cache: ids, labels, digests and features of each split."""
        return self.root / "features"

    @property
    def duplicates(self) -> Path:
        """Pairs of images that are the same, or nearly so."""
        return self.features / "duplicates.npy"

    @property
    def duplicates_metadata(self) -> Path:
        """Which features the pairs are of."""
        return self.features / "duplicates.json"

    @property
    def head(self) -> Path:
        """Coefficients of the head, which this program reads."""
        return self.root / "head.npz"

    @property
    def head_metadata(self) -> Path:
        """What made the head."""
        return self.root / "head.json"

    @property
    def estimator(self) -> Path:
        """The head as a scikit-learn estimator, for people's own code; written, never read."""
        return self.root / "head.joblib"

    @property
    def metrics(self) -> Path:
        """Log loss, accuracy and how they came about."""
        return self.root / "metrics.json"

    @property
    def predictions(self) -> Path:
        """Out-of-fold prediction of every training image."""
        return self.root / "predictions.csv"

    @property
    def suspects(self) -> Path:
        """Training images whose label is probably wrong."""
        return self.root / "suspects.csv"

    @property
    def submission(self) -> Path:
        """What Kaggle takes."""
        return self.root / "submission.csv"

    def exported(self, format: str) -> Path:
        """Backbone and head as one network, in a format that other programs read: "keras" or "onnx"."""
        return self.root / f"catsdogs.{format}"

    @property
    def report(self) -> Path:
        """What people look at, with pictures."""
        return self.root / "report.html"

    @property
    def source(self) -> Path:
        """Where the images and the weights are."""
        return self.root / "source.json"

    @property
    def timings(self) -> Path:
        """How long each step took."""
        return self.root / "timings.json"


ArtifactsPath = str | Path | Artifacts
"""How the functions of this package take an artifacts folder."""
