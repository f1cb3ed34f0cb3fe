import csv
import json
import shutil
from dataclasses import replace

import joblib
import numpy as np
import pytest

import catsdogs
from catsdogs import CatsDogsError, import_features, load_features
from catsdogs.artifacts import Artifacts
from catsdogs.head.staleness import check_head
from catsdogs.reporting.findings import gather
from catsdogs.storage import to_sealed_json

FILES = ["head.npz", "head.json", "head.joblib", "metrics.json", "predictions.csv"]


def make_features(count, seed=0, *, rectified=False):
    """Return ids, labels and features of two classes that overlap a little.

    Of features that are rectified, as a network's are, all transforms are tried; of others only one, in less time.
    """
    generator = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int8) % 2
    features = generator.gamma(1, 1, (count, 2048)) if rectified else generator.normal(size=(count, 2048))
    features[:, :60] += (0.3 if rectified else 0.6) * labels[:, np.newaxis]
    ids = [f"{('cat', 'dog')[label]}.{n}" for n, label in enumerate(labels)]
    return ids, labels, features.astype(np.float32)


def staleness(folder):
    return check_head(Artifacts(folder))[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Artifacts of 100 images with a head."""
    folder = tmp_path_factory.mktemp("made")
    ids, labels, features = make_features(100)
    import_features(ids, labels, views={"224": features}, artifacts=folder)
    assert staleness(folder)
    catsdogs.train(folder)
    return folder


@pytest.fixture
def artifacts(made, tmp_path):
    return shutil.copytree(made, tmp_path / "artifacts")


@pytest.fixture(scope="module")
def rectified(tmp_path_factory):
    """Artifacts of 200 images of which all transforms were tried, and what `train` gave."""
    folder = tmp_path_factory.mktemp("rectified")
    ids, labels, features = make_features(200, rectified=True)
    import_features(ids, labels, views={"224": features}, artifacts=folder)
    return folder, catsdogs.train(folder)


def metrics_of(artifacts):
    return json.loads((artifacts / "metrics.json").read_text())


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_and_predictions_tell_the_same(rectified):
    artifacts, done = rectified
    metrics = json.loads((artifacts / "metrics.json").read_text())
    assert metrics == done.metrics.to_dict()
    rows = read_csv(artifacts / "predictions.csv")
    assert [row["id"] for row in rows] == load_features(artifacts).ids.tolist()
    labels = np.array([int(row["label"]) for row in rows])
    probabilities = np.array([float(row["probability"]) for row in rows])
    assert [int(row["id"].startswith("dog")) for row in rows] == labels.tolist()
    logits = np.array([float(row["logit"]) for row in rows])
    assert np.allclose(probabilities, 1 / (1 + np.exp(-logits)), rtol=1e-12)
    log_loss = -np.log(np.where(labels == 1, probabilities, 1 - probabilities))
    assert metrics["log_loss"] == pytest.approx(log_loss.mean())
    assert metrics["accuracy"] == np.mean((probabilities > 0.5) == labels)
    assert 0.01 < metrics["log_loss"] < 0.5
    for fold, scores in enumerate(metrics["folds"]):
        assert scores["log_loss"] == pytest.approx(log_loss[[int(row["fold"]) == fold for row in rows]].mean())
    path = {step["C"]: step["log_loss"] for step in metrics["paths"][metrics["transform"]]}
    assert path[metrics["C"]] <= 1.001 * min(step["log_loss"] for path in metrics["paths"].values() for step in path)


def test_a_wrong_label_far_out_leaves_all_figures_finite_and_in_agreement(tmp_path):
    """Its label is wrong, all heads are as sure as can be, and it is in the test split as well."""
    ids, labels, _ = make_features(200)
    features = 0.1 * np.random.default_rng(0).normal(size=(200, 2048)).astype(np.float32)
    features[:, :60] += np.where(labels, 1, -1)[:, np.newaxis]
    features[0, :60] = 70
    listed = tmp_path / "listed.csv"
    listed.write_text("id\ncat.0\n")
    artifacts = tmp_path / "artifacts"
    import_features(ids, labels, views={"224": features}, artifacts=artifacts)
    import_features(ids[:20], labels[:20], views={"224": features[:20]}, artifacts=artifacts, split="test")
    done = catsdogs.train(artifacts, exclude=listed, holdout=0.3, studies=("nested",))
    for path in artifacts.rglob("*.json"):
        json.loads(path.read_bytes(), parse_constant=pytest.fail)
    metrics = metrics_of(artifacts)
    assert metrics == done.metrics.to_dict()
    for scores in (metrics, metrics["test"], metrics["nested"], metrics["holdout"]):
        assert 0 <= scores["log_loss"] < 1000
    rows = read_csv(artifacts / "predictions.csv")
    labels, probabilities, logits = (
        np.array([float(row[name]) for row in rows]) for name in ("label", "probability", "logit")
    )
    assert (labels[0], logits[0] > 37) == (0, True)
    assert 0 < probabilities.min() < probabilities.max() < 1
    assert metrics["log_loss"] == pytest.approx(np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean())
    shown = gather(Artifacts(artifacts))
    assert np.array_equal(shown.train.logits, logits)
    assert np.array_equal(shown.train.probabilities, probabilities)
    assert 0 < shown.test.probabilities.min() < shown.test.probabilities.max() < 1


def test_the_order_of_the_images_does_not_matter(made, tmp_path):
    ids, labels, features = make_features(100)
    order = np.random.default_rng(1).permutation(100)
    # Other names give another natural order; the images are the same.
    import_features(
        [f"{ids[n].split('.')[0]}.{k}" for k, n in enumerate(order)],
        labels[order],
        views={"224": features[order]},
        artifacts=tmp_path,
    )
    assert catsdogs.train(tmp_path).metrics.log_loss == pytest.approx(metrics_of(made)["log_loss"], abs=1e-6)


def test_training_again_gives_the_same_bytes(made, artifacts):
    catsdogs.train(artifacts)
    assert [(artifacts / name).read_bytes() for name in FILES] == [(made / name).read_bytes() for name in FILES]


def test_the_same_features_give_the_same_head_whatever_was_there_before(artifacts, tmp_path):
    ids, labels, features = make_features(110)
    features[100:, :60] *= 3  # so that the head of the first hundred has another C
    for folder in (artifacts, tmp_path / "fresh"):
        import_features(ids, labels, views={"224": features}, artifacts=folder)
        catsdogs.train(folder)
    assert [(artifacts / name).read_bytes() for name in FILES] == [
        (tmp_path / "fresh" / name).read_bytes() for name in FILES
    ]


def test_a_head_is_current_until_the_features_change(artifacts):
    assert staleness(artifacts) is None
    ids, labels, features = make_features(110)
    import_features(ids, labels, views={"224": features}, artifacts=artifacts)
    assert staleness(artifacts)
    catsdogs.train(artifacts)
    assert staleness(artifacts) is None


def test_the_estimator_works_in_peoples_own_code_and_so_do_the_arrays(rectified):
    artifacts, _ = rectified
    features = np.load(artifacts / "features/train/224.npy")
    labels = np.load(artifacts / "features/train/labels.npy")
    probabilities = joblib.load(artifacts / "head.joblib").predict_proba(features)[:, 1]
    assert np.mean((probabilities > 0.5) == labels) > 0.95
    with np.load(artifacts / "head.npz") as head:
        rows = features if head["transform"] == "identity" else np.sqrt(features)
        if head["transform"] == "rbf":
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            rows = np.exp(2 * head["gamma"] * (rows @ head["landmarks"].T - 1))
        by_hand = 1 / (1 + np.exp(-(rows @ head["coefficients"] + head["intercept"])))
    assert np.allclose(by_hand, probabilities, atol=1e-5)


def test_a_labelled_test_split_is_scored_and_not_trained_on(artifacts):
    alone = metrics_of(artifacts)
    coefficients = np.load(artifacts / "head.npz")["coefficients"]
    ids, labels, features = make_features(80, seed=1)
    import_features(ids, labels, views={"224": features}, artifacts=artifacts, split="test")
    assert staleness(artifacts)
    with_test = catsdogs.train(artifacts).metrics
    assert np.array_equal(np.load(artifacts / "head.npz")["coefficients"], coefficients)
    test = with_test.test
    assert replace(with_test, test=None).to_dict() == alone
    probabilities = joblib.load(artifacts / "head.joblib").predict_proba(features)[:, 1]
    assert test.images == 80
    assert test.accuracy == np.mean((probabilities > 0.5) == labels)
    with pytest.raises(CatsDogsError, match="the test images are labelled"):
        catsdogs.submit(artifacts)


def test_images_without_a_label_are_left_out(made, tmp_path):
    ids, labels, features = make_features(100)
    more = ([*ids, "unknown.1"], [*labels, -1])
    import_features(*more, views={"224": np.vstack([features, features[:1] * 3])}, artifacts=tmp_path)
    found = catsdogs.train(tmp_path).metrics
    assert found.images == 100
    assert found.log_loss == pytest.approx(metrics_of(made)["log_loss"], abs=1e-6)


@pytest.mark.parametrize("labels", [[0] * 20, [0] * 16 + [1] * 4])
def test_too_few_images_of_a_class_are_refused_and_nothing_is_written(tmp_path, labels):
    features = np.random.default_rng(0).random((20, 2048)).astype(np.float32)
    import_features([str(n) for n in range(20)], labels, views={"224": features}, artifacts=tmp_path)
    with pytest.raises(CatsDogsError, match=r"readable training images of the class dog: [04]\. Give at least 10"):
        catsdogs.train(tmp_path)
    assert not (tmp_path / "head.json").exists()


def test_if_too_few_are_readable_a_reason_is_named(tmp_path, write_folder, cache_of):
    images = {f"{kind}/{n}.jpg": f"{kind}{n}".encode() for kind in ("cat", "dog") for n in range(12)}
    cache_of(write_folder(tmp_path / "data", images), tmp_path / "artifacts")
    with pytest.raises(CatsDogsError, match=r"class cat: 0\. .*; 24 are unreadable, such as cat\.0: not a JPEG"):
        catsdogs.train(tmp_path / "artifacts")


@pytest.mark.parametrize("noise", [0, 0.01])
def test_one_picture_many_times_is_refused_before_anything_is_fitted(tmp_path, noise):
    random = np.random.default_rng(0)
    pictures = random.gamma(0.5, size=(20, 2048))
    features = np.concatenate([np.repeat(pictures[:2], 6, axis=0), pictures])  # 12 cats of 2 pictures, 20 dogs
    features = (features * random.normal(1, noise, features.shape)).astype(np.float32)
    import_features([str(n) for n in range(32)], [0] * 12 + [1] * 20, views={"224": features}, artifacts=tmp_path)
    with pytest.raises(
        CatsDogsError, match=r"too few different training images of the class cat: [02]\. Give at least 5"
    ):
        catsdogs.train(tmp_path)
    assert not (tmp_path / "head.json").exists()


@pytest.mark.parametrize(
    ("pictures", "dimensions", "noise", "near_duplicates", "warning"),
    [
        (60, 2048, 0.02, True, None),
        (10, 2048, 0.02, True, "the 120 training images show only 10 different pictures, in several versions each"),
        (10, 2048, 0.02, False, None),
        (2, 2048, 0.2, True, "100 % of the training images are nearly the same as images in other folds"),
        (120, 3, 0, True, None),
    ],
    ids=["two of each", "twelve of each", "not looked for", "two films with a still camera", "a poor network"],
)
def test_too_few_pictures_are_one_line(tmp_path, caplog, pictures, dimensions, noise, near_duplicates, warning):
    random = np.random.default_rng(0)
    features = np.repeat(random.gamma(0.5, size=(pictures, dimensions)), 120 // pictures, axis=0)
    features = np.tile(features, 2048 // dimensions + 1)[:, :2048]
    features = (features * random.normal(1, noise, features.shape)).astype(np.float32)
    labels = np.repeat([0, 1], 60)
    import_features([str(n) for n in range(120)], labels, views={"224": features}, artifacts=tmp_path)
    catsdogs.train(tmp_path, near_duplicates=near_duplicates)
    assert len(caplog.messages) == (warning is not None)
    assert all(message.startswith(warning) for message in caplog.messages)


def test_without_features_the_command_that_makes_them_is_named(tmp_path):
    with pytest.raises(CatsDogsError, match=r"catsdogs extract DATA"):
        catsdogs.train(tmp_path)
    assert list(tmp_path.iterdir()) == []


def damage_file(path, damage):
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else whole.replace(b"0", b"1"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "changed"])
def test_a_head_is_stale_where_a_file_that_belongs_to_it_has_changed(artifacts, name, damage):
    damage_file(artifacts / name, damage)
    assert staleness(artifacts)


SLOW = {(name, damage) for name in FILES for damage in ("missing", "empty", "changed")} - {("head.json", "changed")}


@pytest.mark.parametrize(
    ("name", "damage"),
    [("head.json", "changed"), *(pytest.param(*of, marks=pytest.mark.slow) for of in sorted(SLOW))],
)
def test_training_mends_a_damaged_head_to_the_same_bytes(made, artifacts, name, damage):
    damage_file(artifacts / name, damage)
    catsdogs.train(artifacts)
    assert (artifacts / name).read_bytes() == (made / name).read_bytes()
    assert staleness(artifacts) is None


@pytest.mark.parametrize(("text", "other"), [("positive", "negative"), ('"cat"', '"cow"'), ("precision", "prediction")])
def test_a_changed_head_json_is_not_believed(artifacts, text, other):
    ids, _, features = make_features(20, seed=1)
    import_features(ids, None, views={"224": features}, artifacts=artifacts, split="test")
    facts = (artifacts / "head.json").read_text()
    assert text in facts
    (artifacts / "head.json").write_text(facts.replace(text, other))
    with pytest.raises(CatsDogsError, match=r"head.json is damaged.*Run catsdogs train"):
        catsdogs.submit(artifacts)
    assert "head.json is damaged" in catsdogs.info(artifacts).head["stale"]


def test_another_release_of_scikit_learn_makes_no_head_stale(artifacts):
    content = json.loads((artifacts / "head.json").read_text())
    content["versions"]["scikit-learn"] += ".1"
    del content["sha256"]
    (artifacts / "head.json").write_bytes(to_sealed_json(content))
    assert catsdogs.info(artifacts).head["stale"] is None
    assert catsdogs.verify(artifacts).problems == ()
