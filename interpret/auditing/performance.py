"""How good the model is on this data, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from interpret.results.audits import Performance, SliceRow
from interpret.results.record import Estimate, Message

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: A slice whose accuracy interval is wider than this says nothing about a gap one would act on.
UNDERPOWERED_WIDTH = 0.25


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927); holds its level also near 0 and 1, unlike the Wald interval."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def newcombe(a: int, n_a: int, b: int, n_b: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of the difference of two independent proportions (Newcombe 1998, method 10, from score intervals)."""
    p_a, p_b = a / n_a, b / n_b
    low_a, high_a = wilson(a, n_a, level)
    low_b, high_b = wilson(b, n_b, level)
    d = p_a - p_b
    low = d - math.sqrt((p_a - low_a) ** 2 + (high_b - p_b) ** 2)
    high = d + math.sqrt((high_a - p_a) ** 2 + (p_b - low_b) ** 2)
    return max(-1.0, low), min(1.0, high)


def _metrics(confusion: FloatArray) -> dict[str, FloatArray]:
    """Accuracy, balanced accuracy and macro-F1 of confusion counts [..., gold, predicted]."""
    total = confusion.sum(axis=(-2, -1))
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    gold, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(gold > 0, hit / gold, np.nan)
        f1 = np.where(gold + predicted > 0, 2 * hit / (gold + predicted), np.nan)
    return {
        "accuracy": hit.sum(axis=-1) / total,
        "balanced_accuracy": np.nanmean(recall, axis=-1),
        "macro_f1": np.nanmean(f1, axis=-1),
    }


def expected_calibration_error(confidence: FloatArray, correct: FloatArray, n_bins: int = 10) -> float:
    """Mean |accuracy - confidence| over equal-mass bins, weighted by size (Guo et al. 2017 with equal-mass bins)."""
    order = np.argsort(confidence, kind="stable")
    gaps = [
        len(part) * abs(float(correct[part].mean()) - float(confidence[part].mean()))
        for part in np.array_split(order, n_bins)
        if len(part)
    ]
    return float(sum(gaps) / len(confidence))


def performance(
    probabilities: FloatArray,
    gold: IntArray,
    labels: Sequence[str],
    slices: Sequence[str | None] | None,
    *,
    seed: int,
    n_bootstrap: int,
) -> Performance:
    """Metrics with 95% bootstrap intervals over examples, calibration, confusion counts, and slices.

    Args:
        probabilities: [example, label], softmax of the model's logits.
        gold: [example] class indices.
        labels: names of the classes, by index.
        slices: slice name of each example, or None where the data has none.
        seed: of the bootstrap.
        n_bootstrap: resamples.
    """
    n, k = probabilities.shape
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((k, k), dtype=np.int64)
    np.add.at(confusion, (gold, predicted), 1)

    # Resampling examples with replacement is a multinomial draw over the cells of the confusion matrix,
    # so every metric of the confusion is bootstrapped exactly without touching the examples again.
    rng = np.random.default_rng([seed, 4])
    draws = rng.multinomial(n, (confusion / n).ravel(), size=n_bootstrap).reshape(n_bootstrap, k, k)
    point = _metrics(confusion.astype(np.float64))
    spread = _metrics(draws.astype(np.float64))
    metrics = []
    for name, value in point.items():
        low, high = np.nanpercentile(spread[name], [2.5, 97.5])
        metrics.append(
            Estimate(
                name=name,
                value=float(value),
                ci_low=float(low),
                ci_high=float(high),
                n=n,
                interval="bootstrap",
            )
        )

    confidence = probabilities.max(axis=1)
    correct = (predicted == gold).astype(np.float64)
    resampled = rng.integers(0, n, size=(n_bootstrap, n))
    errors = [expected_calibration_error(confidence[i], correct[i]) for i in resampled]
    low, high = np.percentile(errors, [2.5, 97.5])
    calibration = Estimate(
        name="expected_calibration_error",
        value=expected_calibration_error(confidence, correct),
        ci_low=float(low),
        ci_high=float(high),
        n=n,
        interval="bootstrap",
    )
    return Performance(
        metrics=tuple(metrics),
        calibration_error=calibration,
        confusion=confusion,
        labels=tuple(labels),
        majority_rate=float(np.bincount(gold, minlength=k).max() / n),
        slices=() if slices is None else slice_rows(correct, slices),
    )


def slice_rows(correct: FloatArray, slices: Sequence[str | None]) -> tuple[SliceRow, ...]:
    """Accuracy of each slice and its gap to the rest, the gaps adjusted for how many slices are looked at."""
    names = sorted({name for name in slices if name})
    of = np.array([name or "" for name in slices])
    level = 1 - 0.05 / max(1, len(names))
    rows = []
    for name in names:
        inside, outside = correct[of == name], correct[of != name]
        hits = int(inside.sum())
        low, high = wilson(hits, len(inside))
        accuracy = Estimate(
            name="accuracy", value=hits / len(inside), ci_low=low, ci_high=high, n=len(inside), interval="wilson"
        )
        gap = Estimate(name="gap", value=None, why=Message(code="estimate.too_few", params={"n": 0}))
        if len(outside):
            rest = int(outside.sum())
            gap_low, gap_high = newcombe(hits, len(inside), rest, len(outside), level)
            gap = Estimate(
                name="gap",
                value=hits / len(inside) - rest / len(outside),
                ci_low=gap_low,
                ci_high=gap_high,
                n=len(inside),
                interval="newcombe",
            )
        wide = high - low > UNDERPOWERED_WIDTH
        rows.append(SliceRow(name=name, n=len(inside), accuracy=accuracy, gap=gap, underpowered=wide))
    return tuple(rows)
