"""Outputs of base against tuned on the same examples: how often, how much, and to whose advantage they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from interpret.results.audits import Comparison, ComparisonRow
from interpret.results.record import Message
from interpret.statistics.intervals import MIN_BOOTSTRAP, bootstrap, paired_proportions, resamples, wilson

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def kl_bits(p: FloatArray, q: FloatArray) -> FloatArray:
    """Kullback-Leibler divergence of each row of `q` from the same row of `p` [example, label], in bits."""
    tiny = np.finfo(np.float64).tiny
    terms: FloatArray = p * (np.log2(np.maximum(p, tiny)) - np.log2(np.maximum(q, tiny)))
    bits: FloatArray = np.maximum(terms.sum(axis=1), 0.0)
    return bits


def compare_outputs(
    base: FloatArray,
    tuned: FloatArray,
    gold: IntArray | None,
    slices: Sequence[str | None] | None = None,
    *,
    base_name: str,
    tuned_name: str,
    seed: int,
    n_bootstrap: int = 1000,
    notes: tuple[Message, ...] = (),
) -> Comparison:
    """Paired differences with 95% intervals over examples; McNemar's exact test on who is right.

    Proportions have score intervals, their paired difference that of Agresti and Min, means a bootstrap widened for
    small samples and None below five examples. Intervals of slices are Bonferroni-adjusted over the slices.

    It does not show *why* outputs differ, and one fine-tuning run says nothing about another seed's.

    Args:
        base: probabilities of the base model, [example, label].
        tuned: probabilities of the tuned model, [example, label], the same labels in the same order.
        gold: class indices [example], or None without labels (then nothing is said about being right).
        slices: slice of each example; rows are repeated for each slice.
        base_name: shown in the report.
        tuned_name: shown in the report.
        seed: of the bootstrap.
        n_bootstrap: resamples.
        notes: carried into the record.
    """
    if base.shape != tuned.shape:
        raise ValueError(f"base has shape {base.shape}, tuned {tuned.shape}: they must hold the same examples")
    base_says, tuned_says = base.argmax(axis=1), tuned.argmax(axis=1)
    parts: list[tuple[str | None, BoolArray]] = [(None, np.ones(len(base), dtype=bool))]
    if slices is not None:
        of = np.array([name or "" for name in slices])
        parts += [(name, of == name) for name in sorted({s for s in slices if s})]
    rows: list[ComparisonRow] = []
    for number, (slice_name, members) in enumerate(parts):
        n = int(members.sum())
        level = 0.95 if slice_name is None else 1 - 0.05 / (len(parts) - 1)
        draws = resamples(n, n_bootstrap, (seed, 50, number))
        right = None if gold is None else gold[members]
        for name, value, interval in _quantities(base[members], tuned[members], right, draws, level):
            low, high = (None, None) if interval is None else interval
            rows.append(
                ComparisonRow(part="outputs", name=name, value=value, ci_low=low, ci_high=high, n=n, slice=slice_name)
            )
    only_base_right = only_tuned_right = p_value = None
    if gold is not None:
        only_base_right = int(((base_says == gold) & (tuned_says != gold)).sum())
        only_tuned_right = int(((tuned_says == gold) & (base_says != gold)).sum())
        differing = only_base_right + only_tuned_right
        p_value = float(binomtest(only_tuned_right, differing).pvalue) if differing else 1.0
    return Comparison(
        base_name=base_name,
        tuned_name=tuned_name,
        rows=tuple(rows),
        only_base_right=only_base_right,
        only_tuned_right=only_tuned_right,
        p_value=p_value,
        notes=notes,
    )


class _Quantity(NamedTuple):
    name: str
    value: float
    interval: tuple[float, float] | None


def _quantities(
    base: FloatArray, tuned: FloatArray, gold: IntArray | None, draws: IntArray, level: float
) -> Iterator[_Quantity]:
    """Everything measured on one slice, each with the interval that fits its kind."""
    n = len(base)

    def proportion(name: str, hits: BoolArray) -> _Quantity:
        return _Quantity(name, float(hits.mean()), wilson(int(hits.sum()), n, level))

    def mean(name: str, values: FloatArray) -> _Quantity:
        found = bootstrap(values, draws, level) if n >= MIN_BOOTSTRAP else None
        return _Quantity(name, float(values.mean()), None if found is None else (found.low, found.high))

    base_says, tuned_says = base.argmax(axis=1), tuned.argmax(axis=1)
    if gold is not None:
        base_right, tuned_right = base_says == gold, tuned_says == gold
        yield proportion("accuracy_base", base_right)
        yield proportion("accuracy_tuned", tuned_right)
        gained, lost = int((tuned_right & ~base_right).sum()), int((base_right & ~tuned_right).sum())
        yield _Quantity("accuracy_difference", (gained - lost) / n, paired_proportions(gained, lost, n, level))
        index = np.arange(n)
        yield mean("gold_probability_difference", tuned[index, gold] - base[index, gold])
    yield proportion("changed_predictions", base_says != tuned_says)
    yield mean("kl_bits", kl_bits(tuned, base))
