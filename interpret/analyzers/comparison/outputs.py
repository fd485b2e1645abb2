"""Outputs of base against tuned on the same examples: how often, how much, and to whose advantage they differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from interpret.results.audits import Comparison, ComparisonRow
from interpret.results.record import Message

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class _Paired(NamedTuple):
    name: str
    per_example: FloatArray


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
    """Paired differences with 95% bootstrap intervals over examples; McNemar's exact test on who is right.

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
    quantities = [
        _Paired("changed_predictions", (base_says != tuned_says).astype(np.float64)),
        _Paired("kl_bits", kl_bits(tuned, base)),
    ]
    only_base = only_tuned = None
    p_value = None
    if gold is not None:
        base_right, tuned_right = base_says == gold, tuned_says == gold
        index = np.arange(len(gold))
        quantities = [
            _Paired("accuracy_base", base_right.astype(np.float64)),
            _Paired("accuracy_tuned", tuned_right.astype(np.float64)),
            _Paired("accuracy_difference", tuned_right.astype(np.float64) - base_right),
            _Paired("gold_probability_difference", tuned[index, gold] - base[index, gold]),
            *quantities,
        ]
        only_base = int((base_right & ~tuned_right).sum())
        only_tuned = int((tuned_right & ~base_right).sum())
        differing = only_base + only_tuned
        p_value = float(binomtest(only_tuned, differing).pvalue) if differing else 1.0

    parts: list[tuple[str | None, npt.NDArray[np.bool_]]] = [(None, np.ones(len(base), dtype=bool))]
    if slices is not None:
        of = np.array([name or "" for name in slices])
        parts += [(name, of == name) for name in sorted({s for s in slices if s})]
    rows = []
    for number, (slice_name, members) in enumerate(parts):
        rng = np.random.default_rng([seed, 5, number])
        n = int(members.sum())
        resampled = rng.integers(0, n, size=(n_bootstrap, n))
        for name, values in quantities:
            chosen = values[members]
            low, high = np.percentile(chosen[resampled].mean(axis=1), [2.5, 97.5])
            rows.append(
                ComparisonRow(
                    part="outputs",
                    name=name,
                    value=float(chosen.mean()),
                    ci_low=float(low),
                    ci_high=float(high),
                    n=n,
                    slice=slice_name,
                )
            )
    return Comparison(
        base_name=base_name,
        tuned_name=tuned_name,
        rows=tuple(rows),
        only_base_right=only_base,
        only_tuned_right=only_tuned,
        p_value=p_value,
        notes=notes,
    )
