"""Description length against a loop over scikit-learn, V-information against its closed form, tests against scipy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import gammaln
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from interpret.analyzers.probing import probe
from interpret.analyzers.probing.description import FRACTIONS, block_ends, frequency_code, online_code
from interpret.analyzers.probing.rows import Cell, paired_tests
from interpret.analyzers.probing.uncertainty import ClusterBootstrap
from interpret.errors import UsageError
from interpret.models.load import attach_handle
from interpret.readers.probe_data import ProbeData
from interpret.statistics.multiple import holm, sign_flip_p
from tests.tiny import WORDS, tiny

K = 3


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    sentence = np.repeat(np.arange(120), rng.integers(3, 9, size=120))
    X = rng.normal(size=(len(sentence), 12)).astype(np.float32)
    outputs = X @ rng.normal(size=(12, K)) + [1.0, 0.0, -1.0]
    return X, (outputs + rng.gumbel(size=outputs.shape)).argmax(axis=1), sentence


def brute_force(X: np.ndarray, y: np.ndarray, ends: list[int], l2: float) -> float:
    """Every block by a classifier of its own; probabilities mixed as documented; bits throughout."""
    total = ends[0] * np.log2(K)
    for t, end in itertools.pairwise(ends):
        model = LogisticRegression(C=1 / (l2 * t), tol=1e-8, max_iter=5000).fit(X[:t].astype(float), y[:t])
        p = model.predict_proba(X[t:end].astype(float))
        for row, label in zip(p, y[t:end], strict=True):
            own = row[list(model.classes_).index(label)] if label in model.classes_ else 0.0
            total -= np.log2((t * own + 0.5) / (t + K / 2))
    return float(total)


@pytest.mark.parametrize("l2", [0.1, 0.01])
def test_description_length_is_that_of_a_loop_over_scikit_learn(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray], l2: float
) -> None:
    X, y, sentence = problem
    ends = [e for e in block_ends(sentence) if len(np.unique(y[:e])) > 1]
    bits = online_code(X, y, ends, K, (l2,))
    assert bits.sum() == pytest.approx(brute_force(X, y, ends, l2), rel=2e-3)
    assert bits[: ends[0]].tolist() == [np.log2(K)] * ends[0]
    assert bits.sum() < frequency_code(y, K).sum() < len(y) * np.log2(K)


def test_a_label_that_comes_late_has_a_finite_code() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(400, 5)).astype(np.float32)
    y = rng.integers(0, 2, size=400)
    y[350:] = 2
    bits = online_code(X, y, [10, 200, 400], K, (0.01,))
    assert np.isfinite(bits).all()
    np.testing.assert_allclose(bits[350:], -np.log2(0.5 / (200 + K / 2)))
    one = online_code(X, np.zeros(400, dtype=np.int64), [10, 200, 400], K)
    np.testing.assert_allclose(one[10:200], -np.log2(10.5 / 11.5))


def test_blocks_end_with_sentences(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    _, _, sentence = problem
    ends = block_ends(sentence)
    assert ends[-1] == len(sentence)
    assert ends == sorted(set(ends))
    assert all(sentence[end - 1] != sentence[end] for end in ends[:-1])
    shares = [max(1, int(np.ceil(f * len(sentence)))) for f in FRACTIONS]
    # Each share's block reaches it, and no sentence more than that.
    for share in shares:
        end = min(e for e in ends if e >= share)
        assert sentence[share - 1] == sentence[end - 1]


def test_labels_that_features_say_nothing_about_are_not_compressed_below_their_frequencies() -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(2000, 10)).astype(np.float32)
    y = rng.choice(K, size=2000, p=[0.6, 0.3, 0.1])
    bits = online_code(X, y, block_ends(np.arange(2000)), K).sum()
    assert frequency_code(y, K).sum() <= bits <= 1.1 * frequency_code(y, K).sum()


def test_the_code_by_frequency_is_the_closed_form_of_krichevsky_and_trofimov() -> None:
    y = np.random.default_rng(0).integers(0, K, size=50)
    count = np.bincount(y, minlength=K)
    nats = gammaln(K / 2) - K * gammaln(0.5) + gammaln(count + 0.5).sum() - gammaln(50 + K / 2)
    assert frequency_code(y, K).sum() == pytest.approx(-nats / np.log(2))


def test_holm_and_sign_flips() -> None:
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    totals = np.array([[1.0, 2.0], [2.0, -1.0], [-1.0, 0.5], [3.0, -2.0], [1.0, 0.5], [0.0, 0.0], [2.0, 1.0]])
    exact = []
    for column in totals.T:
        sums = [abs(np.dot(signs, column)) for signs in itertools.product((-1, 1), repeat=len(column))]
        exact.append(np.mean([s >= abs(column.sum()) - 1e-9 for s in sums]))
    np.testing.assert_allclose(sign_flip_p(totals, 20_000), exact, atol=0.015)
    nothing = sign_flip_p(np.zeros((10, 1)), 99)
    assert nothing.tolist() == [1.0]


def test_p_values_of_probes_that_do_not_differ_are_uniform() -> None:
    """200 runs without a difference: p at most 0.05 in about 5 of 100, not more."""
    n_small = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        totals = rng.normal(size=(40, 1))
        n_small += sign_flip_p(totals, 499, seed)[0] <= 0.05
    assert n_small <= 20


def test_each_probe_is_tested_against_what_it_must_beat() -> None:
    rng = np.random.default_rng(0)
    n = 600
    right: dict[Cell, Any] = {
        ("none", None, "majority"): rng.random(n) < 0.2,
        ("none", None, "type"): rng.random(n) < 0.6,
        ("embed", None, "ridge"): rng.random(n) < 0.6,
        ("resid_post", 0, "ridge"): rng.random(n) < 0.9,
        ("resid_post", 0, "random_weights"): rng.random(n) < 0.5,
    }
    tests = paired_tests(right, ClusterBootstrap(np.arange(n) // 4), 0)
    found = {(t.site, t.against): t for t in tests}
    assert set(found) == {
        ("embed", "type"),
        ("resid_post", "type"),
        ("resid_post", "embedding"),
        ("resid_post", "random_weights"),
    }
    for (site, against), t in found.items():
        clear = site == "resid_post"
        assert (t.p_holm <= 0.01) == clear, against
        assert (t.ci_low > 0) == clear
        assert t.p_holm >= t.p
    expected = right["resid_post", 0, "ridge"].mean() - right["none", None, "type"].mean()
    assert found["resid_post", "type"].difference == pytest.approx(expected)


def test_a_run_reports_lengths_tests_and_leakage() -> None:
    handle = attach_handle(*tiny("bert", "masked-lm"))
    rng = np.random.default_rng(0)
    words = [[str(w) for w in rng.choice(WORDS, size=6)] for _ in range(150)]
    words.append(words[0])
    data = ProbeData.of_words(words, [["early" if w[0] < "g" else "late" for w in row] for row in words])
    result = probe(handle, data, codes="all", n_bootstrap=50, progress=False)
    frame = result.to_frame()
    lengths = frame[frame.metric == "description_length_bits"].set_index(["probe", "site", "layer"]).value.sort_index()
    ratios = frame[frame.metric == "compression"].set_index(["probe", "site", "layer"]).value.sort_index()
    n = result.n_train + result.n_validation
    np.testing.assert_allclose(ratios * lengths, n)  # two labels: log2 K is 1
    assert lengths["logistic", "embed"].iloc[0] < lengths["majority", "none"].iloc[0]
    assert {"logistic", "majority", "control", "random_weights"} == {key[0] for key in lengths.index}
    assert result.n_duplicate_train_sentences == 1
    assert result.type_overlap == 1.0
    tests = result.tests_frame()
    assert set(tests.against) == {"type", "embedding", "random_weights"}
    assert (tests.p_holm >= tests.p).all()
    again = probe(handle, data, codes="all", n_bootstrap=50, progress=False)
    pd.testing.assert_frame_equal(tests, again.tests_frame())
    plain = probe(handle, data, n_bootstrap=50, progress=False).to_frame()
    assert not plain.metric.isin(["description_length_bits", "compression"]).any()
    with pytest.raises(UsageError, match="codes is 'every'; available are none, task, all"):
        probe(handle, data, codes="every")  # type: ignore[arg-type]


def test_v_information_is_the_gain_over_a_trained_null_model() -> None:
    """A feature that says the label in 9 of 10 cases: H(Y) - H(Y|X) of a binary channel, in bits."""
    from interpret.analyzers.probing.logistic import fit_logistic
    from interpret.analyzers.probing.ridge import moments, ridge_path

    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, size=40_000)
    seen = np.where(rng.random(40_000) < 0.9, y, 1 - y)
    X = (2.0 * seen[:, None] - 1).astype(np.float32)
    n = 20_000
    found = fit_logistic(X[:n], y[:n], 1e-6, ridge_path(moments(X[:n], y[None, :n], 2)))
    null = DummyClassifier(strategy="prior").fit(X[:n], y[:n]).predict_log_proba(X[n:])
    rows = np.arange(n)
    bits = (found.log_probabilities(X[n:])[rows, y[n:]] - null[rows, y[n:]]).mean() / np.log(2)
    channel = 1 + 0.9 * np.log2(0.9) + 0.1 * np.log2(0.1)
    assert bits == pytest.approx(channel, abs=0.01)
