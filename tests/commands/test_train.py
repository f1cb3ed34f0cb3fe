import csv
import json

import joblib
import numpy as np
import pytest

import catsdogs
from catsdogs import CatsDogsError, import_features, load_features
from catsdogs.head.staleness import head_staleness


def make_features(count, seed=0):
    """Return ids, labels and features of two classes that overlap a little."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int8) % 2
    features = generator.gamma(1, 1, (count, 2048)).astype(np.float32)
    features[:, :60] += 0.3 * labels[:, np.newaxis]
    return [f"{('cat', 'dog')[label]}.{n}" for n, label in enumerate(labels)], labels, features


@pytest.fixture
def artifacts(tmp_path):
    ids, labels, features = make_features(200)
    import_features(ids, labels, {"224": features}, artifacts=tmp_path)
    return tmp_path


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_and_predictions_tell_the_same(artifacts):
    done = catsdogs.train(artifacts)
    metrics = json.loads((artifacts / "metrics.json").read_text())
    assert metrics == done.metrics
    rows = read_csv(artifacts / "predictions.csv")
    assert [row["id"] for row in rows] == load_features(artifacts).ids.tolist()
    labels = np.array([int(row["label"]) for row in rows])
    probabilities = np.array([float(row["probability"]) for row in rows])
    assert [int(row["id"].startswith("dog")) for row in rows] == labels.tolist()
    log_loss = -np.log(np.where(labels == 1, probabilities, 1 - probabilities))
    assert metrics["log_loss"] == pytest.approx(log_loss.mean())
    assert metrics["accuracy"] == np.mean((probabilities > 0.5) == labels)
    assert 0.01 < metrics["log_loss"] < 0.5
    for fold, scores in enumerate(metrics["folds"]):
        assert scores["log_loss"] == pytest.approx(log_loss[[int(row["fold"]) == fold for row in rows]].mean())
    path = {step["C"]: step["log_loss"] for step in metrics["paths"][metrics["transform"]]}
    assert path[metrics["C"]] <= 1.001 * min(step["log_loss"] for path in metrics["paths"].values() for step in path)


def test_the_order_of_the_images_does_not_matter(artifacts, tmp_path_factory):
    catsdogs.train(artifacts)
    ids, labels, features = make_features(200)
    order = np.random.default_rng(1).permutation(200)
    renamed = tmp_path_factory.mktemp("renamed")
    # Other names give another natural order; the images are the same.
    import_features(
        [f"{ids[n].split('.')[0]}.{k}" for k, n in enumerate(order)],
        labels[order],
        {"224": features[order]},
        artifacts=renamed,
    )
    assert catsdogs.train(renamed).metrics["log_loss"] == pytest.approx(
        catsdogs.train(artifacts).metrics["log_loss"], abs=1e-6
    )


def test_training_again_gives_the_same_bytes(artifacts):
    catsdogs.train(artifacts)
    files = ["head.npz", "head.json", "head.joblib", "metrics.json", "predictions.csv"]
    before = [(artifacts / name).read_bytes() for name in files]
    catsdogs.train(artifacts)
    assert [(artifacts / name).read_bytes() for name in files] == before


def test_a_head_is_current_until_the_features_change(artifacts):
    assert head_staleness(artifacts)
    catsdogs.train(artifacts)
    assert head_staleness(artifacts) is None
    ids, labels, features = make_features(210)
    import_features(ids, labels, {"224": features}, artifacts=artifacts)
    assert head_staleness(artifacts)
    catsdogs.train(artifacts)
    assert head_staleness(artifacts) is None


def test_the_estimator_works_in_peoples_own_code_and_the_arrays_open_with_numpy(artifacts):
    catsdogs.train(artifacts)
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
    alone = catsdogs.train(artifacts).metrics
    coefficients = np.load(artifacts / "head.npz")["coefficients"]
    ids, labels, features = make_features(80, seed=1)
    import_features(ids, labels, {"224": features}, artifacts=artifacts, split="test")
    assert head_staleness(artifacts)
    with_test = catsdogs.train(artifacts).metrics
    assert np.array_equal(np.load(artifacts / "head.npz")["coefficients"], coefficients)
    test = with_test.pop("test")
    assert with_test == alone
    probabilities = joblib.load(artifacts / "head.joblib").predict_proba(features)[:, 1]
    assert test["images"] == 80
    assert test["accuracy"] == np.mean((probabilities > 0.5) == labels)
    with pytest.raises(CatsDogsError, match="the test images are labelled"):
        catsdogs.submit(artifacts)


def test_images_without_a_label_are_left_out(artifacts):
    expected = catsdogs.train(artifacts).metrics
    ids, labels, features = make_features(200)
    more = ([*ids, "unknown.1"], [*labels, -1], {"224": np.vstack([features, features[:1] * 3])})
    import_features(*more, artifacts=artifacts)
    found = catsdogs.train(artifacts).metrics
    assert found["images"] == 200
    assert found["log_loss"] == pytest.approx(expected["log_loss"], abs=1e-6)


@pytest.mark.parametrize("labels", [[0] * 20, [0] * 16 + [1] * 4])
def test_too_few_images_of_a_class_are_refused_and_nothing_is_written(tmp_path, labels):
    features = np.random.default_rng(0).random((20, 2048)).astype(np.float32)
    import_features([str(n) for n in range(20)], labels, {"224": features}, artifacts=tmp_path)
    with pytest.raises(CatsDogsError, match=r"readable training images of the class dog: [04]\. Give at least 10"):
        catsdogs.train(tmp_path)
    assert not (tmp_path / "head.json").exists()


def test_without_features_the_command_that_makes_them_is_named(tmp_path):
    with pytest.raises(CatsDogsError, match="Run catsdogs extract DATA first"):
        catsdogs.train(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["head.npz", "head.json", "head.joblib", "metrics.json", "predictions.csv"])
@pytest.mark.parametrize("damage", ["missing", "empty", "changed"])
def test_a_head_is_not_valid_when_a_file_that_was_written_with_it_is_not_what_it_was(artifacts, name, damage):
    catsdogs.train(artifacts)
    whole = (artifacts / name).read_bytes()
    if damage == "missing":
        (artifacts / name).unlink()
    else:
        (artifacts / name).write_bytes(b"" if damage == "empty" else whole.replace(b"0", b"1"))
    assert head_staleness(artifacts)
    catsdogs.train(artifacts)
    assert (artifacts / name).read_bytes() == whole
    assert head_staleness(artifacts) is None


@pytest.mark.parametrize(("text", "other"), [("positive", "negative"), ('"cat"', '"cow"'), ("precision", "prediction")])
def test_a_changed_head_json_is_not_believed(artifacts, text, other):
    ids, _, features = make_features(20, seed=1)
    import_features(ids, None, {"224": features}, artifacts=artifacts, split="test")
    catsdogs.train(artifacts)
    facts = (artifacts / "head.json").read_text()
    assert text in facts
    (artifacts / "head.json").write_text(facts.replace(text, other))
    with pytest.raises(CatsDogsError, match=r"head.json is damaged.*Run catsdogs train"):
        catsdogs.submit(artifacts)
    assert "head.json is damaged" in catsdogs.info(artifacts).head["stale"]
