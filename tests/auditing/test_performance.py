"""Intervals against published figures, metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from interpret.auditing.performance import (
    expected_calibration_error,
    newcombe,
    performance,
    slice_rows,
    wilson,
)


def test_wilson_is_newcombes_published_example() -> None:
    # Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3: 81 of 263.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20)[0] == 0.0
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_newcombe_is_the_published_example() -> None:
    # Newcombe 1998 (Statistics in Medicine 17:873), table II, method 10: 56/70 - 48/80.
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_metrics_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), size=200)
    gold = rng.integers(0, 3, size=200)
    result = performance(probabilities, gold, ["a", "b", "c"], None, seed=0, n_bootstrap=200)
    predicted = probabilities.argmax(axis=1)
    found = {m.name: m.value for m in result.metrics}
    assert found["accuracy"] == pytest.approx((predicted == gold).mean())
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(gold, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(gold, predicted, average="macro"))
    assert result.confusion.sum() == 200
    for metric in result.metrics:
        assert metric.ci_low is not None
        assert metric.value is not None
        assert metric.ci_high is not None
        assert metric.ci_low < metric.value < metric.ci_high


def test_bootstrap_interval_is_about_the_binomial_one() -> None:
    n = 872
    gold = np.zeros(n, dtype=np.int64)
    says_right = np.arange(n) < 759
    probabilities = np.where(says_right[:, None], [0.9, 0.1], [0.1, 0.9])
    accuracy = performance(probabilities, gold, ["n", "p"], None, seed=1, n_bootstrap=4000).metrics[0]
    assert (accuracy.ci_low, accuracy.ci_high) == pytest.approx(wilson(759, n), abs=0.004)


def test_calibration_error_of_a_known_case() -> None:
    # All at 0.8 confidence, 60% right: off by exactly 0.2.
    assert expected_calibration_error(np.full(100, 0.8), np.arange(100) % 5 < 3) == pytest.approx(0.2)


def test_a_planted_slice_failure_is_found_and_a_tiny_slice_is_not_judged() -> None:
    slices = ["bad"] * 100 + ["good"] * 300 + ["tiny"] * 4
    correct = np.array([0.0, 1.0] * 50 + [1.0] * 270 + [0.0] * 30 + [1.0] * 4)
    rows = {row.name: row for row in slice_rows(correct, slices)}
    assert rows["bad"].gap.ci_high is not None
    assert rows["bad"].gap.ci_high < 0
    assert not rows["bad"].underpowered
    assert rows["tiny"].underpowered
    assert rows["tiny"].accuracy.n == 4


def test_gaps_rarely_alarm_when_there_is_nothing_to_find() -> None:
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(200):
        correct = (rng.random(300) < 0.85).astype(float)
        rows = slice_rows(correct, rng.choice(["a", "b", "c", "d"], size=300).tolist())
        alarms += any((row.gap.ci_high or 0) < 0 or (row.gap.ci_low or 0) > 0 for row in rows)
    assert alarms <= 16
