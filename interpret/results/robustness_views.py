"""Views of robustness: what flips predictions, what differs by group, whether explanations hold, what is assumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from interpret.results.record import Estimate, Message
from interpret.results.robustness import (
    ChangedText,
    GroupRow,
    PairRow,
    PairScores,
    PerturbationRow,
    Robustness,
    StabilityRow,
)
from interpret.results.tree import (
    Column,
    Details,
    Figure,
    Heading,
    Inline,
    IntervalPlot,
    IntervalRow,
    Node,
    Note,
    Number,
    NumberKind,
    Paragraph,
    Section,
    Table,
    say,
)
from interpret.results.views import view

#: Characters of an example that are shown, around the first place that differs.
_SHOWN: Final = 160
_LEAD: Final = 40
#: Sentence pairs and group rows on the page; the record holds them all.
N_ROWS: Final = 40


def robustness_nodes(record: Robustness) -> tuple[Node, ...]:
    """What holds and what does not, then each part, then what perturbations made by rules leave out."""
    children: list[Node] = []
    same = [r for r in record.rows if r.expectation == "same" and r.n]
    change = [r for r in record.rows if r.expectation == "change" and r.n]
    if record.rows:
        children += [Paragraph(_lead(record, same), "lead"), *_flip_nodes(same)]
        children += _unchanged(record)
    if change:
        children += [Heading(say("robustness.change_heading")), _flip_table(change, say("robustness.change_table"))]
        children.append(Paragraph((say("robustness.change_reading"),), "small"))
    if record.rows:
        children += [Heading(say("robustness.group_heading")), *_group_nodes(record.groups)]
        children += [Heading(say("robustness.stability_heading")), *_stability_nodes(record)]
    for scores in record.pairs:
        heading = say("robustness.pairs_heading", first=scores.first, second=scores.second)
        children += [Heading(heading), *pair_nodes(scores)]
    examples = [(r.name, r.largest) for r in record.rows if r.largest is not None and r.n_read_alike < r.n]
    if examples:
        children.append(Details(say("robustness.examples"), (_example_table(examples),)))
    children.append(_limits(record))
    return tuple(children)


def _lead(record: Robustness, same: Sequence[PerturbationRow]) -> tuple[Inline, ...]:
    parts: list[Inline] = [say("robustness.lead", n=record.n_texts, tried=len(same))]
    if same:
        # By what is sure: of one text that flips nothing follows.
        worst = max(same, key=lambda r: (r.flip_low or 0.0, r.flip_rate or 0.0))
        found = say("robustness.worst", name=worst.name, flips=worst.flips, n=worst.n)
        parts.append(found if worst.flips else say("robustness.no_flip"))
    differing = [r for r in record.groups if r.low is not None and r.high is not None and not r.low <= 0.0 <= r.high]
    judged = sum(r.low is not None for r in record.groups)
    if judged:
        parts.append(say("robustness.groups_differ", n=len(differing), of=judged))
    return tuple(parts)


# --- predictions


def _flip_nodes(rows: Sequence[PerturbationRow]) -> tuple[Node, ...]:
    if not rows:
        return ()
    table = _flip_table(rows, say("robustness.table"))
    plot = IntervalPlot(
        tuple(IntervalRow(_name(r.name), r.flip_rate, r.flip_low, r.flip_high) for r in rows),
        say("column.flips"),
        "percent",
        say("column.flips"),
    )
    alt = say("robustness.figure_alt", n=len(rows))
    figure = Figure(plot, alt, table, say("robustness.figure"), table_open=True)
    return figure, Paragraph((say("robustness.reading", n=len(rows)),), "small")


def _flip_table(rows: Sequence[PerturbationRow], caption: Message) -> Table:
    columns = (
        Column(say("column.perturbation")),
        Column(say("column.texts_changed"), numeric=True),
        Column(say("column.read_alike"), numeric=True),
        Column(say("column.flips"), numeric=True),
        Column(say("column.predicted_change"), numeric=True),
    )
    cells: tuple[tuple[Inline, ...], ...] = tuple(
        (
            _name(r.name),
            Number(r.n, "count"),
            Number(r.n_read_alike, "count"),
            Number(r.flip_rate, "percent", r.flip_low, r.flip_high),
            Number(r.change, "points", r.change_low, r.change_high),
        )
        for r in rows
    )
    return Table(columns, cells, caption)


def _unchanged(record: Robustness) -> tuple[Node, ...]:
    """Perturbations that fitted texts and found nothing in them: a part of the coverage."""
    idle = [r.name for r in record.rows if not r.n]
    return (Paragraph((say("robustness.idle", names=",".join(idle)),), "small"),) if idle else ()


def _name(name: str) -> Message:
    return say("perturbation.named", name=name)


# --- groups


def _group_nodes(rows: Sequence[GroupRow]) -> tuple[Node, ...]:
    judged = [r for r in rows if r.low is not None]
    few = sorted({r.category for r in rows} - {r.category for r in judged})
    thin = (Paragraph((say("robustness.thin_groups", names=",".join(few)),), "small"),) if few else ()
    if not judged:
        return thin or (Paragraph((say("robustness.no_groups"),)),)
    columns = (
        Column(say("column.category")),
        Column(say("column.group")),
        Column(say("column.class_name")),
        Column(say("column.examples"), numeric=True),
        Column(say("column.own_group"), numeric=True),
        Column(say("column.group_difference"), numeric=True),
        Column(say("column.reading")),
    )
    cells: tuple[tuple[Inline, ...], ...] = tuple(
        (
            say("swap_category.named", name=r.category),
            say("swap_group.named", name=r.group),
            r.label,
            Number(r.n, "count"),
            Number(r.n_own, "count"),
            Number(r.difference, "points", r.low, r.high),
            say(f"group_reading.{_direction(r)}"),
        )
        for r in judged[:N_ROWS]
    )
    table = Table(columns, cells, say("robustness.group_table"), len(judged), row_headers=False)
    examples = [(r.group, r.largest) for r in judged[:N_ROWS] if r.largest is not None]
    shown = (Details(say("robustness.group_examples"), (_example_table(examples, group=True),)),) if examples else ()
    return table, Paragraph((say("robustness.group_reading"),), "small"), *thin, *shown


def _direction(row: GroupRow) -> str:
    if row.low is not None and row.low > 0:
        return "more"
    return "less" if row.high is not None and row.high < 0 else "open"


# --- explanations


def _stability_nodes(record: Robustness) -> tuple[Node, ...]:
    if not record.stability:
        return (Paragraph((say("robustness.no_stability"),)),)
    columns = (
        Column(say("column.perturbation")),
        Column(say("column.n"), numeric=True),
        Column(say("column.rank_correlation"), numeric=True),
        Column(say("column.first_words", k=record.stability[0].k), numeric=True),
        Column(say("column.shuffled"), numeric=True),
        Column(say("column.gain_points"), numeric=True),
    )
    cells = tuple(_stability_cells(r) for r in record.stability)
    method = say("robustness.stability_lead", method=record.method)
    reading = Paragraph((say("robustness.stability_reading"),), "small")
    return Paragraph((method,)), Table(columns, cells, say("robustness.stability_table")), reading


def _stability_cells(row: StabilityRow) -> tuple[Inline, ...]:
    def number(found: Estimate, kind: NumberKind) -> Number:
        return Number(found.value, kind, found.ci_low, found.ci_high)

    return (
        say(f"perturbation_kind.{row.kind or 'all'}"),
        Number(row.n, "count"),
        number(row.correlation, "decimal"),
        number(row.overlap, "percent"),
        Number(row.random_overlap, "percent"),
        number(row.gain, "points"),
    )


# --- examples and limits


def _example_table(examples: Sequence[tuple[str, ChangedText]], *, group: bool = False) -> Table:
    columns = (
        Column(say("column.group" if group else "column.perturbation")),
        Column(say("column.row")),
        Column(say("column.before")),
        Column(say("column.after")),
        Column(say("column.prediction")),
    )
    cells: list[tuple[Inline, ...]] = []
    for name, found in examples:
        before, after = _around(found.before, found.after)
        flipped = found.label_before != found.label_after
        outcome = say(
            "robustness.flipped" if flipped else "robustness.stayed",
            before=found.label_before,
            after=found.label_after,
            label=found.label,
            p_before=found.probability_before,
            p_after=found.probability_after,
        )
        title = say("swap_group.named", name=name) if group else _name(name)
        cells.append((title, str(found.row), before, after, outcome))
    return Table(columns, tuple(cells), say("robustness.example_table"))


def _around(before: str, after: str) -> tuple[str, str]:
    """Both texts, cut around the first character that differs."""
    same = next(
        (n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    start = max(0, same - _LEAD) if max(len(before), len(after)) > _SHOWN else 0

    def cut(text: str) -> str:
        shown = text[start : start + _SHOWN]
        return ("…" if start else "") + shown + ("…" if start + _SHOWN < len(text) else "")

    return cut(before), cut(after)


def _limits(record: Robustness) -> Node:
    parts: list[Inline] = [say("robustness.limits")]
    if record.rows:
        parts.append(say("robustness.limits_labels"))
        typing, writing = record.rates.get("typing"), record.rates.get("writing")
        parts.append(say("robustness.limits_rates", typing=typing, writing=writing))
    parts.append(say("robustness.limits_groups"))
    others = record.scripts.get("other", 0)
    if others:
        parts.append(say("robustness.limits_scripts", n=others))
    return Note("note", tuple(parts))


# --- sentence pairs


def pair_nodes(record: PairScores) -> tuple[Node, ...]:
    """How often the first sentence of a pair is the likelier one, by category."""
    children: list[Node] = []
    whole = next((r for r in record.rows if r.category is None), None)
    if whole is not None and whole.preferred is not None:
        lead = say("pairs.lead", n=whole.n, share=whole.preferred, first=record.first, second=record.second)
        children.append(Paragraph((lead,), "lead"))
    columns = (
        Column(say("column.category")),
        Column(say("column.n"), numeric=True),
        Column(say("column.preferred"), numeric=True),
        Column(say("column.pair_difference"), numeric=True),
        Column(say("column.even"), numeric=True),
    )
    cells = tuple(_pair_cells(r) for r in record.rows)
    children.append(Table(columns, cells, say("pairs.table", first=record.first, second=record.second)))
    if record.n_left_out or record.n_truncated:
        children.append(Paragraph((say("pairs.left_out", n=record.n_left_out, cut=record.n_truncated),), "small"))
    children.append(Paragraph((say("pairs.reading"), say("pairs.limits")), "small"))
    return tuple(children)


def _pair_cells(row: PairRow) -> tuple[Inline, ...]:
    return (
        say("pairs.all") if row.category is None else row.category,
        Number(row.n, "count"),
        Number(row.preferred, "percent", row.preferred_low, row.preferred_high),
        Number(row.difference, "signed", row.difference_low, row.difference_high),
        Number(row.n_even, "count"),
    )


@view.register
def _(record: Robustness) -> Node:
    return Section(say("view.robustness", n=record.n_texts), robustness_nodes(record))


@view.register
def _(record: PairScores) -> Node:
    return Section(say("view.pair_scores", model=record.model, n=len(record.pairs)), pair_nodes(record))
