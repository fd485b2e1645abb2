"""How good the model is on this data, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from interpret.results.audits import Performance, SliceRow
from interpret.results.record import Estimate, Message
from interpret.statistics.calibration import expected_calibration_error
from interpret.statistics.intervals import expanded_tail, newcombe, wilson

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: A slice whose accuracy interval is wider than this says nothing about a gap one would act on.
UNDERPOWERED_WIDTH = 0.25
#: With fewer examples an interval of a metric other than accuracy, or of calibration, says nothing.
MIN_METRIC = 10
MIN_CALIBRATION = 50


def confusion_metrics(confusion: FloatArray) -> dict[str, FloatArray]:
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


def calibration(confidence: FloatArray, correct: FloatArray, seed: int, n_bootstrap: int) -> Estimate:
    """Calibration error with a bootstrap interval reflected about the estimate, which takes out its upward bias."""
    n = len(confidence)
    name = "expected_calibration_error"
    if n < MIN_CALIBRATION:
        return Estimate(name=name, value=None, n=n, why=Message(code="estimate.too_few", params={"n": n}))
    value = expected_calibration_error(confidence, correct)
    resampled = np.random.default_rng([seed, 41]).integers(0, n, size=(n_bootstrap, n))
    low, high = np.percentile([expected_calibration_error(confidence[i], correct[i]) for i in resampled], [2.5, 97.5])
    return Estimate(
        name=name,
        value=value,
        ci_low=max(0.0, 2 * value - float(high)),
        ci_high=max(value, 2 * value - float(low)),
        n=n,
        interval="bootstrap",
    )


def performance(
    probabilities: FloatArray,
    gold: IntArray,
    labels: Sequence[str],
    slices: Sequence[str | None] | None,
    *,
    seed: int,
    n_bootstrap: int,
) -> Performance:
    """Metrics with 95% intervals over examples, calibration, confusion counts, and slices.

    Accuracy has a score interval; balanced accuracy and macro-F1 a bootstrap one, widened for small samples.

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

    correct = (predicted == gold).astype(np.float64)
    return Performance(
        metrics=_with_intervals(confusion, seed, n_bootstrap),
        calibration_error=calibration(probabilities.max(axis=1), correct, seed, n_bootstrap),
        confusion=confusion,
        labels=tuple(labels),
        majority_rate=float(np.bincount(gold, minlength=k).max() / n),
        slices=()
        if slices is None
        else slice_rows(correct, slices, probabilities.max(axis=1), seed=seed, n_bootstrap=n_bootstrap),
    )


def _with_intervals(confusion: IntArray, seed: int, n_bootstrap: int) -> tuple[Estimate, ...]:
    n, k = int(confusion.sum()), len(confusion)
    # Resampling examples with replacement is a multinomial draw over the cells of the confusion matrix,
    # so every metric of the confusion is bootstrapped exactly without touching the examples again.
    rng = np.random.default_rng([seed, 40])
    draws = rng.multinomial(n, (confusion / n).ravel(), size=n_bootstrap).reshape(n_bootstrap, k, k)
    spread = confusion_metrics(draws.astype(np.float64))
    metrics = []
    for name, value in confusion_metrics(confusion.astype(np.float64)).items():
        low: float | None = None
        high: float | None = None
        if name == "accuracy":
            low, high = wilson(int(np.diagonal(confusion).sum()), n)
        elif n >= MIN_METRIC:
            tail = expanded_tail(n)
            low, high = (float(q) for q in np.nanquantile(spread[name], [tail, 1 - tail]))
        metrics.append(
            Estimate(
                name=name,
                value=float(value),
                ci_low=low,
                ci_high=high,
                n=n,
                interval="wilson" if name == "accuracy" else "none" if low is None else "bootstrap",
            )
        )
    return tuple(metrics)


def slice_rows(
    correct: FloatArray,
    slices: Sequence[str | None],
    confidence: FloatArray | None = None,
    *,
    seed: int = 0,
    n_bootstrap: int = 1000,
) -> tuple[SliceRow, ...]:
    """Accuracy of each slice and its gap to the rest, the gaps adjusted for how many slices are looked at.

    With `confidence` [example] also the calibration error of slices that are large enough.
    """
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
        error = None
        if confidence is not None and len(inside) >= MIN_CALIBRATION:
            error = calibration(confidence[of == name], inside, seed, n_bootstrap)
        rows.append(
            SliceRow(
                name=name,
                n=len(inside),
                accuracy=accuracy,
                gap=gap,
                underpowered=wide,
                calibration_error=error,
            )
        )
    return tuple(rows)
