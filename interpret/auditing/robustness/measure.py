"""Section 12: predictions under perturbation and by group, explanations under perturbation, from a model and texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from interpret.analyzers.attribution import attribute
from interpret.analyzers.scheduler import Scheduler
from interpret.auditing.perturbing import TERMS, given_terms, script_of, typing_errors, writing
from interpret.auditing.robustness.changes import (
    Grouped,
    Predict,
    Predicted,
    Tried,
    group_rows,
    grouped,
    perturbation_rows,
    swaps,
    tried,
)
from interpret.auditing.robustness.pairs import pair_scores
from interpret.auditing.robustness.stability import Explained, stability_rows
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.results.robustness import PairScores, Robustness
from interpret.statistics.intervals import softmax

#: Tasks for which something is measured here.
TASKS: Final = ("text-classification", "masked-lm")


def measure_robustness(
    handle: Handle,
    texts: Sequence[str],
    *,
    rows: Sequence[int] | None = None,
    swap_terms: str | None = None,
    explained: int = 20,
    method: str = "auto",
    seed: int = 0,
    n_bootstrap: int = 1000,
    scheduler: Scheduler | None = None,
) -> Robustness:
    """What becomes of predictions and explanations when texts are written otherwise, or are about another group.

    Of a masked language model it is measured which of two versions of a text, one for each of two groups, it takes for
    likelier by the tokens that both share.

    Args:
        handle: a classifier of one class out of several, or a masked language model.
        texts: different texts.
        rows: the row in the data of each; None numbers them from 0.
        swap_terms: further words to exchange, as `"nurse=doctor, he=she"`.
        explained: pairs of a text and its perturbed version whose explanations are compared.
        method: of the explanations.
        seed: of all that is drawn.
        n_bootstrap: resamples for the intervals of the explanations' agreement.
        scheduler: shared with other measurements.

    Raises:
        UsageError: another task, or words that cannot be read as pairs.
    """
    if handle.task not in TASKS:
        raise UsageError(
            f"{handle.name} is a {handle.task} model; robustness is measured for {', '.join(TASKS)}, whose answer to a "
            "changed text can be compared with that to the text"
        )
    scheduler = scheduler or Scheduler(handle)
    lists = (*TERMS, *([given_terms(swap_terms)] if swap_terms else []))
    groups = grouped(texts, lists)
    empty = Robustness(
        rows=(),
        groups=(),
        stability=(),
        pairs=(),
        n_texts=len(texts),
        scripts=dict(sorted(Counter(map(script_of, texts)).items())),
        rates={"typing": typing_errors.RATE, "writing": writing.RATE},
        method=None,
        seed=seed,
    )
    if handle.task == "masked-lm":
        return replace(empty, pairs=_pairs(handle, groups, scheduler))
    predict = predictor(handle, scheduler)
    trials = [*tried(texts, seed=seed), *swaps(texts, groups, seed=seed)]
    pairs, used = _explained(handle, texts, trials, predict, explained, method, seed)
    return replace(
        empty,
        rows=perturbation_rows(texts, trials, predict, handle.labels, rows=rows),
        groups=group_rows(texts, groups, predict, handle.labels, rows=rows),
        stability=stability_rows(pairs, seed=seed, n_bootstrap=n_bootstrap),
        method=used,
    )


def predictor(handle: Handle, scheduler: Scheduler) -> Predict:
    """The classifier as a function from texts to probabilities; each distinct row runs once."""

    def predict(texts: Sequence[str]) -> Predicted:
        rows = [Row(e.ids, e.type_ids) for e in encode(handle, list(texts))]
        return Predicted(softmax(scheduler.logits(rows)) if rows else np.zeros((0, len(handle.labels))), rows)

    return predict


def _pairs(handle: Handle, groups: Sequence[Grouped], scheduler: Scheduler) -> tuple[PairScores, ...]:
    """Only lists of two groups: of more, no pair stands for the others."""
    texts: dict[tuple[str, tuple[str, ...]], list[tuple[str, str]]] = {}
    for g in groups:
        if len(g.groups) == 2:
            texts.setdefault((g.category, g.groups), []).extend((made[0], made[1]) for made in g.texts)
    return tuple(
        pair_scores(handle, made, first=names[0], second=names[1], scheduler=scheduler)
        for (_, names), made in texts.items()
        if made
    )


def _explained(
    handle: Handle,
    texts: Sequence[str],
    trials: Sequence[Tried],
    predict: Predict,
    n: int,
    method: str,
    seed: int,
) -> tuple[list[Explained], str | None]:
    """Pairs drawn from all perturbations in turn, so that no kind crowds out the others, and explained alike."""
    drawn = _drawn(texts, [t for t in trials if t.expectation == "same"], predict, n, seed)
    if not drawn:
        return [], None
    before = [texts[number] for _, number, _ in drawn]
    classes = predict(before).probabilities.argmax(axis=1).tolist()
    first = attribute(handle, encode(handle, before), target=classes, method=method, seed=seed)
    after = encode(handle, [text for _, _, text in drawn])
    second = attribute(handle, after, target=classes, method=first.method, seed=seed)
    pairs = [Explained(t.kind, a, b) for (t, _, _), a, b in zip(drawn, first, second, strict=True)]
    return pairs, first.method


def _drawn(
    texts: Sequence[str], trials: Sequence[Tried], predict: Predict, n: int, seed: int
) -> list[tuple[Tried, int, str]]:
    """Texts that the model reads otherwise after the change: of the others the explanation is the same one."""
    rng = np.random.default_rng([seed, 131])
    left = []
    for trial in trials:
        before = predict([texts[number] for number in trial.numbers]).read
        seen = [
            (trial, number, after)
            for number, after, a, b in zip(trial.numbers, trial.after, before, predict(trial.after).read, strict=True)
            if a != b
        ]
        left.append([seen[i] for i in rng.permutation(len(seen)).tolist()])
    out: list[tuple[Tried, int, str]] = []
    while len(out) < n and any(left):
        out += [seen.pop() for seen in left if seen]
    return out[:n]
