"""Scores of predicted label sets and of predicted numbers, with intervals that resample whole sentences or groups."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.uncertainty import ClusterBootstrap, Interval

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def set_scores(bootstrap: ClusterBootstrap, predicted: FloatArray, gold: FloatArray) -> dict[str, Interval]:
    """Of label sets [item, label] of 0 and 1: accuracy over all labels, micro-F1 and macro-F1.

    Accuracy is the share of right answers over items and labels. Macro-F1 is the mean over the labels that hold for
    some item or were predicted for one; in a replicate, those that were not drawn are left out.
    """
    k = gold.shape[1]
    hits, right = gold * predicted, (gold == predicted).astype(np.float64)
    columns = [hits, gold, predicted, right.sum(axis=1, keepdims=True), np.full((len(gold), 1), float(k))]
    totals = bootstrap.totals(np.concatenate(columns, axis=1))

    def parts(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
        return sums[..., :k], sums[..., k : 2 * k] + sums[..., 2 * k : 3 * k]

    def micro(sums: FloatArray) -> FloatArray:
        both, either = parts(sums)
        return _ratio(2 * both.sum(axis=-1), either.sum(axis=-1))

    def macro(sums: FloatArray) -> FloatArray:
        both, either = parts(sums)
        return _ratio(_ratio(2 * both, either).sum(axis=-1), (either > 0).sum(axis=-1).astype(np.float64))

    def accuracy(sums: FloatArray) -> FloatArray:
        return _ratio(sums[..., -2], sums[..., -1])

    return {
        "accuracy": bootstrap.of(totals, accuracy),
        "micro_f1": bootstrap.of(totals, micro),
        "macro_f1": bootstrap.of(totals, macro),
    }


def micro_f1(predicted: FloatArray, gold: FloatArray) -> float:
    """Micro-F1 of label sets [item, label]; 0 where there is nothing to find."""
    return float(_ratio(2 * (gold * predicted).sum()[None], (gold.sum() + predicted.sum())[None])[0])


def number_scores(bootstrap: ClusterBootstrap, predicted: FloatArray, gold: FloatArray) -> dict[str, Interval]:
    """Of numbers [item]: R squared, and Spearman's rank correlation where the predictions are not all the same."""
    # About their mean: of numbers far from 0, such as times, the squares would leave nothing of the spread.
    apart = gold - gold.mean()
    squares = np.column_stack([(gold - predicted) ** 2, apart, apart**2, np.ones(len(gold))])
    scores = {"r2": bootstrap.of(bootstrap.totals(squares), _r2_of_sums)}
    if np.ptp(predicted) > 0:
        scores["spearman"] = bootstrap.weighted(spearman(predicted, gold))
    return scores


def r2(predicted: FloatArray, gold: FloatArray) -> float:
    """1 - squared error over squared deviation from the mean of `gold`; 0 where that is constant."""
    spread = float(((gold - gold.mean()) ** 2).sum())
    return 1 - float(((gold - predicted) ** 2).sum()) / spread if spread > 0 else 0.0


def closeness(predicted: FloatArray, gold: FloatArray) -> FloatArray:
    """[item] what R squared is the mean of, so that two probes can be compared item by item."""
    spread = float(((gold - gold.mean()) ** 2).mean())
    found: FloatArray = 1 - (gold - predicted) ** 2 / spread if spread > 0 else np.zeros(len(gold))
    return found


def spearman(a: FloatArray, b: FloatArray) -> Callable[[FloatArray], float]:
    """The rank correlation of `a` and `b` as a function of how often each item is drawn; equals share their rank."""
    places = [np.unique(values, return_inverse=True)[1].reshape(-1) for values in (a, b)]

    def of(weights: FloatArray) -> float:
        ranks = []
        for place in places:
            count = np.bincount(place, weights)
            rank = (np.cumsum(count) - count + (count + 1) / 2)[place]
            ranks.append(rank - np.average(rank, weights=weights))
        x, y = ranks
        below = float((weights * x**2).sum() * (weights * y**2).sum())
        return float((weights * x * y).sum() / below**0.5) if below > 0 else float("nan")

    return of


def _r2_of_sums(sums: FloatArray) -> FloatArray:
    error, total, squares, n = (sums[..., i] for i in range(4))
    spread = squares - total**2 / n
    # A replicate may draw equal numbers only; rounding then leaves a spread that is none.
    found: FloatArray = 1 - error / np.where(spread > 1e-12 * squares, spread, np.nan)
    return found


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    found: FloatArray = np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0)
    return found
