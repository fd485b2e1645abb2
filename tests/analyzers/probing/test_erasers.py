"""LEACE against its definition, INLP against what it promises, and both against probes of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier

from interpret.analyzers.probing.erasers import CrossMoments, Eraser, displaced, inlp, leace, random_eraser
from interpret.analyzers.probing.nonlinear import hidden_layer, nearest_neighbours
from interpret.analyzers.probing.ridge import LAMBDAS, moments, ridge_path

N, D, K = 3000, 12, 3


def sample(seed: int = 0, n: int = N) -> tuple[Any, Any]:
    """Correlated activations far from zero, of very different scales, whose mean depends on one of three labels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(K, p=[0.5, 0.3, 0.2], size=n)
    mixing = np.random.default_rng(99).standard_normal((D, D))
    scale = np.logspace(-2, 2, D)
    signal = np.random.default_rng(98).standard_normal((K, D))
    return (rng.standard_normal((n, D)) @ mixing + signal[labels]) * scale + 50.0, labels


def cross_correlation(X: Any, labels: Any) -> Any:
    z = np.eye(K)[labels]
    x = (X - X.mean(0)) / X.std(0)
    return x.T @ (z - z.mean(0)) / len(X)


def fitted(X: Any, labels: Any) -> CrossMoments:
    statistics = CrossMoments(X.shape[1], K)
    for part in np.array_split(np.arange(len(X)), 7):
        statistics.update(X[part], labels[part])
    return statistics


def test_streamed_moments_are_numpy_s() -> None:
    X, labels = sample()
    statistics = fitted(X, labels)
    z = np.eye(K)[labels]
    joint = np.cov(np.column_stack([X, z]).T, bias=True)
    np.testing.assert_allclose(statistics.covariance, joint[:D, :D], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(statistics.cross, joint[:D, D:], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(statistics.mean_x, X.mean(0), rtol=1e-13)


def test_leace_leaves_no_covariance_with_the_label_and_the_mean_where_it_was() -> None:
    X, labels = sample()
    assert np.abs(cross_correlation(X, labels)).max() > 0.1
    statistics = fitted(X, labels)
    eraser = leace(statistics)
    assert eraser.rank == K - 1
    erased = eraser(X)
    assert np.abs(cross_correlation(erased, labels)).max() < 1e-10
    assert eraser.left_over(statistics) < 1e-10
    np.testing.assert_allclose(erased.mean(0), X.mean(0), rtol=1e-12)
    np.testing.assert_allclose(eraser(erased), erased, rtol=1e-9)
    moved = ((X - erased) ** 2).sum() / ((X - X.mean(0)) ** 2).sum()
    assert eraser.removed_share(statistics) == pytest.approx(moved, rel=1e-9)


def test_of_many_uneven_labels_a_ridge_probe_of_any_penalty_says_the_majority_always() -> None:
    """The probe of this package itself, on activations in single precision, over all its penalties."""
    rng = np.random.default_rng(3)
    labels = rng.choice(9, p=np.array([9, 8, 7, 6, 5, 4, 3, 2, 1]) / 45, size=4000)
    X = rng.standard_normal((4000, 40)) + rng.standard_normal((9, 40))[labels]
    statistics = CrossMoments(40, 9).update(X, labels)
    Z = ((leace(statistics)(X) - statistics.mean_x) / statistics.deviation).astype(np.float32)
    path = ridge_path(moments(Z, labels[None], 9))
    before = ridge_path(moments(((X - X.mean(0)) / X.std(0)).astype(np.float32), labels[None], 9))
    majority = int(np.bincount(labels).argmax())
    for lam in LAMBDAS.tolist():
        assert (path.predict(Z, lam, 0) == majority).all()
    assert float(np.mean(before.predict(((X - X.mean(0)) / X.std(0)).astype(np.float32), 1e-3, 0) == labels)) > 0.8


def test_no_linear_probe_is_better_than_the_majority() -> None:
    X, labels = sample()
    erased = leace(fitted(X, labels))(X)
    x = (erased - erased.mean(0)) / erased.std(0)
    floor = np.bincount(labels).max() / N
    said = Ridge(alpha=1e-3).fit(x, np.eye(K)[labels]).predict(x).argmax(1)
    assert float(np.mean(said == labels)) == floor
    # Without any penalty too, and by least squares on activations as they are, far from zero.
    design = np.column_stack([erased, np.ones(N)])
    plain = design @ np.linalg.lstsq(design, np.eye(K)[labels], rcond=None)[0]
    assert float(np.mean(plain.argmax(1) == labels)) == floor
    assert set(plain.argmax(1)) == {int(np.bincount(labels).argmax())}
    np.testing.assert_allclose(plain, np.broadcast_to(np.bincount(labels) / N, (N, K)), atol=1e-6)
    logistic = LogisticRegression(C=1e3, max_iter=2000, tol=1e-10).fit(x, labels)
    assert np.abs(logistic.predict_proba(x) - np.bincount(labels) / N).max() < 1e-4
    before = LogisticRegression(max_iter=2000).fit((X - X.mean(0)) / X.std(0), labels)
    assert before.score((X - X.mean(0)) / X.std(0), labels) > floor + 0.2


@pytest.mark.parametrize("method", ["leace", "inlp"])
def test_the_control_of_equal_size_moves_each_activation_as_far_and_leaves_the_label(method: str) -> None:
    X, labels = sample()
    statistics = fitted(X, labels)
    rounds = iter([1e-3, 1e-3, None])
    eraser = leace(statistics) if method == "leace" else inlp(statistics, lambda _: next(rounds))[0]
    other, again, third = (displaced(eraser, statistics, seed) for seed in (0, 0, 1))
    assert other.rank == eraser.rank
    # On data that nothing was fitted on as well: the change has the same length at every single activation.
    for data in (X, sample(5)[0]):
        far = np.linalg.norm(data - eraser(data), axis=1)
        np.testing.assert_allclose(np.linalg.norm(data - other(data), axis=1), far, rtol=1e-9)
    assert other.removed_share(statistics) == pytest.approx(eraser.removed_share(statistics), rel=1e-9)
    np.testing.assert_array_equal(other.left, again.left)
    assert np.abs(other.left - third.left).max() > 1e-3
    assert np.abs(cross_correlation(other(X), labels)).max() > 0.1


def test_the_control_of_equal_size_stays_where_activations_are() -> None:
    """Directions in which activations never vary are no place to move them to."""
    X, labels = sample()
    X = np.column_stack([X, X[:, 0] + X[:, 1], np.full(len(X), 7.0)])
    statistics = CrossMoments(D + 2, K).update(X, labels)
    moved = displaced(leace(statistics), statistics, 3)(X)
    np.testing.assert_allclose(moved[:, D], moved[:, 0] + moved[:, 1], rtol=1e-9)
    np.testing.assert_allclose(moved[:, D + 1], 7.0)


def test_no_other_affine_map_that_erases_moves_activations_less() -> None:
    """The least change that is found by solving the constrained problem numerically, in three dimensions."""
    rng = np.random.default_rng(4)
    labels = rng.choice(K, size=500)
    X = rng.standard_normal((500, 3)) @ np.array([[2, 0.5, 0], [0, 1, 0.3], [0, 0, 0.4]]) + np.eye(3)[labels] @ [
        [1, 0, 0.2],
        [0, 0.0, 0.0],
        [0.0, 0.0, 0.0],
    ]
    two = (labels == 0).astype(np.int64)
    statistics = CrossMoments(3, 2).update(X, two)
    eraser = leace(statistics)
    x, cross = X - X.mean(0), statistics.cross[:, :1]
    covariance = statistics.covariance
    # All maps A with A cross = 0 are B (I - cross cross'/|cross|^2): least squares in B is a linear problem.
    keep = np.linalg.svd(cross)[0][:, 1:]
    reduced = keep.T @ covariance @ keep
    best = covariance @ keep @ np.linalg.inv(reduced) @ keep.T
    np.testing.assert_allclose(x @ best.T, eraser(X) - X.mean(0), atol=1e-10)
    least = float(((X - eraser(X)) ** 2).sum())
    for seed in range(20):
        other = best + np.random.default_rng(seed).standard_normal((3, 2)) @ keep.T * 0.1
        assert np.abs(other @ cross).max() < 1e-12
        assert float(((x - x @ other.T) ** 2).sum()) > least


def test_activations_of_less_than_full_rank_and_constant_dimensions() -> None:
    X, labels = sample(n=8)
    X = np.column_stack([X, np.full(8, 3.0)])
    statistics = CrossMoments(D + 1, K).update(X, labels)
    erased = leace(statistics)(X)
    assert np.isfinite(erased).all()
    z = np.eye(K)[labels]
    assert np.abs((erased - erased.mean(0)).T @ (z - z.mean(0))).max() < 1e-8 * np.abs(X).max()
    assert np.all(erased[:, -1] == 3.0)


def test_random_directions_have_the_rank_and_little_of_the_label() -> None:
    X, labels = sample()
    statistics = fitted(X, labels)
    for like in ("leace", "inlp"):
        first, again, other = (random_eraser(statistics, 2, seed, like) for seed in ([1, 2], [1, 2], [1, 3]))
        assert first.rank == 2
        assert np.array_equal(first.left, again.left)
        assert not np.array_equal(first.left, other.left)
        np.testing.assert_allclose(first.right.T @ first.left, np.eye(2), atol=1e-9)
        assert np.abs(cross_correlation(first(X), labels)).max() > 0.1


def test_inlp_ends_where_its_probe_finds_nothing() -> None:
    X, labels = sample()
    statistics = fitted(X, labels)
    floor = np.bincount(labels).max() / N

    def accuracy(eraser: Eraser) -> float:
        x = (eraser(X) - X.mean(0)) / X.std(0)
        return float(Ridge(alpha=1e-6 * N).fit(x, np.eye(K)[labels]).score(x, np.eye(K)[labels]))

    def still_reads(eraser: Eraser) -> float | None:
        return 1e-6 if accuracy(eraser) > 1e-3 else None

    eraser, n_rounds = inlp(statistics, still_reads)
    assert n_rounds >= 1
    assert (K - 1) * n_rounds == eraser.rank
    assert accuracy(eraser) <= 1e-3
    x = (eraser(X) - X.mean(0)) / X.std(0)
    said = Ridge(alpha=1e-3).fit(x, np.eye(K)[labels]).predict(x).argmax(1)
    assert abs(float(np.mean(said == labels)) - floor) < 0.01
    _, stopped = inlp(statistics, lambda eraser: 1e-6, max_rounds=2)
    assert stopped == 2


def test_neighbours_are_scikit_learn_s() -> None:
    X, labels = sample(n=900)
    x = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
    ours = nearest_neighbours(x[:700], labels[:700], x[700:], K)
    theirs = KNeighborsClassifier(5, algorithm="brute").fit(x[:700], labels[:700]).predict(x[700:])
    assert np.array_equal(ours, theirs)


def test_a_hidden_layer_reads_what_no_line_separates_and_leaves_the_random_state() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 2)).astype(np.float32)
    labels = (X[:, 0] * X[:, 1] > 0).astype(np.int64)
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    said = hidden_layer(X[:2500], labels[:2500], 2000, X[2500:], 2, seed=3)
    assert torch.equal(torch.rand(2), expected)
    assert float(np.mean(said == labels[2500:])) > 0.95
    assert np.array_equal(said, hidden_layer(X[:2500], labels[:2500], 2000, X[2500:], 2, seed=3))
    noise = rng.integers(0, 2, 3000)
    said = hidden_layer(X[:2500], noise[:2500], 2000, X[2500:], 2, seed=3)
    assert abs(float(np.mean(said == noise[2500:])) - 0.5) < 0.1
