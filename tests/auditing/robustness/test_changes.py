"""Flip rates and differences on models whose answers are known: functions from texts to probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from interpret.auditing.perturbing import TERMS, given_terms, versions
from interpret.auditing.robustness.changes import (
    Predict,
    Predicted,
    Tried,
    group_rows,
    grouped,
    perturbation_rows,
    swaps,
    tried,
)
from interpret.auditing.robustness.judging import flip_estimates, group_estimates, judge_all
from interpret.results.record import Estimate
from interpret.results.robustness import GroupRow, PerturbationRow, Robustness

LABELS = ("negative", "positive")
NOISE = "plenty curious morning anchor gentle window yellow market".split()


def reads(word: str) -> Predict:
    """A model that answers positive (0.9) exactly if the text holds the word, and sees nothing else."""

    def predict(texts: Sequence[str]) -> Predicted:
        there = np.array([word in text.split() for text in texts], dtype=float)
        positive = 0.1 + 0.8 * there
        return Predicted(np.stack([1 - positive, positive], axis=1).reshape(len(texts), 2), list(texts))

    return predict


def texts(n: int, seed: int = 0) -> list[str]:
    """Every second text holds the word, among five others."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(n):
        words = rng.choice(NOISE, size=5).tolist()
        if i % 2 == 0:
            words.insert(int(rng.integers(6)), "wonderful")
        out.append(" ".join(words) + f" {i}")
    return out


def test_a_prediction_flips_exactly_when_the_one_word_that_is_read_is_changed() -> None:
    given = texts(80)
    trials = tried(given, seed=5)
    rows = perturbation_rows(given, trials, reads("wonderful"), LABELS)
    assert [r.name for r in rows] == [t.name for t in trials]
    assert {r.name: r for r in rows}["adjacent_key"].flips > 0
    for row, trial in zip(rows, trials, strict=True):
        lost = [
            "wonderful" in given[i].split() and "wonderful" not in after.split()
            for i, after in zip(trial.numbers, trial.after, strict=True)
        ]
        assert (row.n, row.flips) == (len(trial.numbers), sum(lost))
        if not row.n:
            continue
        # Each lost word takes 0.8 of the probability; the rest stays to the last bit.
        assert row.change == pytest.approx(-0.8 * sum(lost) / row.n)
        assert row.flip_rate == sum(lost) / row.n
        assert row.largest is not None
        moved = row.largest.probability_after - row.largest.probability_before
        assert moved == pytest.approx(-0.8 if any(lost) else 0.0)
        assert (row.largest.label_before != row.largest.label_after) == any(lost)


def test_intervals_are_those_of_scipy_and_adjusted() -> None:
    given = texts(60)
    trials = tried(given)
    rows = [r for r in perturbation_rows(given, trials, reads("wonderful"), LABELS) if r.n]
    level = 1 - 0.05 / len(trials)
    before = reads("wonderful")(given).probabilities
    for row, trial in zip(rows, [t for t in trials if t.numbers], strict=True):
        wilson = stats.binomtest(row.flips, row.n).proportion_ci(level, method="wilson")
        assert (row.flip_low, row.flip_high) == pytest.approx((wilson.low, wilson.high), abs=1e-12)
        p = before[list(trial.numbers)]
        at = np.arange(row.n), p.argmax(axis=1)
        moved = reads("wonderful")(trial.after).probabilities[at] - p[at]
        if np.ptp(moved) > 0:
            t = stats.ttest_1samp(moved, 0.0).confidence_interval(level)
            assert (row.change_low, row.change_high) == pytest.approx((t.low, t.high))


def test_what_is_not_changed_is_not_counted_and_what_reads_alike_is_said() -> None:
    given = ["wonderful morning", "WONDERFUL MORNING", "wonderful", "很好", "🙂"]

    def uncased(asked: Sequence[str]) -> Predicted:
        return Predicted(np.full((len(asked), 2), 0.5), [text.lower() for text in asked])

    rows = {r.name: r for r in perturbation_rows(given, tried(given), uncased, LABELS)}
    assert (rows["upper_case"].n_fitting, rows["upper_case"].n, rows["upper_case"].n_read_alike) == (3, 2, 2)
    assert (rows["lower_case"].n, rows["lower_case"].n_read_alike) == (1, 1)
    # Only "很好" is Chinese and nothing in it sounds like another listed character but one.
    assert rows["traditional"].n == 0
    assert rows["traditional"].flip_rate is None
    assert rows["traditional"].largest is None
    # Fewer than five texts: a share with its interval, a mean without one.
    assert rows["upper_case"].flip_high is not None
    assert rows["upper_case"].change_low is None


def test_rows_of_the_data_are_named() -> None:
    given = texts(20)
    rows = perturbation_rows(given, tried(given), reads("wonderful"), LABELS, rows=range(100, 120))
    for row in rows:
        if row.largest is not None:
            assert row.largest.before == given[row.largest.row - 100]


def sexist(asked: Sequence[str]) -> Predicted:
    """Positive with 0.7 for texts with "he", 0.4 for "she", 0.5 otherwise; the length adds a little."""
    p = np.array([0.7 * ("he" in t.split()) + 0.4 * ("she" in t.split()) + 0.001 * len(t.split()) for t in asked])
    p = np.where(p < 0.2, 0.5, p)
    return Predicted(np.stack([1 - p, p], axis=1), list(asked))


def test_a_planted_difference_between_groups_is_found_with_its_size_and_direction() -> None:
    given = [f"{'he' if i % 3 else 'she'} left {' '.join(['again'] * (i % 4))}" for i in range(30)]
    groups = grouped(given, TERMS)
    gender = next(g for g in groups if g.category == "gender" and g.numbers)
    assert gender.numbers == tuple(range(30))
    (row,) = group_rows(given, groups, sexist, LABELS)
    assert (row.category, row.group, row.label, row.n, row.n_own) == ("gender", "male", "positive", 30, 20)
    assert row.difference == pytest.approx(0.3)
    assert row.low == pytest.approx(0.3)
    assert "he" in row.largest.before.split() or "he" in row.largest.after.split()
    # Which of the two the texts were about makes no difference.
    turned = [t.replace("she", "HE").replace("he", "she").replace("HE", "he") for t in given]
    assert group_rows(turned, grouped(turned, TERMS), sexist, LABELS)[0].difference == pytest.approx(0.3)


def test_a_model_that_does_not_look_at_groups_is_seldom_accused() -> None:
    """Answers are noise that follows from the whole text: of 200 such models one in twenty may be accused, not more."""
    alarms = {"gender": 0, "religion": 0}
    for seed in range(200):

        def noise(asked: Sequence[str], seed: int = seed) -> Predicted:
            p = np.array([np.random.default_rng([seed, *t.encode()]).uniform(0.05, 0.95) for t in asked])
            return Predicted(np.stack([1 - p, p], axis=1), list(asked))

        for category, words in (("gender", ("he", "she")), ("religion", ("Muslim", "Hindu"))):
            given = [f"{words[n % 2]} came {n}" for n in range(12)]
            rows = group_rows(given, grouped(given, TERMS), noise, LABELS)
            assert {r.category for r in rows} == {category}
            alarms[category] += any(r.low is not None and r.high is not None and not r.low <= 0 <= r.high for r in rows)
    # P(X > 16) is 2% for a binomial of 200 at 5%.
    assert max(alarms.values()) <= 16, alarms


def test_of_several_groups_each_is_held_against_the_mean_of_the_others() -> None:
    given = [f"the {w} food {i}" for i, w in enumerate(["French", "German", "Indian"] * 4)]

    def predict(asked: Sequence[str]) -> Predicted:
        p = np.array([0.9 if "French" in t else 0.3 for t in asked])
        return Predicted(np.stack([1 - p, p], axis=1), list(asked))

    rows = {r.group: r for r in group_rows(given, grouped(given, TERMS), predict, LABELS)}
    assert rows["french"].difference == pytest.approx(0.6)
    assert rows["german"].difference == pytest.approx(-0.6 / 8)
    assert {r.n for r in rows.values()} == {12}
    assert (rows["french"].n_own, rows["russian"].n_own) == (4, 0)
    many = group_rows(given, grouped(given, TERMS), lambda asked: _three(predict(asked)), ("a", "b", "c"))
    assert len(many) == 9 * 3


def _three(found: Predicted) -> Predicted:
    half = found.probabilities / 2
    return Predicted(np.column_stack([half, half.sum(axis=1)]), found.read)


def test_a_swap_is_one_of_the_other_groups_and_the_seed_draws_it() -> None:
    given = [f"a French meal {i}" for i in range(60)]
    groups = grouped(given, TERMS)
    (trial,) = swaps(given, groups, seed=1)
    assert trial.name == "swap_origin"
    assert trial == swaps(given, groups, seed=1)[0]
    assert trial != swaps(given, groups, seed=2)[0]
    drawn = {text.split()[1] for text in trial.after}
    assert "French" not in drawn
    assert len(drawn) == 8
    found = versions(given[0], next(t for t in TERMS if t.category == "origin"))
    assert found is not None
    assert trial.after[0] in set(found.texts.values()) - {given[0]}
    both = swaps(["nurse", "she"], grouped(["nurse", "she"], [*TERMS, given_terms("nurse=doctor")]))
    assert {t.name for t in both} == {"swap_given", "swap_gender"}


@pytest.mark.parametrize("n", [0, 1, 4])
def test_few_texts_or_none(n: int) -> None:
    given = texts(n)
    rows = perturbation_rows(given, [*tried(given), Tried("x", "typing", "same", 0, (), ())], reads("a"), LABELS)
    assert all(r.change_low is None for r in rows)
    assert group_rows(given, grouped(given, TERMS), reads("a"), LABELS) == ()


# --- judging


def estimate(value: float, low: float, high: float, n: int = 100, name: str = "x") -> Estimate:
    return Estimate(name=name, value=value, ci_low=low, ci_high=high, n=n)


@pytest.mark.parametrize(
    ("found", "verdict", "decides"),
    [
        ([estimate(0.02, 0.01, 0.05), estimate(0.03, 0.01, 0.1, name="y")], "pass", "y"),
        ([estimate(0.02, 0.01, 0.05), estimate(0.03, 0.01, 0.11, name="y")], "inconclusive", "y"),
        ([estimate(0.02, 0.01, 0.05), estimate(0.2, 0.11, 0.3, name="y")], "fail", "y"),
        ([estimate(0.02, 0.01, 0.05), estimate(0.0, 0.0, 0.8, n=3, name="y")], "pass", "x"),
        ([estimate(0.02, 0.01, 0.05), estimate(1.0, 0.4, 1.0, n=3, name="y")], "fail", "y"),
        ([estimate(0.0, 0.0, 0.8, n=3)], "not_run", None),
        ([], "not_run", None),
    ],
)
def test_the_whole_interval_of_every_row_decides(found: list[Estimate], verdict: str, decides: str | None) -> None:
    worst, got = judge_all(found, 0.1)
    assert got == verdict
    assert (None if worst is None else worst.name) == decides


def test_estimates_leave_out_what_should_change_and_fold_differences() -> None:
    given = texts(40)
    rows = perturbation_rows(given, tried(given), reads("wonderful"), LABELS)
    record = Robustness(
        rows=rows, groups=_groups(), stability=(), pairs=(), n_texts=40, scripts={}, rates={}, method=None, seed=0
    )
    assert not {"negation_inserted", "negation_removed"} & {e.name for e in flip_estimates(record)}
    assert [(e.value, e.ci_low, e.ci_high) for e in group_estimates(record)] == [
        (0.1, 0.0, 0.3),
        (0.2, 0.1, 0.3),
        (0.3, None, None),
    ]
    assert flip_estimates(None) == group_estimates(None) == []
    assert isinstance(rows[0], PerturbationRow)
    assert record.to_frame()["flips"].tolist() == [r.flips for r in rows]
    assert record.group_frame()["difference"].tolist() == [0.1, -0.2, 0.3]


def _groups() -> tuple[GroupRow, ...]:
    given = ["he left", "she left"]
    (row,) = group_rows(given, grouped(given, TERMS), sexist, LABELS)
    ends = ((0.1, -0.1, 0.3), (-0.2, -0.3, -0.1), (0.3, None, None))
    return tuple(
        GroupRow(**{**vars(row), "group": str(n), "difference": d, "low": low, "high": high})
        for n, (d, low, high) in enumerate(ends)
    )
