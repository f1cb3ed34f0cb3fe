import inspect
import json
import re
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path

import numpy as np
import pytest

import catsdogs
from catsdogs.result import Result


def to_strict_json(result):
    """Return what a program reads that is given the result as JSON, which must hold all that is documented."""
    values = result.to_dict()
    documented = re.findall(r"^(\w+(?:, \w+)*) : ", inspect.getdoc(type(result)), re.MULTILINE)
    assert documented
    names = {name for of_line in documented for name in of_line.split(", ")}
    if isinstance(result, catsdogs.Evaluation):
        names = names - {"scores"} | {"log_loss", "accuracy", "auc", "brier", "calibration_error", "intervals"}
    if isinstance(result, catsdogs.Prediction):
        names = names - {"preview"} - ({"reason"} if result.reason is None else set())
    assert set(values) == names
    read = json.loads(json.dumps(values, allow_nan=False))
    assert read == values  # no tuple, no number that is an array's, and no key that is no string
    return read


@pytest.fixture(scope="module")
def ran(tmp_path_factory, tiny_backbone, draw, encode, write_folder):
    """A folder with data/ and, made of that, artifacts/, and the result of making them."""
    folder = tmp_path_factory.mktemp("ran")
    images = {f"train/{kind}.{n}.jpg": 2 * n + (kind == "dog") for kind in ("cat", "dog") for n in range(10)}
    images |= {f"test/{n}.jpg": 100 + n for n in range(2)}
    data = write_folder(folder / "data", {name: encode(draw(seed), "JPEG") for name, seed in images.items()})
    (data / "test/bad.jpg").write_bytes(b"")
    return folder, catsdogs.run(data, artifacts=folder / "artifacts", weights=str(tiny_backbone))


def test_a_run_and_its_parts_are_json(ran):
    folder, done = ran
    values = to_strict_json(done)
    assert values["extraction"] == to_strict_json(done.extraction)
    assert values["submission"] == to_strict_json(done.submission)
    assert values["submission"]["path"] == str(folder / "artifacts/submission.csv")
    assert values["extraction"]["unreadable"] == {"train": {}, "test": {"bad": "the file is empty"}}
    assert values["extraction"]["classes"] == ["cat", "dog"]


def test_results_of_the_other_commands_are_json(ran, tmp_path):
    folder, _ = ran
    artifacts, data = folder / "artifacts", folder / "data"
    trained = to_strict_json(catsdogs.train(artifacts))
    assert trained["metrics"] == json.loads((artifacts / "metrics.json").read_text())
    assert to_strict_json(catsdogs.report(artifacts))["path"] == str(artifacts / "report.html")
    good, bad = catsdogs.predict([data / "test/1.jpg", data / "test/bad.jpg"], artifacts=artifacts, previews=2)
    assert to_strict_json(good)["probability"] == good.probability
    assert to_strict_json(bad)["reason"] == "the file is empty"
    scored = catsdogs.evaluate(data, artifacts=artifacts)
    assert to_strict_json(scored)["log_loss"] == scored.scores.log_loss
    assert to_strict_json(catsdogs.verify(artifacts))["images"] == {"train": 20, "test": 3}
    prepared = to_strict_json(catsdogs.prepare(data / "train", tmp_path / "prepared"))
    assert (prepared["folder"], prepared["unreadable"]) == (str(tmp_path / "prepared"), {})


def test_info_is_json_with_the_command_for_what_is_stale(ran):
    folder, _ = ran
    (folder / "artifacts/submission.csv").unlink()
    values = to_strict_json(catsdogs.info(folder / "artifacts"))
    assert values["features"]["provenance"]["engine"] == "numpy"
    assert [stale["what"] for stale in values["stale"]] == ["submission.csv"]
    assert values["stale"][0]["command"][:2] == ["catsdogs", "submit"]


@pytest.mark.slow
def test_results_of_the_demo_of_export_and_of_benchmark_are_json(tmp_path, keras_backbone):
    weights = str(keras_backbone)
    demo = to_strict_json(catsdogs.demo(tmp_path / "demo", weights=weights))
    assert demo["run"]["submission"]["images"] == 40
    assert demo["data"].startswith(str(tmp_path))
    exported = to_strict_json(catsdogs.export("keras", artifacts=tmp_path / "demo"))
    assert exported["inputs"] == {"image": [224, 224, 3]}
    measured = to_strict_json(catsdogs.benchmark(demo["data"], weights=weights, images=10))
    assert measured["engines"][0]["compute"] > 0


@dataclass(frozen=True)
class Numbers(Result):
    """Numbers that JSON lacks.

    Parameters
    ----------
    values : tuple of float
    path : Path
    """

    values: tuple[float, ...]
    path: Path


def test_a_number_that_is_not_finite_is_none():
    numbers = Numbers((1.5, float("inf"), float("nan"), np.int64(3), np.float32("nan")), Path("a/b"))
    assert to_strict_json(numbers) == {"values": [1.5, None, None, 3, None], "path": "a/b"}


def test_a_result_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Numbers((), Path()).path = None
