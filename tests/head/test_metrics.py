import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from catsdogs.head.logits import to_probabilities
from catsdogs.head.metrics import best_clip, intervals, log_loss, score, wilson
from catsdogs.head.suspects import find_suspects


@pytest.fixture(scope="module")
def predictions():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 2000, np.int8)
    logits = 3 * labels - 1.5 + generator.normal(size=2000)
    return labels, np.round(logits, 2)  # rounded, so there are ties


def test_the_scores_are_those_of_scikit_learn(predictions):
    labels, logits = predictions
    probabilities = expit(logits)
    found = score(labels, logits)
    assert found.log_loss == pytest.approx(sklearn.metrics.log_loss(labels, probabilities), rel=1e-12)
    assert found.log_loss == pytest.approx(log_loss(labels, logits), rel=1e-12)
    clipped = sklearn.metrics.log_loss(labels, np.clip(probabilities, 0.05, 0.95))
    assert log_loss(labels, logits, clip=0.05) == pytest.approx(clipped, rel=1e-12)
    assert found.accuracy == pytest.approx(sklearn.metrics.accuracy_score(labels, probabilities > 0.5))
    assert found.auc == pytest.approx(sklearn.metrics.roc_auc_score(labels, logits))
    assert found.brier == pytest.approx(sklearn.metrics.brier_score_loss(labels, probabilities))


def test_the_calibration_error_is_the_gap_of_probability_and_frequency():
    labels = np.tile(np.array([0, 0, 0, 1], np.int8), 100)
    assert score(labels, np.full(400, logit(0.25))).calibration_error == pytest.approx(0)
    assert score(labels, np.full(400, logit(0.45))).calibration_error == pytest.approx(0.2)


def test_without_one_of_the_classes_there_is_no_auc():
    found = score(np.ones(5, np.int8), np.full(5, 2.0))
    assert found.auc is None
    assert found.accuracy == 1
    ends = intervals(np.ones(5, np.int8), np.full(5, 2.0))
    assert ends.auc is None
    assert ends.accuracy == pytest.approx([0.5655, 1], abs=1e-4)  # Wilson's, though every draw is all right


@pytest.mark.parametrize("far", [37.0, 50.0, 1000.0])
def test_a_wrong_label_costs_its_logit_however_far_out_it_is(far):
    labels, logits = np.array([1, 0, 0, 1], np.int8), np.array([-far, far, -far, far])
    assert log_loss(labels, logits) == pytest.approx(far / 2)
    found = score(labels, logits)
    assert (found.log_loss, found.auc, found.accuracy) == (pytest.approx(far / 2), 0.5, 0.5)
    low, high = intervals(labels, logits).log_loss
    assert 0 <= low <= far / 2 <= high <= far
    assert np.isfinite(best_clip(labels, logits))


def test_logits_that_give_the_same_probability_are_told_apart():
    labels, logits = np.array([0, 1, 1], np.int8), np.array([40.0, 41.0, 42.0])
    assert score(labels, logits).auc == 1
    assert find_suspects(np.array([0, 0, 0, 1, 1], np.int8), np.array([41.0, -50, 42, 60, 50])).tolist() == [2, 0]


@given(st.floats(-1e300, 1e300))
def test_no_finite_logit_has_a_probability_of_0_or_1(value):
    (probability,) = to_probabilities(np.array([value]))
    assert 0 < probability < 1
    assert probability == pytest.approx(expit(value), abs=2e-16)


def test_the_intervals_hold_what_other_draws_of_images_give(predictions):
    labels, logits = predictions
    ends = intervals(labels[:500], logits[:500])
    generator = np.random.default_rng(1)
    drawn = [generator.integers(500, size=500) for _ in range(400)]
    for name, (low, high) in ends.to_dict().items():
        values = np.array([getattr(score(labels[rows], logits[rows]), name) for rows in drawn])
        if name == "calibration_error":
            values -= np.median(values) - score(labels[:500], logits[:500]).calibration_error
        assert 0.9 < np.mean((values >= low) & (values <= high)) < 0.99


@pytest.mark.parametrize(("n", "seed"), [(30, 0), (200, 0), (200, 1), (1000, 4)])
def test_each_interval_contains_its_own_value(n, seed):
    generator = np.random.default_rng(seed)
    logits = 6 * generator.normal(size=n)
    labels = (generator.random(n) < expit(logits)).astype(np.int8)  # calibrated, so that its error is small
    for name, (low, high) in intervals(labels, logits).to_dict().items():
        assert 0 <= low <= getattr(score(labels, logits), name) <= high


def test_the_clip_is_where_the_log_loss_is_lowest(predictions):
    labels, _ = predictions
    wrong = labels.copy()
    wrong[:20] = 1 - wrong[:20]
    clip = best_clip(wrong, np.where(labels == 1, 1, -1) * logit(0.9999))
    # One in a hundred is wrong and all are equally confident, so the best clip is near 0.01.
    assert clip == pytest.approx(0.01, rel=0.15)


def test_where_all_is_right_there_is_a_clip_all_the_same():
    labels = np.array([0, 1] * 500, np.int8)
    assert 1e-5 < best_clip(labels, np.where(labels == 1, np.inf, -np.inf)) < 1e-3


@pytest.mark.slow  # for the import of scipy.stats
def test_intervals_of_shares_are_those_of_scipy():
    from scipy.stats import binomtest

    for hits, n in ((0, 1), (3, 3), (7, 20), (500, 1000)):
        expected = binomtest(hits, n).proportion_ci(0.95, "wilson")
        np.testing.assert_allclose(
            wilson(np.array([hits]), np.array([n])), [[expected.low], [expected.high]], atol=1e-6
        )
