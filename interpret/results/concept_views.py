"""View of columns that were asked for: known or not, used or not, what each rests on, and what it does not show."""

from __future__ import annotations

from interpret.results.audit_views import estimate
from interpret.results.concepts import Concepts, ConceptUse
from interpret.results.erasure import ErasureCondition, ErasureRow, ErasureVerdict
from interpret.results.erasure_views import erasure_nodes
from interpret.results.record import Message
from interpret.results.tree import (
    Badge,
    Code,
    Column,
    Details,
    Fact,
    Facts,
    Inline,
    Node,
    Number,
    Paragraph,
    Section,
    Table,
    say,
)
from interpret.results.views import view

_BESIDE: tuple[ErasureCondition, ...] = ("erased", "random", "random_displaced")


def concept_nodes(record: Concepts) -> tuple[Node, ...]:
    """Verdicts, what they rest on, answers by value, the limits, and the erasures folded away."""
    verdicts = tuple(Fact(_name(row), _overall(row), _why(row)) for row in record.rows)
    children: list[Node] = [Paragraph((say("concepts.lead"),)), Facts(verdicts)]
    if any(row.layers for row in record.rows):
        children += [_read_table(record), _effect_table(record)]
    groups = _groups(record)
    if groups is not None:
        children.append(groups)
    limits = [say("concepts.limits"), *([] if groups is None else [say("concepts.limits_gaps")])]
    children.append(Paragraph(tuple(limits), "small"))
    for row in record.rows:
        for at in row.layers:
            children.append(Details(say("view.erasure", task=row.name, place=at.place), erasure_nodes(at.erasure)))
    return tuple(children)


def _badge(verdict: ErasureVerdict, *, protected: bool, known: bool) -> Badge:
    # That it is known is something to know, whatever could be said of its use.
    text = say(
        "concepts.verdict.known_undecided" if known and verdict == "inconclusive" else f"concepts.verdict.{verdict}"
    )
    if verdict == "available_used":
        return Badge("fail" if protected else "done", text)
    return Badge("inconclusive" if verdict == "inconclusive" else "done", text)


def _name(row: ConceptUse) -> Message | str:
    return say("concepts.protected", name=row.name) if row.protected else row.name


def _overall(row: ConceptUse) -> Badge:
    known = any(at.availability == "available" for at in row.layers)
    return _badge(row.verdict, protected=row.protected, known=known) if row.layers else Badge("not_measured")


def _why(row: ConceptUse) -> Message | None:
    """Why nothing was measured, or the reason at the layer that decided."""
    deciding = [at for at in row.layers if at.verdict == row.verdict]
    if not deciding:
        return row.why
    at = deciding[-1]
    return at.erasure.why if at.verdict == at.erasure.verdict else say("concepts.not_beyond_control")


def _read_table(record: Concepts) -> Table:
    columns = (
        Column(say("concepts.column")),
        Column(say("concepts.at")),
        Column(say("concepts.read"), numeric=True),
        Column(say("erasure.measure.majority"), numeric=True),
        Column(say("concepts.control"), numeric=True),
    )
    rows: tuple[tuple[Inline, ...], ...] = tuple(
        (
            row.name,
            Code(at.place),
            estimate(at.probe, "percent"),
            _measured(at.erasure.row("majority", "original")),
            estimate(at.control, "percent"),
        )
        for row in record.rows
        for at in row.layers
    )
    return Table(columns, rows, say("concepts.table"))


def _effect_table(record: Concepts) -> Table:
    columns = (
        Column(say("concepts.column")),
        Column(say("concepts.at")),
        *(Column(say(f"concepts.changed.{name}"), numeric=True) for name in _BESIDE),
        Column(say("column.verdict")),
    )
    rows: tuple[tuple[Inline, ...], ...] = tuple(
        (
            row.name,
            Code(at.place),
            *(_measured(at.erasure.row("changed_predictions", name)) for name in _BESIDE),
            _badge(at.verdict, protected=row.protected, known=at.availability == "available"),
        )
        for row in record.rows
        for at in row.layers
    )
    return Table(columns, rows, say("concepts.effects"))


def _measured(row: ErasureRow | None) -> Inline:
    return "–" if row is None else Number(row.value, "percent", row.ci_low, row.ci_high)


def _groups(record: Concepts) -> Table | None:
    columns = (
        Column(say("concepts.column")),
        Column(say("concepts.value")),
        Column(say("column.n"), numeric=True),
        Column(say("metric.accuracy"), numeric=True),
        Column(say("column.gap"), numeric=True),
    )
    rows: tuple[tuple[Inline, ...], ...] = tuple(
        (row.name, one.value, Number(one.n, "count"), estimate(one.accuracy, "percent"), estimate(one.gap, "points"))
        for row in record.rows
        for one in row.groups
    )
    return Table(columns, rows, say("concepts.groups")) if rows else None


@view.register
def _(record: Concepts) -> Node:
    return Section(say("view.concepts"), concept_nodes(record))
