import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import catsdogs
from catsdogs import CatsDogsError, import_features
from catsdogs.cli.summaries import training_lines
from catsdogs.head import studies


class Made(NamedTuple):
    """Artifacts of two overlapping classes with some wrong labels, and the expected studies."""

    artifacts: Path
    images: int
    wrong: int
    held_out: int
    curve: list[int]


@pytest.fixture(scope="module", params=["few", pytest.param("many", marks=pytest.mark.slow)])
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    generator = np.random.default_rng(0)
    if request.param == "few":
        made = Made(folder, 160, 5, 24, [50, 100, 128])
        features, signal = generator.normal(size=(160, 2048)), 0.8  # negative features, so only one transform is tried
    else:
        made = Made(folder, 700, 10, 104, [250, 500, 560])
        features, signal = generator.gamma(1, 1, (700, 2048)), 0.6
    labels = np.arange(made.images) % 2
    features[:, :60] += signal * labels[:, np.newaxis]
    labels[: made.wrong] = 1 - labels[: made.wrong]
    ids = [f"{('cat', 'dog')[label]}.{n}" for n, label in enumerate(labels)]
    import_features(ids, labels, views={"224": features.astype(np.float32)}, artifacts=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "_FIRST_SIZE", made.curve[0])
        yield made


@pytest.fixture(scope="module")
def studied(made):
    return catsdogs.train(made.artifacts, holdout=0.15, studies=("nested", "learning_curve"))


def test_the_studies_are_in_the_metrics_and_change_nothing_else(made, studied):
    metrics = json.loads((made.artifacts / "metrics.json").read_text())
    assert metrics == studied.metrics.to_dict()
    plain = catsdogs.train(made.artifacts).metrics
    assert replace(studied.metrics, holdout=None, learning_curve=()) == plain


def test_the_nested_score_is_close_to_the_cross_validated_score(studied):
    metrics = studied.metrics
    low, high = metrics.nested.intervals.log_loss
    assert low < metrics.nested.log_loss < high
    # Of the wrong labels, chance may gather several in one fold, with a head too sure of itself.
    assert metrics.log_loss / 2 < metrics.nested.log_loss < 3 * metrics.log_loss
    assert metrics.nested.clipped == pytest.approx(metrics.nested.log_loss, rel=0.5)


def test_a_stratified_share_is_held_out(made, studied):
    holdout = studied.metrics.holdout
    assert holdout.images == made.held_out
    assert holdout.fraction == 0.15
    assert 0.85 < holdout.accuracy <= 1


def test_more_images_make_a_better_head_and_the_last_point_is_all_of_them(made, studied):
    curve = studied.metrics.learning_curve
    assert [point.images for point in curve] == made.curve
    assert curve[0].log_loss > curve[-1].log_loss == pytest.approx(studied.metrics.log_loss)
    assert all(low < point.log_loss < high for point in curve for low, high in [point.interval])


def test_the_terminal_shows_each_study_within_80_columns(studied, tmp_path):
    lines = list(training_lines(studied, tmp_path))
    assert [name for name, _ in lines if name][:5] == ["head", "nested", "holdout", "curve", "suspects"]
    assert all(len(text) <= 68 for _, text in lines if str(tmp_path) not in text)


@pytest.mark.parametrize(
    ("log_loss", "said"), [(0.1, ", nested cross-validation"), (9.9, ": the figures above flatter")]
)
def test_the_terminal_says_where_the_selection_flatters_by_more_than_its_interval(studied, tmp_path, log_loss, said):
    metrics = replace(studied.metrics, nested=replace(studied.metrics.nested, log_loss=log_loss))
    (line,) = (text for name, text in training_lines(replace(studied, metrics=metrics), tmp_path) if name == "nested")
    assert line.startswith(f"log loss {log_loss:.4f} [")
    assert line.endswith(said)


def test_suspects_are_images_with_a_wrong_label_and_can_be_excluded(made):
    artifacts = made.artifacts
    catsdogs.train(artifacts)
    with (artifacts / "suspects.csv").open(newline="") as file:
        suspects = [row["id"] for row in csv.DictReader(file)]
    wrong = {f"{('cat', 'dog')[1 - n % 2]}.{n}" for n in range(made.wrong)}
    assert len(wrong & set(suspects)) >= made.wrong / 2
    assert len(set(suspects) - wrong) <= 2
    before = np.load(artifacts / "head.npz")["coefficients"]
    metrics = catsdogs.train(artifacts, exclude=artifacts / "suspects.csv").metrics
    assert (metrics.images, metrics.excluded) == (made.images, len(suspects))
    after = np.load(artifacts / "head.npz")["coefficients"]
    assert before.shape != after.shape or not np.allclose(before, after, rtol=0.01)
    with (artifacts / "predictions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == made.images


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"holdout": 1.5}, "the holdout is 1.5"),
        ({"holdout": 0.99}, r"remaining training images of the class cat: [14]\. Set --holdout"),
        ({"holdout": 0.01}, r"images held out of the class cat: [14]\. Set --holdout"),
        ({"studies": ["curve"]}, "'curve' is not a study. Give nested or learning_curve"),
        ({"exclude": "nowhere.csv"}, "nowhere.csv cannot be read: No such file"),
    ],
)
def test_invalid_options_are_refused_and_nothing_is_written(made, options, said):
    files = [path for path in made.artifacts.iterdir() if path.is_file() and path.name[0] != "."]
    before = {path: path.stat().st_mtime_ns for path in files}
    with pytest.raises(CatsDogsError, match=said):
        catsdogs.train(made.artifacts, **options)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"name\ncat.1\n", 'no column "id"'), (b"id\ncat.99999\n", "'cat.99999'"), (b"\xff\xfe", "cannot be read")],
)
def test_a_list_of_exclusions_must_name_training_images(made, tmp_path, content, said):
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(CatsDogsError, match=said):
        catsdogs.train(made.artifacts, exclude=tmp_path / "list.csv")
