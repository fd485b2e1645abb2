"""Intervals against published figures, and their coverage where it is known to be hard."""

from __future__ import annotations

import numpy as np
import pytest

from interpret.statistics.intervals import (
    bootstrap,
    bootstrap_ratios,
    newcombe,
    paired_proportions,
    resamples,
    softmax,
    student,
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


def test_student_is_scipys() -> None:
    from scipy.stats import ttest_1samp

    values = np.random.default_rng(0).normal(0.3, 1.0, size=12)
    expected = ttest_1samp(values, 0.0).confidence_interval(0.99)
    found = student(values, 0.99)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_paired_proportions_cover_and_have_a_width_where_nothing_is_discordant() -> None:
    low, high = paired_proportions(0, 0, 20)
    assert low < 0 < high
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(500):
        gained, lost, _ = rng.multinomial(60, [0.12, 0.05, 0.83])
        low, high = paired_proportions(gained, lost, 60)
        held += low <= 0.07 <= high
    assert held / 500 >= 0.93


def test_a_bootstrap_of_few_is_widened() -> None:
    rng = np.random.default_rng(4)
    held = plain = 0
    for seed in range(300):
        values = rng.normal(size=8)
        draws = resamples(8, 1000, seed)
        found = bootstrap(values, draws)
        held += found.low <= 0.0 <= found.high
        low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
        plain += low <= 0.0 <= high
    assert held / 300 >= 0.91
    assert held > plain


def test_softmax_is_scipys() -> None:
    from scipy.special import softmax as theirs

    logits = np.random.default_rng(0).normal(size=(4, 3)) * 50
    assert softmax(logits) == pytest.approx(theirs(logits, axis=-1))


def test_ratios_over_ones_are_means_and_quantities_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).normal(size=(9, 7))
    draws = resamples(9, 500, 1)
    expected = np.array([bootstrap(column.copy(), draws) for column in values.T]).T
    assert bootstrap_ratios(values, np.ones(9), draws) == pytest.approx(expected, abs=1e-12)
    below = np.random.default_rng(4).uniform(0.1, 4.0, 9)
    whole = bootstrap_ratios(values, below, draws)
    monkeypatch.setattr("interpret.statistics.intervals._QUANTITIES", 3)
    assert np.allclose(bootstrap_ratios(values, below, draws), whole, rtol=0, atol=1e-12)


def test_intervals_of_ratios_hold_what_they_say() -> None:
    rng = np.random.default_rng(0)
    for n in (6, 20):
        held = 0
        for number in range(600):
            below = rng.uniform(0.2, 3.0, n)
            above = below * rng.normal(0.4, 0.3, n)
            _, low, high = bootstrap_ratios(above[:, None], below, resamples(n, 500, number))[:, 0]
            held += low <= 0.4 <= high
        assert 0.90 < held / 600 < 0.98, n
