"""Section 10: where attention goes, what the answer loses without a head, and patterns of some heads to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

import numpy as np

from interpret.analyzers.target import resolve_targets
from interpret.auditing.ablation import ablation_effects, head_ablations
from interpret.auditing.heads import attention_summary
from interpret.auditing.stage import Run
from interpret.capture.capture import stream
from interpret.errors import UnknownSiteError
from interpret.results.attention import AttentionMap, AttentionMaps, Head
from interpret.results.audits import AttentionSummary, Case
from interpret.results.record import Message
from interpret.statistics.intervals import MIN_BOOTSTRAP

#: Forwards of one text each that are spent on taking out heads; of many heads fewer texts are looked at.
MAX_FORWARDS: Final = 6000
#: What a report shows of whole patterns: at most so many heads, cases, tokens in one, and numbers in all.
MAX_HEADS: Final = 48
MAX_CASES: Final = 8
MAX_TOKENS: Final = 64
MAX_NUMBERS: Final = 400_000


def attention_section(run: Run, cases: Sequence[Case]) -> AttentionSummary:
    """Section 10 of an audit, and what it covers; `cases` are those of section 9, whose patterns may be shown."""
    numbers = run.sample(range(len(run.examples)), run.config.attention, stream=100)
    run.done("attention", len(numbers))
    summary = attention_summary(
        run.handle, [run.encoded[i] for i in numbers], seed=run.seed, n_bootstrap=run.config.bootstraps
    )
    summary = _ablated(run, summary, numbers)
    return replace(summary, maps=_maps(run, summary, cases))


def n_ablated(n_examples: int, n_heads: int, wanted: int) -> int:
    """On how many examples heads are taken out: what is wanted, unless that is too much for so many heads."""
    return min(n_examples, wanted, MAX_FORWARDS // max(1, n_heads))


def _ablated(run: Run, summary: AttentionSummary, numbers: Sequence[int]) -> AttentionSummary:
    n_heads = run.handle.n_layers * run.handle.n_heads
    n = n_ablated(len(numbers), n_heads, run.config.ablated)
    if n < MIN_BOOTSTRAP:
        if run.config.ablated < MIN_BOOTSTRAP:
            why = Message(code="attention.none_ablated", params={"n": run.config.ablated, "needed": MIN_BOOTSTRAP})
        else:
            why = Message(code="attention.too_many_heads", params={"heads": n_heads, "needed": MIN_BOOTSTRAP})
        return replace(summary, ablation_why=why)
    chosen = run.sample(numbers, n, stream=101)
    at = [int(run.results["predictions"].at[i]) for i in chosen] if run.handle.task == "token-classification" else None
    targets = resolve_targets(run.handle, [run.encoded[i] for i in chosen], at=at)
    try:
        effects = ablation_effects(run.handle, [run.encoded[i] for i in chosen], targets, progress=run.progress)
    except UnknownSiteError:
        return replace(summary, ablation_why=Message(code="attention.no_head_outputs"))
    rows = head_ablations(effects, seed=run.seed, n_bootstrap=run.config.bootstraps)
    return replace(summary, ablations=rows, n_ablated=n)


def _maps(run: Run, summary: AttentionSummary, cases: Sequence[Case]) -> AttentionMaps | None:
    heads, rule = shown_heads(summary)
    number_of = {row: number for number, row in enumerate(run.examples.rows)}
    chosen: list[tuple[int, int]] = []
    room = MAX_NUMBERS
    for case in cases:
        number = number_of.get(case.row)
        size = 0 if number is None else len(run.encoded[number].ids)
        if number is None or size > MAX_TOKENS or len(heads) * size**2 > room or len(chosen) >= MAX_CASES:
            continue
        chosen.append((case.row, number))
        room -= len(heads) * size**2
    if not chosen:
        return None
    layers = sorted({head.layer for head in heads})
    encoded = [run.encoded[number] for _, number in chosen]
    weights = [np.zeros((len(heads), len(e.ids), len(e.ids)), dtype=np.uint8) for e in encoded]
    for indices, tensors, mask in stream(run.handle, encoded, [f"attn_pattern.{layer}" for layer in layers]):
        for at, head in enumerate(heads):
            pattern = tensors["attn_pattern", head.layer][:, head.head]
            for row, index in enumerate(indices):
                real = mask[row].bool()
                found = pattern[row][real][:, real].clamp(0, 1).double()
                weights[index][at] = (found * 255).round().numpy().astype(np.uint8)
    maps = tuple(
        AttentionMap(row=row, tokens=tuple(e.tokens), weights=found)
        for (row, _), e, found in zip(chosen, encoded, weights, strict=True)
    )
    return AttentionMaps(heads=heads, rule=rule, maps=maps, n_cases=len(cases))


def shown_heads(summary: AttentionSummary) -> tuple[tuple[Head, ...], Literal["all", "effect", "entropy"]]:
    """The heads whose patterns are shown, in their order in the model, and how they were chosen."""
    every = [Head(row.layer, row.head) for row in summary.heads]
    if len(every) <= MAX_HEADS:
        return tuple(every), "all"
    if summary.ablations:
        ordered = sorted(summary.ablations, key=lambda row: (-abs(row.effect), row.layer, row.head))
        return tuple(sorted(Head(row.layer, row.head) for row in ordered[:MAX_HEADS])), "effect"
    focused = sorted(summary.heads, key=lambda row: (row.entropy_nats, row.layer, row.head))
    return tuple(sorted(Head(row.layer, row.head) for row in focused[:MAX_HEADS])), "entropy"
