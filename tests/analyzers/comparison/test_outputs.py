"""Paired outputs against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from interpret.analyzers.comparison.outputs import compare_outputs, kl_bits


def _probabilities(seed: int, n: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([1.0, 1.0], size=n)


def test_kl_equals_scipy() -> None:
    p, q = _probabilities(0), _probabilities(1)
    assert kl_bits(p, q) == pytest.approx(entropy(p, q, axis=1, base=2))


def test_identical_outputs_show_no_change_with_intervals_around_zero() -> None:
    p = _probabilities(0)
    gold = np.random.default_rng(2).integers(0, 2, size=len(p))
    result = compare_outputs(p, p, gold, base_name="b", tuned_name="t", seed=0)
    rows = {r.name: r for r in result.rows}
    for name in ("kl_bits", "gold_probability_difference"):
        assert (rows[name].value, rows[name].ci_low, rows[name].ci_high) == (0.0, 0.0, 0.0)
    for name in ("changed_predictions", "accuracy_difference"):
        row = rows[name]
        assert row.value == 0.0
        assert row.ci_low is not None
        assert row.ci_high is not None
        # 80 examples without a change do not show that there never is one.
        assert row.ci_low <= 0.0 < row.ci_high < 0.06
    assert result.p_value == 1.0
    assert (result.only_base_right, result.only_tuned_right) == (0, 0)


def test_mcnemar_counts_and_p_value_by_hand() -> None:
    gold = np.zeros(12, dtype=np.int64)
    right, wrong = [0.9, 0.1], [0.2, 0.8]
    base = np.array([wrong] * 8 + [right] * 4)
    tuned = np.array([right] * 8 + [wrong] * 1 + [right] * 3)
    result = compare_outputs(base, tuned, gold, base_name="b", tuned_name="t", seed=0)
    assert (result.only_base_right, result.only_tuned_right) == (1, 8)
    # Two-sided exact binomial with 9 discordant pairs: 2 * (C(9,0) + C(9,1)) / 2**9.
    assert result.p_value == pytest.approx(2 * 10 / 512)


def test_each_slice_has_its_own_rows() -> None:
    p, q = _probabilities(0), _probabilities(1)
    slices = ["cat"] * 30 + [None] * 50
    frame = compare_outputs(p, q, None, slices, base_name="b", tuned_name="t", seed=0).to_frame("outputs")
    of_cat = frame[frame["slice"] == "cat"]
    assert set(of_cat["name"]) == {"changed_predictions", "kl_bits"}
    assert (of_cat["n"] == 30).all()
    assert of_cat.loc[of_cat["name"] == "kl_bits", "value"].item() == pytest.approx(kl_bits(q, p)[:30].mean())


def test_one_example_has_no_interval_of_a_mean() -> None:
    p, q = _probabilities(0), _probabilities(1)
    result = compare_outputs(p, q, None, ["cat"] + [None] * 79, base_name="b", tuned_name="t", seed=0)
    row = next(r for r in result.rows if r.slice == "cat" and r.name == "kl_bits")
    assert (row.n, row.ci_low, row.ci_high) == (1, None, None)


def test_outputs_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="same examples"):
        compare_outputs(_probabilities(0, 5), _probabilities(0, 6), None, base_name="b", tuned_name="t", seed=0)
