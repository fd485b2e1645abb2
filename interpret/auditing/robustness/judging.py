"""A bar that every row has to stay below: decided by the whole intervals of all rows, which are adjusted for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from interpret.results.audits import CheckVerdict
from interpret.results.record import Estimate
from interpret.results.robustness import Robustness

#: Rows on fewer texts cannot keep a criterion from being met, since they never could meet it; they can still fail it.
LEAST: Final = 20


def flip_estimates(record: Robustness | None) -> list[Estimate]:
    """The flip rates of perturbations that should change nothing and changed some text."""
    if record is None:
        return []
    return [
        Estimate(name=r.name, value=r.flip_rate, ci_low=r.flip_low, ci_high=r.flip_high, n=r.n, interval="wilson")
        for r in record.rows
        if r.expectation == "same" and r.n
    ]


def group_estimates(record: Robustness | None) -> list[Estimate]:
    """The absolute differences between groups; of an interval on both sides of 0 the low end becomes 0."""
    out = []
    for r in () if record is None else record.groups:
        low = high = None
        if r.low is not None and r.high is not None:
            low = 0.0 if r.low <= 0.0 <= r.high else min(abs(r.low), abs(r.high))
            high = max(abs(r.low), abs(r.high))
        value = None if r.difference is None else abs(r.difference)
        out.append(Estimate(name=f"{r.category}.{r.group}", value=value, ci_low=low, ci_high=high, n=r.n))
    return out


def judge_all(found: Sequence[Estimate], threshold: float) -> tuple[Estimate | None, CheckVerdict]:
    """`fail` if one interval lies above the threshold, `pass` if those of at least `LEAST` texts lie at or below it.

    Also the row that decides: of those that fail the one that surely is the furthest off, else the one that may be.
    `not_run` where no row can be judged.
    """
    failed = [e for e in found if e.ci_low is not None and e.ci_low > threshold]
    if failed:
        return max(failed, key=lambda e: e.ci_low or 0.0), "fail"
    judged = [e for e in found if e.ci_high is not None and e.n >= LEAST]
    if not judged:
        return None, "not_run"
    worst = max(judged, key=lambda e: e.ci_high or 0.0)
    return worst, "pass" if (worst.ci_high or 0.0) <= threshold else "inconclusive"
