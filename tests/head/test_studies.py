import csv
import json

import numpy as np
import pytest

import catsdogs
from catsdogs import CatsDogsError, import_features
from catsdogs.cli.summaries import training_lines


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Artifacts of 700 images of two classes that overlap, ten of them with the wrong label."""
    folder = tmp_path_factory.mktemp("artifacts")
    generator = np.random.default_rng(0)
    labels = np.arange(700) % 2
    features = generator.gamma(1, 1, (700, 2048)).astype(np.float32)
    features[:, :60] += 0.6 * labels[:, np.newaxis]
    labels[:10] = 1 - labels[:10]
    ids = [f"{('cat', 'dog')[label]}.{n}" for n, label in enumerate(labels)]
    import_features(ids, labels, {"224": features}, artifacts=folder)
    return folder


@pytest.fixture(scope="module")
def studied(made):
    return catsdogs.train(made, holdout=0.15, studies=("nested", "learning_curve"))


def test_the_studies_are_in_the_metrics_and_change_nothing_else(made, studied):
    metrics = json.loads((made / "metrics.json").read_text())
    assert metrics == studied.metrics
    plain = catsdogs.train(made).metrics
    extra = {"holdout", "nested", "learning_curve"}
    assert {name: value for name, value in metrics.items() if name not in extra} == plain


def test_what_was_chosen_without_the_fold_scores_like_what_the_folds_chose(studied):
    metrics = studied.metrics
    low, high = metrics["nested"]["intervals"]["log_loss"]
    assert low < metrics["nested"]["log_loss"] < high
    # Of ten wrong labels, chance may gather several in one fold, with a head too sure of itself.
    assert metrics["log_loss"] / 2 < metrics["nested"]["log_loss"] < 3 * metrics["log_loss"]
    assert metrics["nested"]["clipped"] == pytest.approx(metrics["nested"]["log_loss"], rel=0.5)


def test_a_stratified_share_is_held_out(studied):
    holdout = studied.metrics["holdout"]
    assert holdout["images"] == 104
    assert holdout["share"] == 0.15
    assert 0.85 < holdout["accuracy"] <= 1


def test_more_images_make_a_better_head_and_the_last_point_is_all_of_them(studied):
    curve = studied.metrics["learning_curve"]
    assert [point["images"] for point in curve] == [250, 500, 560]
    assert curve[0]["log_loss"] > curve[-1]["log_loss"] == pytest.approx(studied.metrics["log_loss"])
    assert all(low < point["log_loss"] < high for point in curve for low, high in [point["interval"]])


def test_the_terminal_shows_each_study_within_80_columns(studied, tmp_path):
    lines = list(training_lines(studied, tmp_path))
    assert [name for name, _ in lines if name][:5] == ["head", "nested", "holdout", "curve", "suspects"]
    assert all(len(text) <= 68 for _, text in lines if str(tmp_path) not in text)


def test_suspects_are_the_images_with_a_wrong_label_and_can_be_left_out(made):
    catsdogs.train(made)
    with (made / "suspects.csv").open(newline="") as file:
        suspects = [row["id"] for row in csv.DictReader(file)]
    wrong = {f"{('cat', 'dog')[1 - n % 2]}.{n}" for n in range(10)}
    assert len(wrong & set(suspects)) >= 5
    assert len(set(suspects) - wrong) <= 2
    before = np.load(made / "head.npz")["coefficients"]
    metrics = catsdogs.train(made, exclude=made / "suspects.csv").metrics
    assert (metrics["images"], metrics["excluded"]) == (700, len(suspects))
    after = np.load(made / "head.npz")["coefficients"]
    assert before.shape != after.shape or not np.allclose(before, after, rtol=0.01)
    with (made / "predictions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 700


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"holdout": 1.5}, "the share to hold out is 1.5"),
        ({"holdout": 0.99}, "training images that are left of the class cat: 4"),
        ({"holdout": 0.01}, "images held out of the class cat: 4"),
        ({"exclude": "nowhere.csv"}, "nowhere.csv cannot be read: No such file"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(made, options, said):
    before = {path: path.stat().st_mtime_ns for path in made.iterdir() if path.is_file() and path.name[0] != "."}
    with pytest.raises(CatsDogsError, match=said):
        catsdogs.train(made, **options)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"name\ncat.1\n", 'no column "id"'), (b"id\ncat.99999\n", "'cat.99999'"), (b"\xff\xfe", "cannot be read")],
)
def test_a_list_of_what_to_leave_out_must_name_training_images(made, tmp_path, content, said):
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(CatsDogsError, match=said):
        catsdogs.train(made, exclude=tmp_path / "list.csv")
