import io
import json
import pickle

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from catsdogs import CatsDogsError, head
from catsdogs.artifacts import Artifacts
from catsdogs.folds import draw_folds


@pytest.fixture(scope="module")
def problem():
    """Features that look like a network's: non-negative, of very different scales, two overlapping classes."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 300, np.int8)
    features = generator.gamma(1, 1, (300, 2048)) * generator.gamma(1, 1, 2048)
    features[:, :40] += 0.35 * labels[:, np.newaxis]
    digests = generator.integers(0, 256, (300, 16), np.uint8)
    return features.astype(np.float32), labels, draw_folds(digests, labels)


def test_the_head_is_the_optimum_that_scikit_learn_finds_at_tight_tolerance(problem):
    features, labels, _ = problem
    for c in (1e-4, 1e-2, 1):
        ours = head.fit(features, labels, c)
        theirs = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-10, max_iter=1000)
        theirs.fit(features.astype(np.float64), labels)
        assert np.linalg.norm(ours.coef_ - theirs.coef_) < 1e-4 * np.linalg.norm(theirs.coef_)
        assert ours.intercept_ == pytest.approx(theirs.intercept_, abs=1e-4)


def test_c_is_chosen_inside_the_path(problem):
    found = head.cross_validate(*problem)
    cs, losses = zip(*found.path, strict=True)
    assert list(cs) == sorted(cs)
    assert losses[cs.index(found.c)] == min(losses)
    assert cs[0] < found.c < cs[-1]


def test_where_the_features_tell_nothing_the_path_goes_on_to_stronger_regularisation():
    generator = np.random.default_rng(0)
    labels = np.arange(200, dtype=np.int8) % 2
    features = generator.normal(size=(200, 2048)).astype(np.float32)
    found = head.cross_validate(features, labels, draw_folds(generator.integers(0, 256, (200, 16), np.uint8), labels))
    losses = [loss for _, loss in found.path]
    assert min(losses) == pytest.approx(np.log(2), abs=0.01)
    assert found.path[0][0] < 1e-4 < found.path[-1][0]


def test_out_of_fold_probabilities_come_from_heads_that_did_not_see_the_image(problem):
    features, labels, folds = problem
    found = head.cross_validate(features, labels, folds)
    for fold in range(5):
        estimator = LogisticRegression(C=found.c, tol=1e-8, max_iter=10_000)
        estimator.fit((features - features.mean(axis=0))[folds != fold], labels[folds != fold])
        expected = estimator.predict_proba((features - features.mean(axis=0))[folds == fold])[:, 1]
        assert np.allclose(found.probabilities[folds == fold], expected, atol=1e-3)


def test_the_scale_of_the_features_changes_c_and_nothing_else(problem):
    features, labels, folds = problem
    plain, scaled = head.cross_validate(*problem), head.cross_validate(features * 1e4, labels, folds)
    assert scaled.c == pytest.approx(plain.c * 1e-8, rel=1e-3)
    assert np.allclose(scaled.probabilities, plain.probabilities, atol=1e-3)


def test_the_same_fit_gives_the_same_bits(problem):
    features, labels, folds = problem
    one, other = head.cross_validate(features, labels, folds), head.cross_validate(features, labels, folds)
    assert np.array_equal(one.probabilities, other.probabilities)
    assert np.array_equal(head.fit(features, labels, 1).coef_, head.fit(features, labels, 1).coef_)


def test_the_head_on_the_disk_and_the_estimator_give_the_same_probabilities(problem, tmp_path):
    features, labels, _ = problem
    head.save(Artifacts(tmp_path), head.fit(features, labels, 0.01), {})
    loaded, estimator = head.load(Artifacts(tmp_path)), joblib.load(tmp_path / "head.joblib")
    assert isinstance(estimator, LogisticRegression)
    assert np.allclose(loaded.probabilities(features), estimator.predict_proba(features)[:, 1], atol=1e-6)


def test_probabilities_of_features_far_out_are_0_or_1_and_of_nan_nan():
    sure = head.Head(np.full(3, 1e6), 0.0, {})
    features = np.array([[1, 1, 1], [-1, -1, -1], [np.nan, 0, 0]], np.float32)
    assert np.array_equal(sure.probabilities(features), [1, 0, np.nan], equal_nan=True)


def test_nothing_is_unpickled_when_a_head_is_loaded(problem, tmp_path):
    class Planted:
        def __reduce__(self):
            return (open, (str(tmp_path / "planted"), "w"))

    features, labels, _ = problem
    head.save(Artifacts(tmp_path), head.fit(features, labels, 0.01), {})
    (tmp_path / "head.joblib").write_bytes(pickle.dumps(Planted()))
    head.load(Artifacts(tmp_path))
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("damage", ["flipped", "shorter", "missing", "another"])
def test_a_damaged_head_is_refused(problem, tmp_path, damage):
    features, labels, _ = problem
    where = Artifacts(tmp_path)
    head.save(where, head.fit(features, labels, 0.01), {})
    content = bytearray(where.head.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    if damage == "another":
        other = io.BytesIO()
        np.savez(other, coefficients=np.zeros(2048), intercept=0.0)
        content = bytearray(other.getvalue())
    where.head.write_bytes(content[:100] if damage == "shorter" else content)
    if damage == "missing":
        where.head.unlink()
    with pytest.raises(CatsDogsError, match="Run catsdogs train"):
        head.load(where)


def test_a_head_of_another_format_is_refused(tmp_path):
    (tmp_path / "head.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(CatsDogsError, match=r"format 99.*Run catsdogs train"):
        head.load(Artifacts(tmp_path))
