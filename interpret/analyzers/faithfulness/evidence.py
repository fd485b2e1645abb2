"""One metric over texts against random and trivial rankings of the same words: the row with its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

import numpy as np

from interpret.analyzers.faithfulness.stats import percentile_of, verdict_by_bootstrap, verdict_by_permutation
from interpret.results.explanations import FaithfulnessRow, FloatArray
from interpret.statistics.intervals import MIN_BOOTSTRAP, bootstrap, resamples

#: The rankings that every explanation is compared with, in the order of `trivial_scores`.
TRIVIAL: Final = ("word_length", "position", "inverse_frequency")

Better = Literal["higher", "lower"]


def evidence(
    metric: str,
    operator: str,
    better: Better,
    values: Sequence[FloatArray],
    *,
    trivial: Sequence[str] = TRIVIAL,
    n_bootstrap: int,
    seed: int,
) -> FaithfulnessRow:
    """Mean of a metric, paired with random rankings and with the strongest trivial one.

    Args:
        metric: its name.
        operator: how words were removed, "none" where none were.
        better: the direction in which an explanation is good.
        values: one array [ranking] for each text: the explanation's, the trivial ones', then the random ones'.
        trivial: names of the trivial rankings in `values`.
        n_bootstrap: resamples of texts, from 5 texts on; with fewer, the verdict is a percentile of random rankings.
        seed: of the resamples.
    """
    n = len(values)
    if not n:
        return FaithfulnessRow(
            metric=metric, operator=operator, value=None, ci_low=None, ci_high=None, random_mean=None,
            random_ci_low=None, random_ci_high=None, n=0, verdict="inconclusive",
        )  # fmt: skip
    good = 1.0 if better == "higher" else -1.0
    table = np.array(values)
    value, random = table[:, 0], table[:, 1 + len(trivial) :]
    over_random = good * (value - random.mean(axis=1))
    row = FaithfulnessRow(
        metric=metric,
        operator=operator,
        value=float(value.mean()),
        ci_low=None,
        ci_high=None,
        random_mean=float(random.mean()),
        random_ci_low=None,
        random_ci_high=None,
        n=n,
        verdict="inconclusive",
        difference=float(over_random.mean()),
    )
    over_trivial = None
    if trivial:
        means = good * table[:, 1 : 1 + len(trivial)].mean(axis=0)
        strongest = int(np.argmax(means))
        over_trivial = good * (value - table[:, 1 + strongest])
        row = replace(
            row,
            trivial_name=trivial[strongest],
            trivial_mean=float(good * means[strongest]),
            trivial_difference=float(over_trivial.mean()),
        )
    if n < MIN_BOOTSTRAP:
        # Each draw ranks all texts at random at once, so the mean over texts has its own null distribution.
        null = random.mean(axis=0)
        low, high = np.quantile(null, [0.025, 0.975]).tolist()
        percentile = percentile_of(good * float(value.mean()), good * null)
        verdict = verdict_by_permutation(percentile, random.shape[1])
        return replace(row, random_ci_low=low, random_ci_high=high, verdict=verdict)
    draws = resamples(n, n_bootstrap, seed)
    own, chance, difference = (bootstrap(each, draws) for each in (value, random.mean(axis=1), over_random))
    against = None if over_trivial is None else bootstrap(over_trivial, draws)
    return replace(
        row,
        ci_low=own.low,
        ci_high=own.high,
        random_ci_low=chance.low,
        random_ci_high=chance.high,
        verdict=verdict_by_bootstrap(difference, against, n),
        difference_ci_low=difference.low,
        difference_ci_high=difference.high,
        trivial_difference_ci_low=None if against is None else against.low,
        trivial_difference_ci_high=None if against is None else against.high,
    )
