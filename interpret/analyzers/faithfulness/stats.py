"""The rule that turns intervals and percentiles into a verdict."""

from __future__ import annotations

from typing import Final

import numpy as np

from interpret.results.explanations import FloatArray, Verdict
from interpret.statistics.intervals import Interval

#: From this many examples on, an interval that holds 0 means no effect worth the name rather than too little
#: data.
MIN_CONCLUSIVE: Final = 20
#: Fewer random rankings than this cannot tell the 95th percentile.
MIN_RANDOM: Final = 20


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
    met), `not_better` up to .5, else `inconclusive`; fewer than 20 rankings cannot tell that percentile.
    """
    if (percentile > 0.95 and n_random >= MIN_RANDOM) or (percentile >= 0.95 and n_random >= 100):
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
