from pathlib import Path

from catsdogs.artifacts import Artifacts


def test_asking_for_the_path_of_a_file_creates_nothing(tmp_path):
    artifacts = Artifacts(tmp_path / "artifacts")
    paths = [value for value in vars(artifacts).values() if isinstance(value, Path)]
    assert {str(path.relative_to(artifacts.root)) for path in paths} == {
        ".",
        "corrections.csv",
        "features",
        "head.npz",
        "head.json",
        "head.joblib",
        "metrics.json",
        "suspects.csv",
        "predictions.csv",
        "submission.csv",
        "report.html",
        "review.html",
        "source.json",
        "timings.json",
    }
    assert not artifacts.root.exists()
