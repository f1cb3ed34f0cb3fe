import csv
import json
import re
import shutil

import numpy as np
import pytest

import catsdogs
from catsdogs import CatsDogsError, import_features, load_features
from catsdogs.artifacts import Artifacts
from catsdogs.cli.summaries import training_lines
from catsdogs.head.metrics import log_loss
from catsdogs.head.staleness import check_head
from catsdogs.reporting.findings import gather

WRONG = ("cat.0", "dog.1", "cat.2", "dog.3")
"""Images whose label is wrong in the folders: their features are those of the other class."""


def make_features(count=120):
    """Return ids, labels of the folders and features, of which four have the other label."""
    generator = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.int8) % 2
    features = generator.normal(size=(count, 2048)).astype(np.float32)
    truth = np.where(np.arange(count) < len(WRONG), 1 - labels, labels)
    features[:, :80] += 0.8 * truth[:, np.newaxis]
    return [f"{('cat', 'dog')[label]}.{n}" for n, label in enumerate(labels)], labels, features


def fill(folder, ids, labels, features, **options):
    import_features(ids, labels, views={"224": features}, artifacts=folder, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    fill(folder, *make_features())
    catsdogs.train(folder)
    return folder


@pytest.fixture
def artifacts(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "artifacts")


@pytest.fixture
def write(tmp_path):
    def write_csv(text):
        path = tmp_path / "verdicts.csv"
        path.write_text(text)
        return path

    return write_csv


def rows_of(path):
    with path.open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def other(name):
    return "dog" if name.startswith("cat") else "cat"


def digest_of(artifacts, name):
    features = load_features(artifacts)
    return features.digests[features.ids.tolist().index(name)].tobytes().hex()


def test_verdicts_are_kept_by_digest_and_id_in_a_text_file(artifacts, write):
    done = catsdogs.correct(write("id,label\ncat.0,dog\ncat.4,keep\ndog.5,DROP\n"), artifacts=artifacts)
    assert (done.relabelled, done.kept, done.dropped, done.new) == (1, 1, 1, 3)
    rows = rows_of(done.path)
    assert {name: (row["label"], row["was"]) for name, row in rows.items()} == {
        "cat.0": ("dog", "cat"),
        "cat.4": ("cat", "cat"),
        "dog.5": ("drop", "dog"),
    }
    assert all(row["digest"] == digest_of(artifacts, name) for name, row in rows.items())


def test_training_applies_corrections_and_measures_what_they_change(artifacts):
    before = rows_of(artifacts / "predictions.csv")
    catsdogs.correct({name: other(name) for name in WRONG} | {"cat.10": "drop", "dog.11": "keep"}, artifacts=artifacts)
    assert check_head(Artifacts(artifacts))[1] == "the corrections changed after the head was trained"
    assert catsdogs.info(artifacts).corrections["relabelled"] == 4
    done = catsdogs.train(artifacts)
    assert check_head(Artifacts(artifacts))[1] is None
    metrics, after = done.metrics.corrections, rows_of(artifacts / "predictions.csv")
    assert (metrics.relabelled, metrics.kept, metrics.dropped, metrics.compared) == (4, 1, 1, 115)
    assert done.metrics.excluded == 1
    assert after["cat.10"]["correction"] == "dropped"
    assert {name: after[name]["label"] for name in WRONG} == {"cat.0": "1", "dog.1": "0", "cat.2": "1", "dog.3": "0"}
    assert {name: row["fold"] for name, row in after.items()} == {name: row["fold"] for name, row in before.items()}
    assert {name: row["uncorrected_logit"] for name, row in after.items()} == {
        name: row["logit"] for name, row in before.items()
    }
    unchanged = [name for name in before if name not in (*WRONG, "cat.10")]
    labels = np.array([int(before[name]["label"]) for name in unchanged])
    losses = [log_loss(labels, np.array([float(of[name]["logit"]) for name in unchanged])) for of in (before, after)]
    assert [metrics.log_loss_before, metrics.log_loss_after] == pytest.approx(losses)
    assert metrics.difference == pytest.approx(losses[1] - losses[0])
    assert metrics.interval[0] < metrics.difference < metrics.interval[1] < 0
    assert not {*rows_of(artifacts / "suspects.csv")} & {*WRONG, "cat.10", "dog.11"}


def test_where_every_image_is_relabelled_there_is_no_log_loss_to_compare(tmp_path):
    ids, labels, features = make_features()
    fill(tmp_path, ids, 1 - labels, features)
    catsdogs.correct(dict(zip(ids, np.array(["cat", "dog"])[labels].tolist(), strict=True)), artifacts=tmp_path)
    done = catsdogs.train(tmp_path)
    assert (done.metrics.corrections.relabelled, done.metrics.corrections.compared) == (len(ids), 0)
    written = json.loads((tmp_path / "metrics.json").read_text())["corrections"]
    assert {written[name] for name in ("log_loss_before", "log_loss_after", "difference", "interval")} == {None}
    said = [text for _, text in training_lines(done, tmp_path)]
    assert "120 images: 120 relabelled, 0 kept, 0 dropped" in said
    assert not [text for text in said if "nan" in text or "do not change" in text]
    catsdogs.report(tmp_path)
    assert "that they do not change" not in (tmp_path / "report.html").read_text()


def test_the_log_loss_before_is_computed_where_the_last_training_does_not_tell_it(artifacts, tmp_path):
    catsdogs.correct({name: other(name) for name in WRONG}, artifacts=artifacts)
    known = catsdogs.train(artifacts).metrics.corrections
    anew = tmp_path / "anew"
    fill(anew, *make_features())
    shutil.copy(artifacts / "corrections.csv", anew)
    assert catsdogs.train(anew).metrics.corrections == known
    assert catsdogs.train(anew).metrics.corrections == known


def test_a_head_that_lacks_a_correction_is_trained_again_and_one_that_has_it_is_not(artifacts):
    catsdogs.correct({"cat.0": "dog"}, artifacts=artifacts)
    assert any("corrections changed" in problem for problem in catsdogs.verify(artifacts).problems)
    assert "corrections changed" in catsdogs.info(artifacts).head["stale"]
    catsdogs.train(artifacts)
    assert not catsdogs.verify(artifacts).problems
    catsdogs.correct(undo=["cat.0"], artifacts=artifacts)
    assert check_head(Artifacts(artifacts))[1] == "the corrections changed after the head was trained"


def test_a_verdict_outlasts_a_new_name_and_another_folder(artifacts):
    catsdogs.correct({"cat.0": "dog", "dog.5": "keep"}, artifacts=artifacts)
    ids, labels, features = make_features()
    ids[0], ids[5], labels[5] = "cat.1000", "cat.5", 0
    fill(artifacts, ids, labels, features)
    done = catsdogs.train(artifacts).metrics.corrections
    assert (done.relabelled, done.kept, done.moved, done.unmatched) == (2, 0, 1, 0)
    rows = rows_of(artifacts / "predictions.csv")
    assert (rows["cat.1000"]["label"], rows["cat.5"]["label"]) == ("1", "1")
    assert catsdogs.correct(undo=["cat.1000"], artifacts=artifacts).undone == 1
    assert catsdogs.correct(undo=["dog.5"], artifacts=artifacts).undone == 1
    assert not (artifacts / "corrections.csv").exists()


def test_a_folder_that_now_agrees_with_the_verdict_is_no_contradiction(artifacts):
    catsdogs.correct({"cat.0": "dog"}, artifacts=artifacts)
    ids, labels, features = make_features()
    ids[0], labels[0] = "dog.0", 1
    fill(artifacts, ids, labels, features)
    done = catsdogs.correct(artifacts=artifacts)
    assert (done.relabelled, done.kept, done.moved) == (0, 1, 0)


def test_identical_images_share_a_verdict(tmp_path):
    ids, labels, features = make_features()
    features[7] = features[6]  # imported rows are identified by their features: cat.6 and dog.7 are identical
    fill(tmp_path, ids, labels, features)
    done = catsdogs.correct({"cat.6": "keep"}, artifacts=tmp_path)
    assert (done.kept, done.relabelled, done.new) == (1, 1, 1)
    with pytest.raises(CatsDogsError, match=r"cat\.6 and dog\.7, which are identical, both cat and dog"):
        catsdogs.correct({"cat.6": "keep", "dog.7": "keep"}, artifacts=tmp_path)


def test_a_later_verdict_replaces_an_earlier_one(artifacts):
    catsdogs.correct({"cat.0": "dog", "cat.2": "dog"}, artifacts=artifacts)
    done = catsdogs.correct({"cat.0": "drop", "cat.2": "dog"}, artifacts=artifacts)
    assert (done.new, done.replaced, done.dropped, done.relabelled) == (0, 1, 1, 1)


def test_a_row_with_a_digest_is_about_the_image_of_that_digest(artifacts, write):
    digest = digest_of(artifacts, "cat.2")
    done = catsdogs.correct(write(f"id,label,digest\nrenamed.since,dog,{digest.upper()}\n"), artifacts=artifacts)
    assert list(rows_of(done.path)) == ["cat.2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\ncat.999,dog\n", "'cat.999' in .* is not the id of a readable training image"),
        ("id,label\ncat.0,bird\n", "'bird' in .* is not a label, for cat.0. Use cat, dog, keep or drop"),
        ("id,label\ncat.0,\n", "'' in .* is not a label, for cat.0"),
        ("id,label\ncat.0,dog\ncat.0,drop\n", "contradicts itself: it labels cat.0 twice both dog and drop"),
        (f"id,label,digest\ncat.0,dog,{'0' * 32}\n", "has the digest .*, which no training image in .* has"),
        ("name,label\ncat.0,dog\n", 'it has no column "id"'),
        ("", 'it has no column "id"'),
    ],
)
def test_a_wrong_verdict_is_one_line_and_nothing_is_kept(artifacts, write, text, message):
    catsdogs.correct({"cat.2": "dog"}, artifacts=artifacts)
    before = (artifacts / "corrections.csv").read_bytes()
    with pytest.raises(CatsDogsError, match=message):
        catsdogs.correct(write(text), artifacts=artifacts)
    assert (artifacts / "corrections.csv").read_bytes() == before


def test_labels_by_id_may_be_other_things_than_text(tmp_path):
    ids, labels, features = make_features()
    fill(tmp_path, ids, labels, features, classes="0,1")
    with pytest.raises(CatsDogsError, match="'None' in the verdicts is not a label"):
        catsdogs.correct({"cat.0": None}, artifacts=tmp_path)
    assert catsdogs.correct({"cat.0": 1}, artifacts=tmp_path).relabelled == 1


def test_undoing_what_was_not_judged_is_one_line(artifacts):
    catsdogs.correct({"cat.0": "dog"}, artifacts=artifacts)
    with pytest.raises(CatsDogsError, match=r"there is no correction of 'cat\.2'"):
        catsdogs.correct(undo=["cat.0", "cat.2"], artifacts=artifacts)
    assert rows_of(artifacts / "corrections.csv")


def test_a_damaged_corrections_file_is_one_line_for_every_command(artifacts):
    (artifacts / "corrections.csv").write_text("id,digest,label,was\ncat.0,xyz,dog,cat\n")
    said = r"corrections\.csv is damaged: row 2 has no valid digest\. Fix or remove it; "
    for command in (catsdogs.train, catsdogs.report, catsdogs.review):
        with pytest.raises(CatsDogsError, match=said):
            command(artifacts)
    for command in (catsdogs.info, catsdogs.verify):
        (problem,) = command(artifacts).problems
        assert re.search(said, problem)


def test_a_class_that_was_renamed_after_corrections_is_one_line(artifacts):
    catsdogs.correct({"cat.0": "dog", "dog.1": "cat", "cat.2": "drop"}, artifacts=artifacts)
    path = artifacts / "corrections.csv"
    path.write_text(path.read_text().replace(",dog,", ",hound,").replace("drop", "Drop"))
    with pytest.raises(
        CatsDogsError, match=r"1 labels in corrections\.csv are neither cat nor dog .* 'hound' of cat\.0"
    ):
        catsdogs.train(artifacts)
    path.write_text(path.read_text().replace("hound", "dogs"))
    assert catsdogs.correct(artifacts=artifacts).dropped == 1


def test_corrections_that_leave_too_few_images_of_a_class_are_refused(artifacts):
    cats = [name for name in load_features(artifacts).ids.tolist() if name.startswith("cat")]
    catsdogs.correct(dict.fromkeys(cats[:-5], "drop"), artifacts=artifacts)
    with pytest.raises(CatsDogsError, match="remaining training images of the class cat: 5"):
        catsdogs.train(artifacts)


def test_a_class_that_is_called_drop_is_a_class(tmp_path):
    ids, labels, features = make_features()
    fill(tmp_path, ids, labels, features, classes="drop,keep")
    done = catsdogs.correct({"cat.0": "keep", "dog.1": "drop"}, artifacts=tmp_path)
    assert (done.relabelled, done.dropped) == (2, 0)
    catsdogs.train(tmp_path)
    with pytest.raises(CatsDogsError, match=r"a class is named drop, as a verdict of the page is\. Give the names"):
        catsdogs.review(tmp_path)


def test_the_report_shows_corrected_labels(artifacts):
    catsdogs.correct({"cat.0": "dog", "dog.5": "drop"}, artifacts=artifacts)
    catsdogs.train(artifacts)
    found = gather(Artifacts(artifacts))
    assert found.corrections == {"cat.0": "relabelled", "dog.5": "dropped"}
    page = catsdogs.report(artifacts).path.read_text()
    assert "Corrections: 1 relabelled, 0 kept, 1 dropped" in page
    assert json.loads((artifacts / "metrics.json").read_text())["corrections"]["relabelled"] == 1
