"""Ridge and logistic probes against scikit-learn and against closed forms; intervals against theory."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, f1_score

from interpret.analyzers.probing.baselines import (
    control_labels,
    majority,
    most_frequent_of_type,
    permuted_labels,
)
from interpret.analyzers.probing.logistic import fit_logistic, fit_logistic_path
from interpret.analyzers.probing.ridge import LAMBDAS, choose, moments, ridge_path
from interpret.analyzers.probing.uncertainty import ClusterBootstrap, Interval, over_draws

N_CLASSES = 4
N_TRAIN = 1500


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray]:
    """Correlated, badly scaled directions with labels drawn from a logistic model."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(30, 30)) * np.exp(rng.normal(size=30))
    X = rng.normal(size=(2500, 30)) @ mixing
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
    outputs = X @ rng.normal(size=(30, N_CLASSES)) * 0.7 + [0.5, 0, 0, -0.5]
    return X, (outputs + rng.gumbel(size=outputs.shape)).argmax(axis=1)


@pytest.mark.parametrize("lam", [1e-6, 1e-2, 1.0, 1e2])
def test_ridge_is_the_closed_form(problem: tuple[np.ndarray, np.ndarray], lam: float) -> None:
    X, y = problem
    tasks = np.stack([y, y[::-1]])
    path = ridge_path(moments(X, tasks, N_CLASSES))
    alpha = lam * path.scale * len(X)
    for task, labels in enumerate(tasks):
        reference = Ridge(alpha=alpha).fit(X.astype(np.float64), np.eye(N_CLASSES)[labels])
        weights, intercept = path.weights(lam, task)
        np.testing.assert_allclose(weights, reference.coef_.T, atol=1e-6)
        np.testing.assert_allclose(intercept, reference.intercept_, atol=1e-6)
        same = path.predict(X, lam, task) == reference.predict(X.astype(np.float64)).argmax(axis=1)
        assert same.mean() > 0.999


def test_moments_of_parts_add_up_to_those_of_the_whole(problem: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = problem
    whole = moments(X, y[None], N_CLASSES)
    parts = moments(X[:700], y[None, :700], N_CLASSES) + moments(X[700:], y[None, 700:], N_CLASSES)
    assert parts.n == whole.n
    np.testing.assert_allclose(parts.xx, whole.xx, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(parts.xy, whole.xy, rtol=1e-12, atol=1e-9)


def test_every_lambda_at_once_scores_as_one_by_one(problem: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = problem
    path = ridge_path(moments(X[:N_TRAIN], y[None, :N_TRAIN], N_CLASSES))
    at_once = path.accuracies(X[N_TRAIN:], y[None, N_TRAIN:])
    one_by_one = [(path.predict(X[N_TRAIN:], lam, 0) == y[N_TRAIN:]).mean() for lam in LAMBDAS.tolist()]
    np.testing.assert_allclose(at_once[0], one_by_one, atol=2e-3)


def test_of_equally_good_lambdas_the_largest_is_chosen() -> None:
    assert choose(np.array([[0.5, 0.7, 0.7, 0.1]]), np.array([1.0, 2.0, 3.0, 4.0])) == [3.0]


@pytest.mark.parametrize("l2", [1e-1, 1e-2, 1e-3])
def test_logistic_is_that_of_scikit_learn(problem: tuple[np.ndarray, np.ndarray], l2: float) -> None:
    X, y = problem
    path = ridge_path(moments(X[:N_TRAIN], y[None, :N_TRAIN], N_CLASSES))
    found = fit_logistic(X[:N_TRAIN], y[:N_TRAIN], l2, path)
    reference = LogisticRegression(C=1 / (l2 * N_TRAIN), max_iter=5000, tol=1e-8)
    reference.fit(X[:N_TRAIN].astype(np.float64), y[:N_TRAIN])
    assert found.converged
    np.testing.assert_allclose(found.weights, reference.coef_.T, atol=0.02)
    predicted = found.log_probabilities(X[N_TRAIN:]).argmax(axis=1)
    assert abs((predicted == y[N_TRAIN:]).mean() - reference.score(X[N_TRAIN:], y[N_TRAIN:])) <= 0.003
    np.testing.assert_allclose(np.exp(found.log_probabilities(X[:50])).sum(axis=1), 1.0)


def test_the_penalty_is_chosen_on_validation_and_the_fit_uses_both(
    problem: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = problem
    path = ridge_path(moments(X[:2000], y[None, :2000], N_CLASSES))
    found, l2 = fit_logistic_path(X[:2000], y[:2000], N_TRAIN, path)
    whole = fit_logistic(X[:2000], y[:2000], l2, path)
    np.testing.assert_allclose(found.weights, whole.weights, atol=0.05)
    assert l2 < 1.0


def test_on_shuffled_labels_probes_are_at_chance(problem: tuple[np.ndarray, np.ndarray]) -> None:
    X, _ = problem
    y = np.random.default_rng(1).choice(N_CLASSES, size=len(X), p=[0.55, 0.15, 0.15, 0.15])
    path = ridge_path(moments(X[:2000], y[None, :2000], N_CLASSES))
    found, _ = fit_logistic_path(X[:2000], y[:2000], N_TRAIN, path)
    log_p = found.log_probabilities(X[2000:])
    assert (log_p.argmax(axis=1) == y[2000:]).mean() <= (y[2000:] == 0).mean() + 0.03
    share = np.bincount(y[:2000]) / 2000
    gain = (log_p[np.arange(500), y[2000:]] - np.log(share)[y[2000:]]) / np.log(2)
    interval = ClusterBootstrap(np.arange(500)).mean(gain)
    assert interval.high is not None
    assert interval.high <= 0.02


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 3, size=400)
    predicted = np.where(rng.random(400) < 0.7, gold, rng.integers(0, 4, size=400))
    scores = ClusterBootstrap(np.arange(400) // 4, 200).score(predicted, gold, 5)
    assert scores["accuracy"].value == pytest.approx((gold == predicted).mean())
    with pytest.warns(UserWarning, match="not in y_true"):
        expected = balanced_accuracy_score(gold, predicted)
    assert scores["balanced_accuracy"].value == pytest.approx(expected)
    assert scores["macro_f1"].value == pytest.approx(f1_score(gold, predicted, average="macro"))
    for interval in scores.values():
        assert interval.low is not None
        assert interval.high is not None
        assert interval.value is not None
        assert interval.low < interval.value < interval.high


def test_the_interval_over_sentences_is_wider_than_over_words() -> None:
    """40 words a sentence that are right or wrong together: the standard error grows by the root of 40."""
    rng = np.random.default_rng(0)
    sentence = np.repeat(np.arange(100), 40)
    right = (rng.random(100) < 0.7)[sentence].astype(np.float64)
    by_sentence = ClusterBootstrap(sentence, 1000).mean(right)
    by_word = ClusterBootstrap(np.arange(4000), 1000).mean(right)
    widths = [i.high - i.low for i in (by_sentence, by_word) if i.high is not None and i.low is not None]
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(40), rel=0.15)


def test_replicates_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    clusters = np.arange(50)
    bootstrap = ClusterBootstrap(clusters, 100)
    totals = np.random.default_rng(0).normal(size=(50, 2))
    first = bootstrap.replicates(totals)
    np.testing.assert_array_equal(first, bootstrap.replicates(totals))
    monkeypatch.setattr("interpret.analyzers.probing.uncertainty._MAX_COUNTS", 1000)
    chunked = ClusterBootstrap(clusters, 100)
    again = chunked.replicates(totals)
    assert again.shape == first.shape
    np.testing.assert_array_equal(again, chunked.replicates(totals))


def test_a_task_drawn_like_a_control_falls_inside_the_widened_interval() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(1000):
        draws = rng.normal(0.6, 0.02, size=6)
        difference = draws[0] - draws[1:].mean()
        found = over_draws(Interval(difference, difference, difference), draws[1:], fresh=True)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0 <= found.high
    assert 0.93 <= inside / 1000 <= 0.97


def test_controls_fix_one_label_per_form() -> None:
    rng = np.random.default_rng(0)
    forms = [f"w{i}" for i in rng.integers(0, 300, size=5000)]
    labels = rng.choice(3, size=5000, p=[0.6, 0.3, 0.1])
    drawn = control_labels(forms, labels, [(0, i) for i in range(5)])
    for task in drawn:
        assert len(set(zip(forms, task.tolist(), strict=True))) == len(set(forms))
    assert np.bincount(drawn.ravel(), minlength=3) / drawn.size == pytest.approx([0.6, 0.3, 0.1], abs=0.05)
    assert not (drawn[0] == drawn[1]).all()
    permuted = permuted_labels(labels, [(0, 0)])
    assert (np.bincount(permuted[0]) == np.bincount(labels)).all()


def test_lexical_baseline_backs_off_to_the_majority() -> None:
    forms = ["a", "a", "a", "b", "c", "a", "b", "new"]
    labels = np.array([1, 1, 0, 2, 1, 0, 0, 0])
    assert most_frequent_of_type(forms, labels, 5).tolist()[5:] == [1, 2, 1]
    assert majority(labels, 5).tolist() == [1] * 8


@pytest.mark.parametrize("n", [10, 50, 300])
def test_what_never_varies_has_an_interval_all_the_same(n: int) -> None:
    """That of Clopper and Pearson over the clusters, as scipy has it: resampling would state that of no width."""
    from scipy.stats import binomtest

    gold = np.tile([0, 1], 2 * n)
    bootstrap = ClusterBootstrap(np.arange(4 * n) // 4, 100)
    scores = bootstrap.score(gold, gold, 2)
    exact = binomtest(n, n).proportion_ci(0.95, "exact")
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert scores[name] == pytest.approx((1.0, exact.low, 1.0))
    none = binomtest(0, n).proportion_ci(0.95, "exact")
    assert bootstrap.score(1 - gold, gold, 2)["accuracy"] == pytest.approx((0.0, 0.0, none.high))
    assert bootstrap.exact_end(Interval(0.0, 0.0, 0.0), signed=True) == pytest.approx((0.0, -none.high, none.high))
    # Where anything varies the bootstrap stands.
    varied = gold.copy()
    varied[:2] = 1 - varied[:2]
    found = bootstrap.score(varied, gold, 2)["accuracy"]
    assert bootstrap.exact_end(found) == found
    assert found.low < found.value < 1.0
