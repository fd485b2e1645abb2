"""Counts to p-values: against scipy, and against enumeration of everything that could have been drawn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from interpret.analyzers.shortcuts.association import (
    benjamini_hochberg,
    competency_z,
    excess,
    excess_p,
    fisher,
    log_odds,
)
from interpret.statistics.intervals import paired_proportions
from interpret.statistics.multiple import holm

CELLS = st.tuples(*[st.integers(0, 40)] * 4).filter(lambda t: t[0] + t[1] > 0 and t[0] + t[2] > 0 and sum(t) > 1)


@given(CELLS)
@settings(max_examples=200, deadline=None)
def test_fisher_is_scipys(cells: tuple[int, int, int, int]) -> None:
    a, b, c, d = cells
    theirs = stats.fisher_exact([[a, b], [c, d]], alternative="greater").pvalue
    assert fisher(a, a + b, a + c, sum(cells)) == pytest.approx(theirs, rel=1e-9, abs=1e-14)


@given(CELLS)
@settings(max_examples=100, deadline=None)
def test_log_odds_and_their_interval_are_scipys_of_the_doubled_table(cells: tuple[int, int, int, int]) -> None:
    a, b, c, d = cells
    ours = log_odds(a, a + b, a + c, sum(cells))
    # Adding a half to every cell and doubling all of them leaves the ratio; the variance is then half of it.
    theirs = stats.contingency.odds_ratio([[2 * a + 1, 2 * b + 1], [2 * c + 1, 2 * d + 1]], kind="sample")
    low, high = theirs.confidence_interval(0.95)
    centre = math.log(theirs.statistic)
    assert float(ours.value) == pytest.approx(centre, abs=1e-9)
    assert float(ours.high) == pytest.approx(centre + math.sqrt(2) * (math.log(high) - centre), abs=1e-6)
    assert float(ours.low) == pytest.approx(centre - math.sqrt(2) * (centre - math.log(low)), abs=1e-6)


@pytest.mark.parametrize("d", [[1, 1, 0, 0, -1, 0, 1, 0], [1, 1, 1, 0, 0, 0, 0], [-1, -1, 0, 1], [0, 0, 0, 0, 0]])
@pytest.mark.parametrize("n_word", [1, 2, 4])
def test_excess_is_the_share_of_all_draws(d: list[int], n_word: int) -> None:
    sums = [sum(draw) for draw in itertools.combinations(d, n_word)]
    for total in range(-n_word, n_word + 1):
        exact = sum(s >= total for s in sums) / len(sums)
        assert excess_p(total, n_word, d.count(1), d.count(-1), len(d)) == pytest.approx(exact, abs=1e-12)


def test_excess_without_disagreement_the_other_way_is_fishers() -> None:
    theirs = stats.fisher_exact([[7, 3], [5, 40]], alternative="greater").pvalue
    assert excess_p(7, 10, 12, 0, 55) == pytest.approx(theirs, rel=1e-10)


def test_excess_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    n_word, n_rest, truth = 25, 150, 0.35 - 0.05 - (0.10 - 0.08)
    inside = rng.multinomial(n_word, [0.35, 0.05, 0.60], size=4000)
    outside = rng.multinomial(n_rest, [0.10, 0.08, 0.82], size=4000)
    plus, minus = inside[:, 0], inside[:, 1]
    found = excess(plus, minus, n_word, plus + outside[:, 0], minus + outside[:, 1], n_word + n_rest)
    covered = float(np.mean((found.low <= truth) & (truth <= found.high)))
    assert 0.94 <= covered <= 0.985
    assert float(found.value.mean()) == pytest.approx(truth, abs=0.01)


def test_excess_joins_the_paired_intervals_of_both_parts() -> None:
    found = excess(9, 2, 30, 19, 14, 200)
    (low_in, high_in), (low_out, high_out) = paired_proportions(9, 2, 30), paired_proportions(10, 12, 170)
    inside, outside = 7 / 30, -2 / 170
    assert float(found.value) == pytest.approx(inside - outside)
    assert float(found.low) == pytest.approx(inside - outside - math.hypot(inside - low_in, high_out - outside))
    assert float(found.high) == pytest.approx(inside - outside + math.hypot(high_in - inside, outside - low_out))


def test_competency_z_squared_is_chi_square() -> None:
    z = competency_z(17, 20, 0.4)
    assert z is not None
    assert z**2 == pytest.approx(stats.chisquare([17, 3], [8, 12]).statistic)
    assert z > 0
    assert competency_z(4, 4, 1.0) is None


P = st.lists(st.floats(0, 1), min_size=1, max_size=7)


@given(P)
@settings(max_examples=100, deadline=None)
def test_holm_is_closed_testing_with_bonferroni(p: list[float]) -> None:
    n = len(p)
    subsets = [s for k in range(1, n + 1) for s in itertools.combinations(range(n), k)]
    for i, ours in enumerate(holm(p).tolist()):
        exact = max(min(1.0, len(s) * min(p[j] for j in s)) for s in subsets if i in s)
        assert ours == pytest.approx(exact)


@given(P)
@settings(max_examples=100, deadline=None)
def test_benjamini_hochberg_is_its_definition(p: list[float]) -> None:
    ordered = sorted(p)
    for value, ours in zip(p, benjamini_hochberg(p).tolist(), strict=True):
        steps = [q * len(p) / (j + 1) for j, q in enumerate(ordered) if q >= value]
        assert ours == pytest.approx(min(1.0, *steps, 1.0))
    assert benjamini_hochberg(p).tolist() == pytest.approx(stats.false_discovery_control(p).tolist())


def test_nothing_to_correct() -> None:
    assert holm([]).tolist() == []
    assert benjamini_hochberg([]).tolist() == []
