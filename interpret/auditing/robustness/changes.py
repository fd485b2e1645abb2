"""What perturbations do to predictions: counted over the texts that they change, whatever makes the predictions.

    rows = perturbation_rows(texts, tried(texts, seed=0), predict, labels)

`predict` is any function from texts to probabilities, so that everything here can be checked on models whose answers
are known.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Final, NamedTuple

import numpy as np

from interpret.auditing.perturbing import PERTURBATIONS, TermList, perturbed, rng_of, script_of, versions
from interpret.results.explanations import FloatArray
from interpret.results.robustness import (
    ChangedText,
    Expectation,
    GroupRow,
    PerturbationKind,
    PerturbationRow,
)
from interpret.statistics.intervals import MIN_BOOTSTRAP, student, wilson

#: Classes whose probability is compared between groups, the most often predicted ones where there are more.
MAX_LABELS: Final = 10


class Predicted(NamedTuple):
    """Probabilities [text, label], and what the model reads of each text, equal where it can see no difference."""

    probabilities: FloatArray
    read: Sequence[Hashable]


Predict = Callable[[Sequence[str]], Predicted]


class Tried(NamedTuple):
    """One perturbation and what it made of the texts with these numbers; those it left as they were are not here."""

    name: str
    kind: PerturbationKind
    expectation: Expectation
    n_fitting: int
    numbers: tuple[int, ...]
    after: tuple[str, ...]


class Grouped(NamedTuple):
    """The texts that are about one group of a category, each as it would be about every other [text][group]."""

    category: str
    groups: tuple[str, ...]
    numbers: tuple[int, ...]
    own: tuple[int, ...]
    texts: tuple[tuple[str, ...], ...]


def tried(texts: Sequence[str], *, seed: int = 0) -> list[Tried]:
    """All perturbations of `PERTURBATIONS` whose script one of the texts has."""
    scripts = [script_of(text) for text in texts]
    out = []
    for p in PERTURBATIONS.values():
        fitting = [n for n, script in enumerate(scripts) if script in p.scripts]
        made = [(n, perturbed(p, texts[n], seed)) for n in fitting]
        changed = [(n, after) for n, after in made if after != texts[n]]
        if fitting:
            numbers, after = tuple(n for n, _ in changed), tuple(text for _, text in changed)
            out.append(Tried(p.name, p.kind, p.expectation, len(fitting), numbers, after))
    return out


def grouped(texts: Sequence[str], lists: Sequence[TermList]) -> list[Grouped]:
    """For every list with the same category and groups, the texts that name one group."""
    found: dict[tuple[str, tuple[str, ...]], list[tuple[int, int, tuple[str, ...]]]] = {}
    for terms in lists:
        rows = found.setdefault((terms.category, terms.groups), [])
        for number, text in enumerate(texts):
            made = versions(text, terms)
            if made is not None:
                own = terms.groups.index(made.group)
                rows.append((number, own, tuple(made.texts[g] for g in terms.groups)))
    out = []
    for (category, groups), rows in found.items():
        rows.sort()
        columns = tuple(r[0] for r in rows), tuple(r[1] for r in rows), tuple(r[2] for r in rows)
        out.append(Grouped(category, groups, *columns))
    return out


def swaps(texts: Sequence[str], groups: Sequence[Grouped], *, seed: int = 0) -> list[Tried]:
    """For each category one other group for every text, drawn at random; lists of several scripts together."""
    out: dict[str, dict[int, str]] = {}
    for g in groups:
        of_category = out.setdefault(g.category, {})
        for number, own, made in zip(g.numbers, g.own, g.texts, strict=True):
            others = [n for n in range(len(g.groups)) if n != own]
            drawn = others[int(rng_of(texts[number], g.category, seed).integers(len(others)))]
            of_category[number] = made[drawn]
    return [
        Tried(f"swap_{name}", "group", "same", len(texts), tuple(sorted(made)), tuple(made[n] for n in sorted(made)))
        for name, made in out.items()
        if made
    ]


def perturbation_rows(
    texts: Sequence[str],
    trials: Sequence[Tried],
    predict: Predict,
    labels: Sequence[str],
    *,
    rows: Sequence[int] | None = None,
) -> tuple[PerturbationRow, ...]:
    """One row per trial, in order.

    Args:
        texts: the texts as they are.
        trials: what was made of them.
        predict: the model.
        labels: names of the columns of its probabilities.
        rows: the row in the data of each text; None numbers them from 0.
    """
    before = predict(texts)
    level = 1.0 - 0.05 / max(1, len(trials))
    return tuple(_row(texts, trial, before, predict(trial.after), labels, rows, level) for trial in trials)


def _row(
    texts: Sequence[str],
    trial: Tried,
    all_before: Predicted,
    after: Predicted,
    labels: Sequence[str],
    rows: Sequence[int] | None,
    level: float,
) -> PerturbationRow:
    n = len(trial.numbers)
    alike = sum(all_before.read[i] == read for i, read in zip(trial.numbers, after.read, strict=True))
    if n == 0:
        return PerturbationRow(
            name=trial.name, kind=trial.kind, expectation=trial.expectation, n_fitting=trial.n_fitting, n=0,
            n_read_alike=0, flips=0, flip_rate=None, flip_low=None, flip_high=None, change=None, change_low=None,
            change_high=None, largest=None,
        )  # fmt: skip
    before = all_before.probabilities[list(trial.numbers)]
    predicted = before.argmax(axis=1)
    flips = int((after.probabilities.argmax(axis=1) != predicted).sum())
    at = np.arange(n), predicted
    moved = after.probabilities[at] - before[at]
    low, high = wilson(flips, n, level)
    change = student(moved, level) if n >= MIN_BOOTSTRAP else None
    largest = int(np.abs(moved).argmax())
    number = trial.numbers[largest]
    return PerturbationRow(
        name=trial.name,
        kind=trial.kind,
        expectation=trial.expectation,
        n_fitting=trial.n_fitting,
        n=n,
        n_read_alike=alike,
        flips=flips,
        flip_rate=flips / n,
        flip_low=low,
        flip_high=high,
        change=float(moved.mean()),
        change_low=None if change is None else change.low,
        change_high=None if change is None else change.high,
        largest=changed_text(
            number if rows is None else rows[number],
            texts[number],
            trial.after[largest],
            before[largest],
            after.probabilities[largest],
            labels,
        ),
    )


def group_rows(
    texts: Sequence[str],
    groups: Sequence[Grouped],
    predict: Predict,
    labels: Sequence[str],
    *,
    rows: Sequence[int] | None = None,
) -> tuple[GroupRow, ...]:
    """How much likelier each class is when the very same texts are about one group and not about the others.

    Of two classes only the second is compared, and of two groups only the first, since the other mirrors it.
    """
    kept = [g for g in groups if g.numbers]
    shown = _compared(predict(texts).probabilities, len(labels))
    asked = [(g, n, label) for g in kept for n in range(_n_compared(g)) for label in shown]
    level = 1.0 - 0.05 / max(1, len(asked))
    tables = {}
    for g in kept:
        flat = predict([text for made in g.texts for text in made]).probabilities
        tables[g] = flat.reshape(len(g.numbers), len(g.groups), -1)
    return tuple(_group_row(texts, g, tables[g], n, label, labels, rows, level) for g, n, label in asked)


def _n_compared(g: Grouped) -> int:
    return 1 if len(g.groups) == 2 else len(g.groups)


def _compared(before: FloatArray, n_labels: int) -> list[int]:
    if n_labels == 2:
        return [1]
    counts = np.bincount(before.argmax(axis=1), minlength=n_labels)
    return sorted(np.argsort(-counts, kind="stable")[:MAX_LABELS].tolist())


def _group_row(
    texts: Sequence[str],
    g: Grouped,
    table: FloatArray,
    group: int,
    label: int,
    labels: Sequence[str],
    rows: Sequence[int] | None,
    level: float,
) -> GroupRow:
    n = len(g.numbers)
    others = [k for k in range(len(g.groups)) if k != group]
    difference = table[:, group, label] - table[:, others, label].mean(axis=1)
    interval = student(difference, level) if n >= MIN_BOOTSTRAP else None
    own = np.array(g.own)
    # Texts that are about this group are shown as they would be about the next one.
    to = np.where(own == group, (own + 1) % len(g.groups), group)
    each = np.arange(n)
    at = int(np.abs(table[each, to, label] - table[each, own, label]).argmax())
    number = g.numbers[at]
    return GroupRow(
        category=g.category,
        group=g.groups[group],
        label=labels[label],
        n=n,
        n_own=int((own == group).sum()),
        difference=float(difference.mean()),
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        largest=changed_text(
            number if rows is None else rows[number],
            texts[number],
            g.texts[at][to[at]],
            table[at, own[at]],
            table[at, to[at]],
            labels,
            label,
        ),
    )


def changed_text(
    row: int,
    before: str,
    after: str,
    p_before: FloatArray,
    p_after: FloatArray,
    labels: Sequence[str],
    label: int | None = None,
) -> ChangedText:
    """An example; its probabilities are of `label`, or of the class predicted before."""
    predicted = int(p_before.argmax())
    of = predicted if label is None else label
    return ChangedText(
        row=row,
        before=before,
        after=after,
        label=labels[of],
        label_before=labels[predicted],
        label_after=labels[int(p_after.argmax())],
        probability_before=float(p_before[of]),
        probability_after=float(p_after[of]),
    )
