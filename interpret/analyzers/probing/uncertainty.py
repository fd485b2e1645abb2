"""Scores of predictions, and their intervals by resampling whole sentences.

Words of one sentence are not independent, so what is drawn with replacement are sentences (identical sentences count
as one). Every score here is a function of sums over sentences, so one matrix of draw counts times one matrix of sums
per sentence gives all replicates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: Draw counts held at once; more sentences than this allows are drawn in several chunks of replicates.
_MAX_COUNTS: Final = 16_000_000
_LOW, _HIGH = 2.5, 97.5


class Interval(NamedTuple):
    """A value with its 95% interval; None where it could not be measured."""

    value: float | None
    low: float | None
    high: float | None


class ClusterBootstrap:
    """Replicates of sums over items, drawn by cluster and the same for every quantity, so that differences pair.

    Args:
        clusters: [item] any integer label of the item's cluster.
        n_bootstrap: replicates.
        seed: of the draws.
    """

    def __init__(self, clusters: IntArray, n_bootstrap: int = 1000, seed: int = 0) -> None:
        self.cluster = np.unique(clusters, return_inverse=True)[1].astype(np.int64).reshape(-1)
        self.n_clusters = int(self.cluster.max()) + 1 if len(self.cluster) else 0
        self.n_bootstrap = n_bootstrap
        self.seed = seed
        self._kept: list[FloatArray] | None = None

    def totals(self, values: FloatArray) -> FloatArray:
        """Sums [cluster, quantity] of `values` [item, quantity]."""
        out = np.zeros((self.n_clusters, values.shape[1]))
        np.add.at(out, self.cluster, values)
        return out

    def counts(self, columns: IntArray, n_columns: int, keep: BoolArray | None = None) -> FloatArray:
        """How often each cluster's items fall into each column: [cluster, n_columns]."""
        flat = self.cluster * n_columns + columns
        if keep is not None:
            flat = flat[keep]
        counted = np.bincount(flat, minlength=self.n_clusters * n_columns)
        return counted.reshape(self.n_clusters, n_columns).astype(np.float64)

    def replicates(self, totals: FloatArray) -> FloatArray:
        """Sums of `totals` [cluster, quantity] over each replicate's draw: [replicate, quantity]."""
        return np.concatenate([draws @ totals for draws in self._draws()])

    def _draws(self) -> Iterator[FloatArray]:
        if self._kept is not None:
            yield from self._kept
            return
        per_chunk = max(1, min(self.n_bootstrap, _MAX_COUNTS // max(1, self.n_clusters)))
        kept = []
        for number, start in enumerate(range(0, self.n_bootstrap, per_chunk)):
            rng = np.random.default_rng([self.seed, number])
            n = min(per_chunk, self.n_bootstrap - start)
            even = np.full(self.n_clusters, 1 / self.n_clusters)
            draws = rng.multinomial(self.n_clusters, even, size=n).astype(np.float64)
            if per_chunk >= self.n_bootstrap:
                kept.append(draws)
            yield draws
        self._kept = kept or None

    def of(self, totals: FloatArray, score: Callable[[FloatArray], FloatArray]) -> Interval:
        """`score` of the summed totals, with its percentile interval; `score` works on the last axis.

        Replicates that have no score, as R squared has none of equal numbers, are left out of the interval.
        """
        value = float(score(totals.sum(axis=0)))
        return self._interval(value, score(self.replicates(totals)) if np.isfinite(value) else np.zeros(0))

    def weighted(self, score: Callable[[FloatArray], float]) -> Interval:
        """`score` of how often each item is drawn [item], for what is no function of sums; once for each replicate."""
        value = score(np.ones(len(self.cluster)))
        if not np.isfinite(value):
            return Interval(None, None, None)
        return self._interval(value, np.array([score(row[self.cluster]) for draws in self._draws() for row in draws]))

    @staticmethod
    def _interval(value: float, drawn: FloatArray) -> Interval:
        """A value with the percentiles of the replicates that have one."""
        if not np.isfinite(value):
            return Interval(None, None, None)
        drawn = drawn[np.isfinite(drawn)]
        return Interval(value, *percentiles(drawn)) if len(drawn) else Interval(value, None, None)

    def mean(self, values: FloatArray, keep: BoolArray | None = None) -> Interval:
        """The mean of `values` [item], over the items to `keep` when some are left out."""
        weight = np.ones(len(values)) if keep is None else keep.astype(np.float64)
        if not weight.any():
            return Interval(None, None, None)
        totals = self.totals(np.column_stack([values * weight, weight]))
        return self.of(totals, lambda sums: sums[..., 0] / np.maximum(sums[..., 1], 1e-12))

    def score(self, predicted: IntArray, gold: IntArray, n_classes: int) -> dict[str, Interval]:
        """Accuracy, balanced accuracy and macro-F1 of `predicted` [item] against `gold` [item].

        Balanced accuracy is the mean recall of the classes that occur in `gold`; macro-F1 the mean over the classes
        that occur in either. In a replicate, classes that were not drawn are left out.
        """
        hit = self.counts(gold, n_classes, predicted == gold)
        totals = np.concatenate([hit, self.counts(gold, n_classes), self.counts(predicted, n_classes)], axis=1)
        drawn = np.concatenate([totals.sum(axis=0)[None], self.replicates(totals)])
        right, wanted, given = np.split(drawn, 3, axis=1)
        scores = {
            "accuracy": right.sum(axis=1) / wanted.sum(axis=1),
            "balanced_accuracy": _mean_ratio(right, wanted),
            "macro_f1": _mean_ratio(2 * right, wanted + given),
        }
        return {name: self.exact_end(Interval(float(v[0]), *percentiles(v[1:]))) for name, v in scores.items()}

    def exact_end(self, share: Interval, *, signed: bool = False) -> Interval:
        """A share at which every cluster agrees, none or all, with the end that a bootstrap cannot see.

        With `signed` it is a difference between two shares, which may lie on either side of none.

        Resampling what never varies gives an interval of no width, whatever the number of clusters. Of n clusters that
        all agree the rate of others may still be 1 - 0.025^(1/n) (Clopper and Pearson 1934).
        """
        if share.value not in (0.0, 1.0) or share.low != share.high or not self.n_clusters:
            return share
        reach = 1.0 - float((_LOW / 100) ** (1 / self.n_clusters))
        low = share.value - reach * (1.0 if signed else share.value)
        high = share.value + reach * (1 - share.value)
        return Interval(share.value, low, high)


def percentiles(replicates: FloatArray) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile."""
    low, high = np.percentile(replicates, [_LOW, _HIGH])
    return float(low), float(high)


def _mean_ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """Mean over columns of above / below, columns with nothing below left out."""
    present = below > 0
    ratio = np.where(present, above / np.where(present, below, 1.0), 0.0)
    mean: FloatArray = ratio.sum(axis=1) / present.sum(axis=1)
    return mean


def over_draws(interval: Interval, draws: FloatArray, *, fresh: bool) -> Interval:
    """Widen an interval by the spread between the control draws whose mean went into it.

    A control is itself random. With `fresh` the interval is for comparison with one more draw: a task drawn like a
    control falls inside it in 95 of 100 runs. Otherwise it is for the mean over all possible draws. Student's t over
    the draws, added in squares to the bootstrap's half-widths. One draw has no spread; the interval stays as it is.
    """
    m = len(draws)
    if interval.value is None or interval.low is None or interval.high is None or m < 2:
        return interval
    from scipy import stats

    spread = float(stats.t.ppf(_HIGH / 100, m - 1)) * float(np.std(draws, ddof=1))
    spread *= float(np.sqrt(1 / m + (1.0 if fresh else 0.0)))
    below = float(np.hypot(interval.value - interval.low, spread))
    above = float(np.hypot(interval.high - interval.value, spread))
    low, high = interval.value - below, interval.value + above
    return Interval(interval.value, low, high) if fresh else Interval(interval.value, max(low, 0.0), min(high, 1.0))
