from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from catsdogs.head import dual
from catsdogs.head.dual import DualProblem, centred_gram, minimise_dual


@pytest.fixture
def rows():
    return np.sqrt(np.random.default_rng(0).gamma(1, 1, (120, 400)))


@pytest.fixture
def problem(rows):
    """Return a problem of five folds; its classes are separable."""
    generator = np.random.default_rng(1)
    labels = (rows[:, :30].sum(axis=1) + generator.normal(size=120) > np.median(rows[:, :30].sum(axis=1))).astype(
        np.int8
    )
    return DualProblem(centred_gram(rows @ rows.T), labels, np.arange(120)[:, np.newaxis] % 5 != np.arange(5))


def objective(rows, labels, coefficients, intercept, c):
    logits = rows @ coefficients + intercept
    return (np.logaddexp(0, logits) - labels * logits).sum() + coefficients @ coefficients / (2 * c)


@pytest.mark.parametrize("c", [1e-3, 0.1, 10, 1e4])
def test_the_optimum_is_that_of_newton_cholesky(rows, problem, c):
    found = minimise_dual(problem, c, tolerance=1e-9)
    centred = rows - rows.mean(axis=0)
    for fold in range(5):
        of_fold, labels = centred[problem.weights[:, fold]], problem.labels[problem.weights[:, fold]]
        theirs = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(of_fold, labels)
        lowest = objective(of_fold, labels, theirs.coef_[0], theirs.intercept_[0], c)
        ours = objective(of_fold, labels, centred.T @ found.coefficients[:-1, fold], found.coefficients[-1, fold], c)
        assert ours == pytest.approx(lowest, rel=1e-8)
        assert np.allclose(centred @ (centred.T @ found.coefficients[:-1]) + found.coefficients[-1], found.logits)


def test_with_a_weak_penalty_rounding_errors_do_not_grow(monkeypatch):
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(155, 40))
    kernel = np.exp(-((rows[:, np.newaxis] - rows) ** 2).sum(axis=2) / 80) + 1e-4 * np.eye(155)
    labels, folds = (generator.random(155) > 0.5).astype(np.int8), np.arange(155)[:, np.newaxis] % 5 != np.arange(5)
    problem, constants = DualProblem(centred_gram(kernel), labels, folds), []
    newton_step = dual._newton_step

    def watched(product, excess, spread, coefficients, inverse_c):
        constants.append(abs(coefficients[:, :-1].mean(axis=1)) / abs(coefficients[:, :-1]).max(axis=1).clip(1e-9))
        return newton_step(product, excess, spread, coefficients, inverse_c)

    monkeypatch.setattr(dual, "_newton_step", watched)
    found = minimise_dual(problem, 1e7, minimise_dual(problem, 10, tolerance=1e-2), tolerance=1e-12)
    assert np.max(constants) < 1e-6
    assert ((found.logits > 0) == labels[:, np.newaxis])[folds].all()


def test_the_start_changes_the_time_only(problem):
    start = minimise_dual(problem, 10, tolerance=1e-2)
    cold, warm = (minimise_dual(problem, 1, given, tolerance=1e-9) for given in (None, start))
    assert np.allclose(warm.logits, cold.logits, atol=1e-4)


@pytest.mark.parametrize("c", [1, 1e4])
def test_the_fit_of_the_opposite_labels_is_a_start_too(problem, c):
    single = replace(problem, gram=problem.gram.astype(np.float32))
    start = minimise_dual(replace(single, labels=1 - problem.labels), c, tolerance=1e-5)
    logits = minimise_dual(single, c, start, tolerance=1e-5).logits
    assert np.allclose(logits, minimise_dual(problem, c, tolerance=1e-9).logits, atol=0.2)


def test_labels_of_rows_without_weight_have_no_influence(problem):
    labels = np.where(problem.weights[:, 0], problem.labels, 1 - problem.labels)
    before, after = (
        minimise_dual(of, 1, tolerance=1e-9).logits[:, 0] for of in (problem, replace(problem, labels=labels))
    )
    assert np.allclose(before, after, atol=1e-4)


def test_float32_is_enough_for_a_path(problem):
    single = replace(problem, gram=problem.gram.astype(np.float32))
    rough, exact = (minimise_dual(of, 1, tolerance=1e-3).logits for of in (single, problem))
    assert rough.dtype == np.float32
    assert np.allclose(rough, exact, atol=1e-2)


def test_threads_that_share_the_products_change_the_time_only(problem, monkeypatch):
    alone = minimise_dual(problem, 1, tolerance=1e-9).logits
    monkeypatch.setattr(dual, "_MIN_SHARED", 1)
    monkeypatch.setattr(dual, "cpu_count", lambda: 3)
    assert np.allclose(minimise_dual(problem, 1, tolerance=1e-9).logits, alone, atol=1e-6)


def test_the_best_length_of_each_step_saves_steps(problem, monkeypatch):
    products = []
    counted = dual._product
    monkeypatch.setattr(dual, "_product", lambda *given: products.append(1) or counted(*given))
    minimise_dual(problem, 1e4, tolerance=1e-2)
    searched = len(products)
    monkeypatch.setattr(dual, "_LINE_SEARCH", 0)
    minimise_dual(problem, 1e4, tolerance=1e-2)
    assert searched < 0.8 * (len(products) - searched)
