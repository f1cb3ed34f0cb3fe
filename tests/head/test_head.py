import pickle
from dataclasses import replace

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from support.head import METADATA, with_choice

from catsdogs import head
from catsdogs.artifacts import Artifacts
from catsdogs.cache import group_keys
from catsdogs.head import TrainingSet
from catsdogs.head import paths as of_paths
from catsdogs.head import validation as of_validation
from catsdogs.head.designs import Kernel
from catsdogs.head.folds import draw_folds, draw_order
from catsdogs.head.logits import to_probabilities
from catsdogs.head.metrics import log_loss

TRANSFORMS = ["identity", "sqrt", "rbf"]
QUICK = [pytest.param("identity", marks=pytest.mark.slow), "sqrt", "rbf"]
"""Two of them where nothing differs between those that are linear."""

COUNT = 200


def make_training_set(count, *, views=1, signal=0.35, seed=0):
    """Features like those of a network: non-negative, of very different scales, two overlapping classes."""
    generator = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).astype(np.int8)
    features = generator.gamma(1, 1, (count, 2048)) * generator.gamma(1, 1, 2048)
    features[:, :40] += signal * labels[:, np.newaxis]
    noisy = [features * generator.uniform(0.8, 1.2, features.shape) for _ in range(views)]
    digests = generator.integers(0, 256, (count, 16), np.uint8)
    return TrainingSet(
        np.hstack(noisy).astype(np.float32),
        labels,
        draw_folds(group_keys(digests), labels),
        draw_order(digests),
        np.ones(count, bool),
    )


@pytest.fixture(scope="module")
def training_set():
    return make_training_set(COUNT)


@pytest.fixture(scope="module")
def found(training_set):
    return head.cross_validate(training_set)


def probabilities(found):
    return to_probabilities(found.logits)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("c", [0.01, 10])
def test_the_head_is_the_optimum_of_scikit_learn_at_a_tight_tolerance(transform, c):
    training_set = make_training_set(COUNT, views=2)
    fitted = head.fit(training_set, with_choice(training_set, transform, c))
    ours = fitted.estimator[-1]
    rows = np.asarray(fitted.estimator[:-1].transform(training_set.features), np.float64)
    theirs = LogisticRegression(C=ours.C, solver="newton-cg", tol=1e-10, max_iter=1000).fit(rows, training_set.labels)
    assert np.linalg.norm(ours.coef_ - theirs.coef_) < 1e-4 * np.linalg.norm(theirs.coef_)
    assert ours.intercept_ == pytest.approx(theirs.intercept_, abs=1e-4)
    assert fitted.gradient_norm < 1e-6


def test_the_selected_c_has_the_lowest_loss_and_is_not_at_an_edge(found):
    losses = {name: dict(path.points) for name, path in found.paths.items()}
    assert set(losses) == set(TRANSFORMS)
    selected = losses[found.transform][found.C]
    assert selected <= 1.01 * min(losses[found.transform].values())
    assert selected <= of_validation._MIN_LEAD * min(min(path.values()) for path in losses.values())
    for path in losses.values():
        assert list(path) == sorted(path)
        best = min(path, key=path.__getitem__)
        assert min(path) < best < max(path)


def test_c_is_selected_by_finite_losses_despite_an_extreme_wrong_label():
    # Like a suspect in suspects.csv, it is excluded from training, but scored.
    training_set = make_training_set(COUNT)
    signs, wrong = np.where(training_set.labels, 1, -1), np.arange(COUNT) == 0
    features = 0.1 * np.random.default_rng(0).normal(size=(COUNT, 2048))
    features[:, :60] += np.where(wrong, 70, signs)[:, np.newaxis]
    found = head.cross_validate(replace(training_set, features=features.astype(np.float32), train_mask=~wrong))
    ((transform, path),) = found.paths.items()
    losses = dict(path.points)
    assert np.isfinite(list(losses.values())).all()
    assert (training_set.labels[0], found.logits[0] > 37) == (0, True)
    assert found.transform == transform
    assert losses[found.C] <= 1.01 * min(losses.values())


def test_the_path_of_separable_classes_ends_and_few_images_are_not_predicted_with_certainty():
    training_set = make_training_set(COUNT)
    features = training_set.features + 8 * (training_set.labels[:, np.newaxis] * (np.arange(2048) < 20))
    found = head.cross_validate(replace(training_set, features=features.astype(np.float32)))
    losses = dict(found.paths[found.transform].points)
    assert min(losses) < found.C < max(losses)
    assert len(losses) < 12
    # As if a quarter of an image more were wrong, an error of 1 in 4 n is expected.
    assert 0.1 / COUNT < np.median(1 - np.abs(training_set.labels - 1 + probabilities(found))) < 2 / COUNT


def test_uninformative_features_are_regularised_strongly():
    generator = np.random.default_rng(0)
    digests = generator.integers(0, 256, (200, 16), np.uint8)
    labels = np.arange(200, dtype=np.int8) % 2
    nothing = TrainingSet(
        generator.random((200, 2048), np.float32),
        labels,
        draw_folds(group_keys(digests), labels),
        draw_order(digests),
        np.ones(200, bool),
    )
    found = head.cross_validate(nothing)
    assert log_loss(labels, found.logits) == pytest.approx(np.log(2), abs=0.01)
    assert all(len(path.points) < 20 for path in found.paths.values())


@pytest.mark.parametrize("transform", QUICK)
def test_out_of_fold_heads_were_not_trained_on_the_image(training_set, transform):
    found = with_choice(training_set, transform, 1.0)
    for fold in range(5):
        held = training_set.folds == fold
        rest = training_set.subset(~held)
        # The head of a fold depends on the images it scores only through the kernel's gamma.
        alone = head.fit(rest, with_choice(rest, transform, found.C)).classifier
        assert np.allclose(probabilities(found)[held], alone.probabilities(training_set.features[held]), atol=2e-3)


def test_labels_of_a_fold_do_not_change_its_probabilities(training_set):
    other = replace(
        training_set, labels=np.where(training_set.folds == 2, 1 - training_set.labels, training_set.labels)
    )
    for transform in TRANSFORMS:
        before, after = (probabilities(with_choice(given, transform, 1.0)) for given in (training_set, other))
        assert np.allclose(before[training_set.folds == 2], after[training_set.folds == 2], atol=1e-4)
        assert not np.allclose(before, after, atol=1e-2)


def test_inner_heads_were_trained_neither_on_the_outer_fold_nor_on_the_image(training_set):
    found = with_choice(training_set, "sqrt", 1.0)
    ((_, inner),) = found.paths["sqrt"].inner_logits()
    rest = training_set.subset(~np.isin(training_set.folds, (1, 3)))
    alone = head.fit(rest, with_choice(rest, "sqrt", 1.0)).classifier.logits(training_set.features)
    for outer, scored in ((1, 3), (3, 1)):
        assert np.allclose(inner[training_set.folds == scored, outer], alone[training_set.folds == scored], atol=0.05)
        assert np.isnan(inner[training_set.folds == outer, outer]).all()


@pytest.mark.parametrize("transform", QUICK)
def test_excluded_images_are_scored_but_not_trained_on(training_set, transform):
    train_mask = np.arange(COUNT) % 10 != 3
    wrong = np.where(train_mask, training_set.labels, 1 - training_set.labels)
    given = [replace(training_set, train_mask=train_mask, labels=labels) for labels in (training_set.labels, wrong)]
    found = [with_choice(one, transform, 1.0) for one in given]
    assert np.array_equal(found[0].logits, found[1].logits)
    fitted = [head.fit(*both).classifier.coefficients for both in zip(given, found, strict=True)]
    assert np.array_equal(*fitted)


def test_the_order_of_the_rows_does_not_matter(training_set, found):
    shuffled = np.random.default_rng(1).permutation(COUNT)
    place = np.argsort(shuffled)
    other = head.cross_validate(
        TrainingSet(
            training_set.features[shuffled],
            training_set.labels[shuffled],
            training_set.folds[shuffled],
            place[training_set.order],
            training_set.train_mask,
        )
    )
    assert (other.transform, other.C) == (found.transform, found.C)
    assert np.allclose(probabilities(other)[place], probabilities(found), atol=1e-5)
    losses = [log_loss(training_set.labels, logits) for logits in (other.logits[place], found.logits)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_the_scale_of_the_features_changes_c_and_nothing_else(training_set, found):
    scaled = head.cross_validate(replace(training_set, features=training_set.features * np.float32(100)))
    assert scaled.transform == found.transform
    assert np.allclose(probabilities(scaled), probabilities(found), atol=1e-3)


def test_the_same_fit_gives_identical_coefficients(training_set, found):
    again = head.cross_validate(training_set)
    assert np.array_equal(again.logits, found.logits)
    assert np.array_equal(
        head.fit(training_set, again).classifier.coefficients, head.fit(training_set, found).classifier.coefficients
    )


def test_negative_features_use_the_identity_transform():
    training_set = make_training_set(COUNT)
    found = head.cross_validate(replace(training_set, features=training_set.features - 1))
    assert list(found.paths) == ["identity"]


def make_many(monkeypatch, features, labels, landmarks):
    """Return a training set that counts as large."""
    monkeypatch.setattr(of_validation, "_TRIAL_SIZE", 150)
    monkeypatch.setattr(of_paths, "are_few", lambda images: images < 500)
    monkeypatch.setattr(of_paths, "landmark_count", lambda images: landmarks)
    digests = np.random.default_rng(1).integers(0, 256, (len(labels), 16), np.uint8)
    folds = draw_folds(group_keys(digests), labels)
    return TrainingSet(features, labels, folds, draw_order(digests), np.ones(len(labels), bool))


@pytest.mark.slow
def test_a_linear_transform_that_leads_in_the_trial_is_fitted_on_all(monkeypatch):
    # The classes differ in the length of their rows, which "rbf" normalises.
    generator = np.random.default_rng(0)
    labels = (np.arange(600) % 2).astype(np.int8)
    features = generator.uniform(0.5, 1, (600, 2048)).astype(np.float32)
    features *= (generator.uniform(0.8, 1, 600) + 0.15 * labels)[:, np.newaxis].astype(np.float32)
    found = head.cross_validate(make_many(monkeypatch, features, labels, 100))
    assert set(found.trials) == {"rbf", "sqrt"}
    assert found.transform in ("identity", "sqrt")


def test_a_linear_transform_without_a_lead_in_the_trial_is_skipped(monkeypatch):
    # One class surrounds the other.
    generator = np.random.default_rng(0)
    labels = (np.arange(600) % 2).astype(np.int8)
    features = np.ones((600, 2048), np.float32)
    features[:, :40] += generator.normal(size=(600, 40)) * np.where(labels, 0.3, 0.1)[:, np.newaxis]
    found = head.cross_validate(make_many(monkeypatch, np.maximum(features, 0), labels, 100))
    assert set(found.trials) == {"rbf", "sqrt"}
    assert set(found.paths) == {"rbf"}
    assert len(found.trials["rbf"].points) == 1  # which is good enough


def test_a_trial_has_a_part_of_the_kernel_and_scores_excluded_images(training_set):
    excluding = replace(training_set, train_mask=np.arange(COUNT) % 7 != 0)
    kept = np.isin(np.arange(COUNT), training_set.order[:120])
    trials = (
        of_paths.RegularisationPath(excluding, "rbf").first(kept),
        of_paths.RegularisationPath(excluding.subset(kept), "rbf"),
    )
    for trial in trials:
        trial.fit(8)
    part, own = (trial.out_of_fold(8) for trial in trials)  # the width of the kernel differs a little
    assert np.allclose(part, own, atol=0.01 * own.std())


def test_the_kernel_between_the_landmarks_is_that_of_any_rows():
    rows = np.random.default_rng(0).gamma(1, 1, (600, 2048)).astype(np.float32)
    kernel = Kernel(rows / np.linalg.norm(rows, axis=1, keepdims=True), 3.0)
    similarity = kernel.compare(kernel.landmarks)
    assert np.allclose(similarity, kernel.compare(kernel.landmarks.copy()), atol=1e-6)
    assert np.allclose(similarity, similarity.T, atol=1e-6)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("views", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_saved_head_and_the_estimator_give_equal_probabilities(tmp_path, transform, views):
    training_set = make_training_set(COUNT, views=views)
    head.save(
        Artifacts(tmp_path), head.fit(training_set, with_choice(training_set, transform, 1.0)), METADATA, extra_files={}
    )
    loaded, estimator = head.load(Artifacts(tmp_path)), joblib.load(tmp_path / "head.joblib")
    assert isinstance(estimator, Pipeline)
    assert isinstance(estimator[-1], LogisticRegression)
    ours = loaded.classifier.probabilities(training_set.features)
    assert np.allclose(ours, estimator.predict_proba(training_set.features)[:, 1], atol=1e-5)


def test_the_estimator_needs_no_code_of_this_package(training_set, found, tmp_path):
    fitted = head.fit(training_set, with_choice(training_set, "rbf", 1.0))
    assert b"catsdogs" not in pickle.dumps(fitted.estimator)


def test_extreme_probabilities_are_inside_0_and_1_and_nan_stays_nan():
    sure = head.Classifier("identity", np.full(2048, 1e6), 0.0)
    features = np.array([[1] * 2048, [-1] * 2048, [np.nan] + [0] * 2047], np.float32)
    expected = [np.nextafter(1, 0), np.finfo(float).tiny, np.nan]
    assert np.array_equal(sure.probabilities(features), expected, equal_nan=True)


def test_features_that_are_all_zero_have_a_probability(training_set):
    for transform in TRANSFORMS:
        fitted = head.fit(training_set, with_choice(training_set, transform, 1.0))
        zeros = np.zeros((1, 2048), np.float32)
        theirs = fitted.estimator.predict_proba(zeros)[:, 1]
        assert fitted.classifier.probabilities(zeros) == pytest.approx(theirs, abs=1e-5)


def test_nothing_is_unpickled_when_a_head_is_loaded(training_set, found, tmp_path):
    class Planted:
        def __reduce__(self):
            return (open, (str(tmp_path / "planted"), "w"))

    head.save(Artifacts(tmp_path), head.fit(training_set, found), METADATA, extra_files={})
    (tmp_path / "head.joblib").write_bytes(pickle.dumps(Planted()))
    head.load(Artifacts(tmp_path))
    assert not (tmp_path / "planted").exists()
