"""Intervals and the rule that turns them into a verdict."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from interpret.results.explanations import FloatArray, IntArray, Verdict

#: From this many examples on, the examples themselves are resampled; below, random rankings are.
MIN_BOOTSTRAP: Final = 5
#: From this many examples on, an interval that holds 0 means no effect worth the name rather than too little
#: data.
MIN_CONCLUSIVE: Final = 20


class Interval(NamedTuple):
    """A mean with its 95% interval."""

    mean: float
    low: float
    high: float


def resamples(n: int, n_bootstrap: int, seed: int) -> IntArray:
    """Indices [resample, example]: the same ones for every metric, so that all intervals are paired."""
    return np.random.default_rng(seed).integers(0, n, size=(n_bootstrap, n))


def bootstrap(values: FloatArray, draws: IntArray) -> Interval:
    """Mean and 95% interval by resampling examples, widened for small samples.

    The percentiles are taken further out than 2.5 and 97.5 by the ratio of the t to the normal quantile and
    of n to n - 1: the plain percentile interval of 5 examples covers 80%, not 95%.

    Reference: Hesterberg 2015, doi 10.1080/00031305.2015.1089789, section 4.3 (expanded percentile interval).
    """
    from scipy.stats import norm, t

    n = len(values)
    tail = float(norm.cdf(-np.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1)))
    low, high = np.quantile(values[draws].mean(axis=1), [tail, 1.0 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def verdict_by_bootstrap(difference: Interval, trivial: Interval | None, n: int) -> Verdict:
    """The verdict on 5 examples or more; differences are positive in the good direction.

    `better_than_random` if the interval of the difference to random rankings lies above 0,
    `better_than_trivial` if that of the difference to the strongest trivial ranking does too. Otherwise
    `not_better`; but with fewer than 20 examples an interval that holds 0 is `inconclusive`.
    """
    if difference.low > 0:
        return "better_than_trivial" if trivial is not None and trivial.low > 0 else "better_than_random"
    if n < MIN_CONCLUSIVE and difference.high > 0:
        return "inconclusive"
    return "not_better"


def verdict_by_permutation(percentile: float, n_random: int) -> Verdict:
    """The verdict on fewer than 5 examples, from the share of random rankings that did worse.

    `better_than_random` from .95 on (above it with fewer than 100 rankings, where .95 itself is too easily
    met), `not_better` up to .5, else `inconclusive`.
    """
    if percentile > 0.95 or (percentile >= 0.95 and n_random >= 100):
        return "better_than_random"
    return "not_better" if percentile <= 0.5 else "inconclusive"


def percentile_of(value: float, random: FloatArray) -> float:
    """Share of `random` below `value`, ties counting half; equal up to rounding is a tie."""
    tie = np.isclose(random, value, rtol=0.0, atol=1e-9)
    return float(((random < value) & ~tie).mean() + 0.5 * tie.mean())


def ranks(values: FloatArray) -> FloatArray:
    """Ranks from 0, ties sharing their mean."""
    from scipy.stats import rankdata

    out: FloatArray = rankdata(values) - 1.0
    return out


def spearman(a: FloatArray, b: FloatArray) -> float | None:
    """Rank correlation; None for fewer than two values or where one side is constant."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    ra, rb = ranks(a), ranks(b)
    return float(np.clip(np.corrcoef(ra, rb)[0, 1], -1.0, 1.0))
