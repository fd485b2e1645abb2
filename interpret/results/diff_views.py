"""Views of two audits side by side, and of an audit's table of answers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from interpret.results.audit_views import number_kind
from interpret.results.diffs import AuditDiff, Change, ChangeVerdict, CheckChange
from interpret.results.examples import Answers
from interpret.results.tree import (
    Badge,
    Code,
    Column,
    Fact,
    Facts,
    Figure,
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
    Text,
    Tile,
    Tiles,
    VerdictName,
    say,
)
from interpret.results.views import view

N_SLICES = 200
N_DRAWN = 30
N_FACTS = 200
_DIGEST = 16
_IS_DIGEST = re.compile("[0-9a-f]{64}")
_SHOWN: dict[ChangeVerdict, VerdictName] = {
    "regression": "fail",
    "improvement": "pass",
    "inconclusive": "inconclusive",
    "unchanged": "done",
    "not_measured": "not_measured",
}


def reading(verdict: ChangeVerdict) -> Badge:
    """The badge of a change."""
    return Badge(_SHOWN[verdict], say(f"change.{verdict}"))


def _name(change: Change) -> Text:
    if change.slice is not None:
        return say("diff.in_slice", slice=change.slice)
    return say(f"change.quantity.{change.quantity}")


def _difference(change: Change) -> Number:
    found = change.difference
    return Number(found.value, "points", found.ci_low, found.ci_high, found.why)


def change_table(changes: Sequence[Change], caption: Text, n_total: int | None = None) -> Table:
    """Old, new and their paired difference, with the reading."""
    columns = (
        Column(say("column.quantity")),
        Column(say("column.old"), numeric=True),
        Column(say("column.new"), numeric=True),
        Column(say("column.difference_points"), numeric=True),
        Column(say("column.n"), numeric=True),
        Column(say("column.reading")),
    )
    rows: list[tuple[Inline, ...]] = []
    for change in changes:
        kind: NumberKind = "points" if change.quantity == "faithfulness" else "percent"
        sides: tuple[Inline, Inline] = ("–", "–")
        if change.old is not None and change.new is not None:
            sides = (Number(change.old, kind), Number(change.new, kind))
        n = Number(change.difference.n, "count")
        rows.append((_name(change), *sides, _difference(change), n, reading(change.verdict)))
    return Table(columns, tuple(rows), caption, n_total)


def result_nodes(record: AuditDiff) -> tuple[Node, ...]:
    """What got worse and what got better for sure, and the rule by which that is said."""
    counts = dict.fromkeys(_SHOWN, 0)
    for row in record.judged:
        counts[row.verdict] += 1
    lead = say("diff.lead", n=record.n_common, old=record.old.title, new=record.new.title)
    children: list[Node] = [Paragraph((lead,), "lead")]
    if record.forced:
        children.append(Note("warning", _what_differs(record)))
    n_worse = counts["regression"]
    badge = reading("regression") if n_worse else Badge("pass", say("diff.none"))
    if record.too_few:
        badge = Badge("inconclusive", say("diff.cannot_be_told"))
        children.append(Note("warning", (say("diff.too_few", n=record.n_common, lost=record.least_loss),)))
    changed = record.changed_predictions
    share = Number(changed.value, "percent", changed.ci_low, changed.ci_high)
    children.append(
        Tiles(
            (
                Tile(say("diff.regressions"), Number(n_worse, "count"), None, badge),
                Tile(say("diff.improvements"), Number(counts["improvement"], "count")),
                Tile(say("diff.undecided"), Number(counts["inconclusive"], "count")),
                Tile(say("diff.changed_answers"), share),
            )
        )
    )
    for verdict in ("regression", "improvement"):
        sure = [c for c in record.changes if c.verdict == verdict]
        if sure:
            children.append(change_table(sure, say(f"diff.{verdict}_table")))
        checks = [c for c in record.checks if c.verdict == verdict]
        if checks:
            children.append(_check_table(checks, say(f"diff.{verdict}_checks")))
    families = [sum(c.slice is not None for c in record.changes), sum(c.slice is None for c in record.changes)]
    children.append(Paragraph((say("diff.rule", n=families[1], slices=families[0]), say("diff.not_why")), "small"))
    return tuple(children)


def _what_differs(record: AuditDiff) -> tuple[Inline, ...]:
    parts = [say("diff.forced", n=record.n_common, old=record.old.n, new=record.new.n)]
    if record.n_relabelled:
        parts.append(say("diff.relabelled", n=record.n_relabelled))
    return tuple(parts)


def change_nodes(record: AuditDiff) -> tuple[Node, ...]:
    """The quantities of all common examples, with McNemar's test, and what could not be compared."""
    children: list[Node] = []
    whole = [change for change in record.changes if change.slice is None]
    if whole:
        children.append(change_table(whole, say("diff.whole_table")))
    if record.only_old_right is not None and record.only_new_right is not None:
        children.append(
            Facts(
                (
                    Fact(say("fact.only_old_right"), Number(record.only_old_right, "count")),
                    Fact(say("fact.only_new_right"), Number(record.only_new_right, "count")),
                    Fact(say("fact.mcnemar"), Number(record.p_value, "p"), say("comparison.mcnemar_hint")),
                )
            )
        )
    children += [Note("note", (note,)) for note in record.notes]
    if any(change.quantity == "faithfulness" for change in whole):
        children.append(Paragraph((say("diff.faithfulness_hint"),), "small"))
    return tuple(children)


def slice_change_nodes(record: AuditDiff) -> tuple[Node, ...]:
    """Right answers per slice, those that fell most first."""
    sliced = [change for change in record.changes if change.slice is not None]
    if not sliced:
        return (Paragraph((say("diff.no_slices"),)),)
    order = sorted(sliced, key=lambda c: (0.0 if c.difference.value is None else c.difference.value, c.slice or ""))
    table = change_table(order[:N_SLICES], say("diff.slice_table"), len(order))
    lead = [say("diff.adjusted", n=len(order))]
    if record.n_resliced:
        lead.append(say("diff.resliced", n=record.n_resliced))
    drawn = [change for change in order if change.difference.value is not None][:N_DRAWN]
    children: list[Node] = [Paragraph(tuple(lead))]
    if not drawn:
        return (*children, table)
    plot = IntervalPlot(
        tuple(
            IntervalRow(
                change.slice or "", change.difference.value, change.difference.ci_low, change.difference.ci_high
            )
            for change in drawn
        ),
        say("column.difference_points"),
        "points",
        say("column.difference_points"),
        line=0.0,
        line_name=say("diff.no_change_line"),
    )
    alt = say("diff.slice_alt", n=len(drawn))
    return (*children, Figure(plot, alt, table, say("diff.slice_figure"), table_open=True))


def check_change_nodes(record: AuditDiff) -> tuple[Node, ...]:
    """Checks whose verdict or bar is not the same."""
    if not record.checks:
        return (Paragraph((say("diff.same_checks"),)),)
    return (Paragraph((say("diff.checks_lead"),)), _check_table(record.checks, say("diff.check_table")))


def _check_table(rows: Sequence[CheckChange], caption: Text) -> Table:
    columns = (
        Column(say("column.check")),
        Column(say("column.old")),
        Column(say("column.new")),
        Column(say("column.old_value"), numeric=True),
        Column(say("column.new_value"), numeric=True),
        Column(say("column.threshold"), numeric=True),
        Column(say("column.reading")),
    )
    cells: list[tuple[Inline, ...]] = []
    for c in rows:
        kind = number_kind(c.check, c.kind)

        def answer(verdict: VerdictName | None, kind: str = c.kind) -> Inline:
            if verdict is None:
                return say("diff.no_such_check")
            return Badge(verdict, None if kind == "criterion" else say(f"answer.{verdict}"))

        def number(value: float | None, kind: NumberKind = kind) -> Inline:
            return "–" if value is None else Number(value, kind)

        same_bar = c.old_threshold == c.new_threshold
        bars = [number(bar) for bar in (c.old_threshold, c.new_threshold)]
        bar: Inline = bars[1]
        if not same_bar and c.old_threshold is not None and c.new_threshold is not None:
            # Words for both, in one cell: the bar itself was moved.
            bar = say(
                "diff.bars_percent" if kind == "percent" else "diff.bars", old=c.old_threshold, new=c.new_threshold
            )
        cells.append(
            (
                say("check_name.named", name=c.check),
                answer(c.old_verdict),
                answer(c.new_verdict),
                number(c.old_value),
                number(c.new_value),
                bar if c.new_threshold is not None else bars[0],
                reading(c.verdict) if c.kind != "finding" else say("diff.finding"),
            )
        )
    return Table(columns, tuple(cells), caption)


def identity_change_nodes(record: AuditDiff) -> tuple[Node, ...]:
    """What was audited, with what, as far as it is not the same."""
    same = record.old.weights_sha256 == record.new.weights_sha256
    children: list[Node] = [Paragraph((say("diff.same_weights" if same else "diff.other_weights"),))]
    if not record.identity:
        return (*children, Paragraph((say("diff.same_identity"),)))
    columns = (
        Column(say("column.diff_kind")),
        Column(say("column.fact")),
        Column(say("column.old")),
        Column(say("column.new")),
    )
    rows: tuple[tuple[Inline, ...], ...] = tuple(
        (
            say(f"diff.group.{change.group}"),
            say("identity_fact.named", name=change.name),
            _fact(change.old),
            _fact(change.new),
        )
        for change in record.identity[:N_FACTS]
    )
    table = Table(columns, rows, say("diff.identity_table"), len(record.identity), row_headers=False)
    return (*children, table)


def _fact(value: str | None) -> Inline:
    if value is None:
        return "–"
    # The beginning of a digest tells two of them apart; the page names the whole ones of model and data below.
    return Code(value[:_DIGEST] + "…" if _IS_DIGEST.fullmatch(value) else value)


def subject_nodes(record: AuditDiff) -> tuple[Node, ...]:
    """Which two audits these are."""
    columns = (Column(say("column.fact")), Column(say("column.old")), Column(say("column.new")))
    old, new = record.old, record.new
    rows: tuple[tuple[Inline, ...], ...] = (
        (say("diff.title_of"), old.title, new.title),
        (say("fact.model"), old.model, new.model),
        (say("fact.weights_before"), Code(old.weights_sha256), Code(new.weights_sha256)),
        (say("fact.data"), old.data, new.data),
        (say("fact.data_sha256"), Code(old.data_sha256), Code(new.data_sha256)),
        (say("fact.used"), Number(old.n, "count"), Number(new.n, "count")),
        (say("diff.common"), Number(record.n_common, "count"), Number(record.n_common, "count")),
    )
    return (Table(columns, rows, say("diff.subjects")),)


@view.register
def _(record: AuditDiff) -> Node:
    children = (
        *result_nodes(record),
        *change_nodes(record),
        *slice_change_nodes(record),
        *check_change_nodes(record),
        *identity_change_nodes(record),
    )
    return Section(say("diff.title", old=record.old.title, new=record.new.title), children)


@view.register
def _(record: Answers) -> Node:
    facts = [
        Fact(say("fact.used"), Number(len(record), "count")),
        Fact(say("answers.explained"), Number(len(record.explained), "count")),
        Fact(say("answers.pairing"), say(f"answers.pairing.{record.pairing}")),
    ]
    if record.correct is not None and len(record):
        facts.insert(1, Fact(say("metric.accuracy"), Number(float(record.correct.mean()), "percent")))
    return Section(say("answers.title"), (Facts(tuple(facts)),))
