"""How good models of other tasks are: words that get a class, answers to questions, text that is foretold or written.

Words and tokens of one text are no independent draws, so every interval over them resamples whole texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from interpret.auditing.performance import (
    MIN_CALIBRATION,
    MIN_METRIC,
    calibration,
    confusion_metrics,
)
from interpret.auditing.predicting import Predictions, Units
from interpret.results.audits import Performance
from interpret.results.record import Estimate, Message
from interpret.statistics.calibration import expected_calibration_error
from interpret.statistics.intervals import bootstrap, expanded_tail, resamples, wilson

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
#: Replicates whose counts are held at once.
_CHUNK = 64


def over_texts(
    name: str, sums: FloatArray, statistic: Callable[[FloatArray], FloatArray], *, n: int, seed: int, n_bootstrap: int
) -> Estimate:
    """A statistic of sums over texts, with an interval that resamples texts, widened where they are few.

    Args:
        name: of the metric.
        sums: [text, quantity], what each text adds.
        statistic: sums over texts `[..., quantity]` -> `[...]`.
        n: words or tokens behind it.
        seed: of the bootstrap.
        n_bootstrap: resamples.
    """
    value = float(statistic(sums.sum(axis=0)))
    low = high = None
    if len(sums) >= MIN_METRIC:
        draws = resamples(len(sums), n_bootstrap, (seed, 42))
        found = []
        for start in range(0, n_bootstrap, _CHUNK):
            part = draws[start : start + _CHUNK]
            times = np.stack([np.bincount(line, minlength=len(sums)) for line in part]).astype(np.float64)
            found.append(statistic(times @ sums))
        tail = expanded_tail(len(sums))
        low, high = (float(q) for q in np.nanquantile(np.concatenate(found), [tail, 1 - tail]))
    return Estimate(
        name=name,
        value=value,
        ci_low=low,
        ci_high=high,
        n=n,
        interval="none" if low is None else "cluster_bootstrap",
    )


def _per_text(units: Units, n_texts: int, *values: FloatArray) -> FloatArray:
    return np.stack([np.bincount(units.example, weights=value, minlength=n_texts) for value in values], axis=1)


def _ratio(sums: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        out: FloatArray = sums[..., 0] / sums[..., 1]
    return out


def _perplexity(sums: FloatArray) -> FloatArray:
    out: FloatArray = np.exp(_ratio(sums))
    return out


def tagging(found: Predictions, labels: Sequence[str], *, seed: int, n_bootstrap: int) -> Performance:
    """Token accuracy and macro F1 by word, the confusion of words, and calibration; texts are resampled."""
    units = found.units
    assert units is not None
    k, n, n_texts = len(labels), len(units.gold), len(found.answers)
    cells = np.zeros((n_texts, k * k))
    np.add.at(cells, (units.example, units.gold * k + units.predicted), 1.0)
    confusion = cells.sum(axis=0).reshape(k, k).astype(np.int64)

    def macro(sums: FloatArray) -> FloatArray:
        return confusion_metrics(sums.reshape(*sums.shape[:-1], k, k))["macro_f1"]

    hit = (units.gold == units.predicted).astype(np.float64)
    options = {"n": n, "seed": seed, "n_bootstrap": n_bootstrap}
    return Performance(
        metrics=(
            over_texts("token_accuracy", _per_text(units, n_texts, hit, np.ones(n)), _ratio, **options),
            over_texts("macro_f1", cells, macro, **options),
        ),
        calibration_error=_calibrated(units, hit, n_texts, seed, n_bootstrap),
        confusion=confusion,
        labels=tuple(labels),
        majority_rate=float(confusion.sum(axis=1).max() / n),
        unit="word",
    )


def _calibrated(units: Units, hit: FloatArray, n_texts: int, seed: int, n_bootstrap: int) -> Estimate:
    """Calibration error over words, with texts resampled; reflected about the estimate as that over texts is."""
    name, n = "expected_calibration_error", len(hit)
    if n < MIN_CALIBRATION or n_texts < MIN_METRIC:
        return Estimate(name=name, value=None, n=n, why=Message(code="estimate.too_few", params={"n": n}))
    value = expected_calibration_error(units.confidence, hit)
    starts = np.searchsorted(units.example, np.arange(n_texts + 1))
    spread = []
    for draw in resamples(n_texts, min(n_bootstrap, 200), (seed, 41)):
        at = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in draw])
        spread.append(expected_calibration_error(units.confidence[at], hit[at]))
    low, high = np.percentile(spread, [2.5, 97.5])
    return Estimate(
        name=name,
        value=value,
        ci_low=max(0.0, 2 * value - float(high)),
        ci_high=max(value, 2 * value - float(low)),
        n=n,
        interval="cluster_bootstrap",
    )


def answering(found: Predictions, *, seed: int, n_bootstrap: int) -> Performance:
    """Exact match and F1 of answers to questions, and calibration of exact match."""
    assert found.right is not None
    assert found.overlap is not None
    n, hits = len(found.right), int(found.right.sum())
    low, high = wilson(hits, n)
    exact = Estimate(name="exact_match", value=hits / n, ci_low=low, ci_high=high, n=n, interval="wilson")
    f1 = Estimate(name="f1", value=float(found.overlap.mean()), n=n)
    if n >= MIN_METRIC:
        mean, f1_low, f1_high = bootstrap(found.overlap, resamples(n, n_bootstrap, (seed, 42)))
        f1 = Estimate(name="f1", value=mean, ci_low=f1_low, ci_high=f1_high, n=n, interval="bootstrap")
    return Performance(
        metrics=(exact, f1),
        calibration_error=calibration(found.confidence, found.right.astype(np.float64), seed, n_bootstrap),
        confusion=np.zeros((0, 0), dtype=np.int64),
        labels=(),
        majority_rate=None,
        unit="question",
    )


def foretelling(found: Predictions, *, seed: int, n_bootstrap: int, written: bool) -> Performance:
    """Accuracy of the next token and perplexity, each token given those before it; texts are resampled.

    With `written` (texts that should be written) also how many are written exactly, and accuracy is of their tokens,
    the end of the text included.
    """
    units = found.units
    assert units is not None
    n, n_texts = len(units.gold), len(found.answers)
    hit = (units.gold == units.predicted).astype(np.float64)
    options = {"n": n, "seed": seed, "n_bootstrap": n_bootstrap}
    name = "token_accuracy" if written else "next_token_accuracy"
    metrics = [
        over_texts(name, _per_text(units, n_texts, hit, np.ones(n)), _ratio, **options),
        over_texts("perplexity", _per_text(units, n_texts, units.nats, np.ones(n)), _perplexity, **options),
    ]
    if written and found.right is not None:
        hits = int(found.right.sum())
        low, high = wilson(hits, n_texts)
        whole = Estimate(
            name="exact_match", value=hits / n_texts, ci_low=low, ci_high=high, n=n_texts, interval="wilson"
        )
        metrics.append(whole)
    why = Message(code="estimate.not_for_task")
    return Performance(
        metrics=tuple(metrics),
        calibration_error=Estimate(name="expected_calibration_error", value=None, n=n, why=why),
        confusion=np.zeros((0, 0), dtype=np.int64),
        labels=(),
        majority_rate=None,
        unit="token",
    )
