"""Metrics against scikit-learn; degenerate and null data raise no alarm."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from interpret.auditing.performance import performance, slice_rows
from interpret.statistics.calibration import expected_calibration_error
from interpret.statistics.intervals import wilson


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


@pytest.mark.parametrize(("right", "n"), [(5, 5), (0, 3), (1, 1)])
def test_all_right_of_a_few_is_not_certain(right: int, n: int) -> None:
    probabilities = np.where((np.arange(n) < right)[:, None], [0.9, 0.1], [0.1, 0.9])
    result = performance(probabilities, np.zeros(n, dtype=np.int64), ["n", "p"], None, seed=0, n_bootstrap=200)
    accuracy, balanced, _ = result.metrics
    assert accuracy.ci_low is not None
    assert accuracy.ci_high is not None
    assert accuracy.ci_high - accuracy.ci_low > 0.3
    assert balanced.ci_low is None
    assert result.calibration_error.value is None


def test_balanced_accuracy_interval_is_about_the_binomial_one() -> None:
    rng = np.random.default_rng(3)
    gold = np.repeat([0, 1], 400)
    right = rng.random(800) < 0.87
    says = np.where(right, gold, 1 - gold)
    probabilities = np.where(says[:, None] == np.arange(2), 0.9, 0.1)
    _, balanced, _ = performance(probabilities, gold, ["n", "p"], None, seed=1, n_bootstrap=4000).metrics
    assert (balanced.ci_low, balanced.ci_high) == pytest.approx(wilson(int(right.sum()), 800), abs=0.006)


def test_calibration_error_of_a_known_case() -> None:
    # All at 0.8 confidence, 60% right: off by exactly 0.2.
    assert expected_calibration_error(np.full(100, 0.8), np.arange(100) % 5 < 3) == pytest.approx(0.2)


def test_calibration_error_does_not_hang_on_the_order_of_rows() -> None:
    # 80 of 100 right at a confidence of 0.8 everywhere is calibrated, also if the right ones come first.
    correct = (np.arange(100) < 80).astype(float)
    assert expected_calibration_error(np.full(100, 0.8), correct) == pytest.approx(0.0)


def test_a_calibrated_model_is_rarely_called_miscalibrated() -> None:
    rng = np.random.default_rng(11)
    alarms = 0
    for seed in range(60):
        confidence = rng.uniform(0.5, 1.0, size=200)
        probabilities = np.stack([confidence, 1 - confidence], axis=1)
        gold = (rng.random(200) > confidence).astype(np.int64)
        error = performance(probabilities, gold, ["a", "b"], None, seed=seed, n_bootstrap=200).calibration_error
        assert error.ci_low is not None
        # Chance alone makes the estimate about 0.06 here; an interval that starts above 0.05 would be an alarm.
        alarms += error.ci_low > 0.05
    assert alarms <= 4


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
