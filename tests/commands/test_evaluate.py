import json
import shutil
from dataclasses import replace

import joblib
import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score
from support.program import command

import catsdogs
from catsdogs import CatsDogsError, load_features
from catsdogs.cli.listings import evaluation_lines


@pytest.fixture(scope="module")
def draw_class(draw, encode):
    """Return ``draw_class(folder, label, seeds)``: pictures of a class, dogs a little brighter than cats."""

    def of_class(folder, label, seeds):
        return {
            f"{folder}/{n}.png": encode(draw(1000 * label + n).point(lambda value: value * (5 + label) // 6))
            for n in seeds
        }

    return of_class


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory, draw_class, write_folder, tiny_backbone):
    """A head of the layout of 2017, and the features of both of its splits."""
    folder = tmp_path_factory.mktemp("trained")
    data = {}
    for split, seeds in (("training", range(30)), ("testing", range(30, 40))):
        for label, kind in enumerate(("cat", "dog")):
            data |= draw_class(f"cats-dogs-{split}/{kind}", label, seeds)
    write_folder(folder / "data", data)
    catsdogs.run(folder / "data", artifacts=folder / "artifacts", weights=str(tiny_backbone))
    return folder / "artifacts"


@pytest.fixture
def testing(artifacts):
    return artifacts.parent / "data/cats-dogs-testing"


def tree(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_numbers_are_those_of_a_test_split_and_nothing_is_written(artifacts, testing):
    before = tree(artifacts)
    found = catsdogs.evaluate(testing, artifacts=artifacts)
    expected = json.loads((artifacts / "metrics.json").read_text())["test"]
    assert (found.images, found.seen, found.unlabelled, found.unreadable) == (20, 0, 0, {})
    names = ("log_loss", "accuracy", "auc", "brier", "calibration_error")
    for name in names:
        assert getattr(found.scores, name) == pytest.approx(expected[name], abs=1e-6)
        low, high = getattr(found.scores.intervals, name)
        assert low <= high
    low, high = found.scores.intervals.log_loss
    assert low < found.scores.log_loss < high
    test = load_features(artifacts, split="test")
    probabilities = joblib.load(artifacts / "head.joblib").predict_proba(test.features)[:, 1]
    assert found.scores.log_loss == pytest.approx(log_loss(test.labels, probabilities), abs=1e-6)
    assert found.scores.auc == pytest.approx(roc_auc_score(test.labels, probabilities), abs=1e-6)
    assert tree(artifacts) == before


def test_folders_zips_and_flat_files_give_the_same_numbers(artifacts, testing, tmp_path, write_folder, zipped):
    files = {str(path.relative_to(testing)): path.read_bytes() for path in testing.rglob("*.png")}
    (tmp_path / "one.zip").write_bytes(zipped(files))
    flat = {name.replace("/", "."): content for name, content in files.items()}
    forms = [tmp_path / "one.zip", write_folder(tmp_path / "flat", flat)]
    expected = catsdogs.evaluate(testing, artifacts=artifacts)
    assert all(catsdogs.evaluate(form, artifacts=artifacts) == expected for form in forms)


def test_what_has_no_label_or_cannot_be_read_is_counted_and_does_not_count(artifacts, testing, tmp_path, write_folder):
    files = {f"train/{path.relative_to(testing)}": path.read_bytes() for path in testing.rglob("*.png")}
    more = {"train/cat/bad.png": b"no image", "test/1.png": b"", "test/2.png": b"", "train/notes.txt": b""}
    data = write_folder(tmp_path / "data", files | more)
    found = catsdogs.evaluate(data, artifacts=artifacts)
    assert (found.images, found.unlabelled, found.skipped) == (20, 2, 1)
    assert list(found.unreadable) == [str(data / "train/cat/bad.png")]
    assert found.scores == catsdogs.evaluate(testing, artifacts=artifacts).scores
    said = "\n".join(text for _, text in evaluation_lines(found))
    for part in ("20 labelled images, cat and dog", "2 images without a label, 1 other file", "bad.png: not a JPEG"):
        assert part in said


def test_images_that_the_head_was_trained_on_are_counted(artifacts):
    found = catsdogs.evaluate(artifacts.parent / "data", artifacts=artifacts)
    assert (found.images, found.seen) == (80, 60)
    assert any("60 of them were trained on" in text for _, text in evaluation_lines(found))


def test_images_with_corrections_are_scored_by_the_labels_of_the_data_and_counted(artifacts, tmp_path):
    data, copy = artifacts.parent / "data", shutil.copytree(artifacts, tmp_path / "artifacts")
    before = catsdogs.evaluate(data, artifacts=copy)
    catsdogs.correct({"cat.0": "dog", "cat.1": "drop", "cat.2": "keep"}, artifacts=copy)
    found = catsdogs.evaluate(data, artifacts=copy)
    assert (found.scores, before.corrected, found.corrected) == (before.scores, 0, 2)
    said = "2 of them are corrected in corrections.csv, which does not count here"
    assert [any(said in text for _, text in evaluation_lines(of)) for of in (before, found)] == [False, True]
    assert catsdogs.evaluate(data / "cats-dogs-testing", artifacts=copy).corrected == 0


@pytest.mark.parametrize("damage", [b"id,digest", b"id,digest,label,was\nx,y,dog,cat\n", "bird"])
def test_damaged_corrections_are_told_and_the_scores_are_the_same(damage, artifacts, tmp_path):
    data, copy = artifacts.parent / "data", shutil.copytree(artifacts, tmp_path / "artifacts")
    expected = catsdogs.evaluate(data, artifacts=copy)
    catsdogs.correct({"cat.0": "dog"}, artifacts=copy)
    path = copy / "corrections.csv"
    path.write_bytes(path.read_bytes().replace(b",dog,", b",bird,") if damage == "bird" else damage)
    found = catsdogs.evaluate(data, artifacts=copy)
    assert found == replace(expected, corrected=None)
    assert found.to_dict()["corrected"] is None
    assert [text for _, text in evaluation_lines(found) if "corrections.csv is damaged" in text]
    assert [text for text in catsdogs.info(copy).problems if "corrections.csv" in text]


def test_images_that_were_left_out_of_training_do_not_count_as_trained_on(artifacts, tmp_path):
    copy = shutil.copytree(artifacts, tmp_path / "artifacts")
    (tmp_path / "listed.csv").write_text("id\ncat.0\ncat.1\ndog.7\n")
    catsdogs.train(copy, exclude=tmp_path / "listed.csv")
    found = catsdogs.evaluate(artifacts.parent / "data", artifacts=copy)
    assert (found.images, found.seen) == (80, 57)


def test_a_copy_under_another_name_that_was_trained_on_counts(
    artifacts, testing, tmp_path, write_folder, tiny_backbone
):
    training = testing.parent / "cats-dogs-training"
    files = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in training.rglob("*.png")}
    files["cat/copy.png"] = files["cat/0.png"]
    data = write_folder(tmp_path / "data", files)
    catsdogs.run(data, artifacts=tmp_path / "artifacts", weights=str(tiny_backbone))
    (tmp_path / "listed.csv").write_text("id\ncat.0\ncat.1\n")
    catsdogs.train(tmp_path / "artifacts", exclude=tmp_path / "listed.csv")
    found = catsdogs.evaluate(data, artifacts=tmp_path / "artifacts")
    assert (found.images, found.seen) == (61, 60)  # both names of the one, and all others but the other


def test_images_of_one_class_have_no_auc(artifacts, testing, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "dog").symlink_to(testing / "dog")
    found = catsdogs.evaluate(data, artifacts=artifacts)
    assert (found.images, found.scores.auc, found.scores.intervals.auc) == (10, None, None)
    assert any("AUC undefined" in text for _, text in evaluation_lines(found))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.png", "2.png"], "none of the 2 images in .* is labelled cat or dog, the classes of the head"),
        (["ants/1.png", "bees/1.png"], "2 of 2 images in .* are labelled neither cat nor dog: ants/1.png, bees/1.png"),
        (["ants.1.png", "bees.1.png"], "labelled neither cat nor dog"),
        (
            ["cat.1.png", "dog.1.png"],
            r"none of the 2 labelled images in .* is readable, such as .*cat\.1\.png: the file",
        ),
    ],
)
def test_data_with_nothing_to_evaluate_is_one_line(artifacts, tmp_path, write_folder, names, message):
    with pytest.raises(CatsDogsError, match=message) as error:
        catsdogs.evaluate(write_folder(tmp_path / "data", dict.fromkeys(names, b"")), artifacts=artifacts)
    assert len(str(error.value).splitlines()) == 1


def test_a_head_of_other_classes_takes_its_own(artifacts, draw_class, tmp_path, write_folder, tiny_backbone, testing):
    data = draw_class("ants", 0, range(12)) | draw_class("bees", 1, range(12))
    catsdogs.run(write_folder(tmp_path / "data", data), artifacts=tmp_path / "own", weights=str(tiny_backbone))
    others = draw_class("bees", 1, range(20, 24)) | draw_class("ants", 0, range(20, 24))
    others |= draw_class("wasps", 0, range(20, 24))
    found = catsdogs.evaluate(write_folder(tmp_path / "others", others), artifacts=tmp_path / "own")
    assert (found.classes, found.images, found.skipped) == (("ants", "bees"), 8, 4)
    with pytest.raises(CatsDogsError, match="neither ants nor bees"):
        catsdogs.evaluate(testing, artifacts=tmp_path / "own")


def test_heads_that_are_missing_or_of_imported_features_are_refused(testing, tmp_path):
    with pytest.raises(CatsDogsError, match="there are no features"):
        catsdogs.evaluate(testing, artifacts=tmp_path)
    features = np.random.default_rng(0).normal(size=(20, 2048)).astype(np.float32)
    catsdogs.import_features(
        [str(n) for n in range(20)], np.arange(20) % 2, views={"224": features}, artifacts=tmp_path
    )
    catsdogs.train(tmp_path)
    with pytest.raises(CatsDogsError, match="trained on imported features"):
        catsdogs.evaluate(testing, artifacts=tmp_path)


def test_the_command_shows_the_scores_with_their_intervals_or_all_as_json(artifacts, testing):
    shown = command("evaluate", testing, "--artifacts", artifacts)
    found = catsdogs.evaluate(testing, artifacts=artifacts)
    assert (shown.returncode, shown.stderr) == (0, "")
    scores = found.scores
    for name, text in (("log_loss", "log loss"), ("accuracy", "accuracy"), ("auc", "AUC"), ("brier", "Brier score")):
        low, high = getattr(scores.intervals, name)
        assert f"{text} {getattr(scores, name):.4f} [{low:.4f}, {high:.4f}]" in shown.stdout
    as_json = command("evaluate", testing, "--artifacts", artifacts, "--json")
    assert json.loads(as_json.stdout) == json.loads(json.dumps(found.to_dict()))


def test_equal_names_in_two_folders_are_all_scored(tmp_path, artifacts, draw_class, write_folder):
    files = {}
    for label, kind in enumerate(("cats", "dogs")):
        for number, batch in enumerate(("a", "b")):
            images = draw_class(f"{kind}/{batch}", label, range(50 + 10 * number, 54 + 10 * number))
            files |= {f"{kind}/{batch}/{n}.png": content for n, content in enumerate(images.values())}
    data = write_folder(tmp_path / "data", files)
    assert catsdogs.evaluate(data, artifacts=artifacts).images == 16
    assert len(catsdogs.predict(data, artifacts=artifacts)) == 16
