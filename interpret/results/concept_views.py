"""View of columns that were asked for: known or not, used or not, what each rests on, and what it does not show."""

from __future__ import annotations

from interpret.results.audit_views import estimate
from interpret.results.concepts import ConceptLayer, Concepts, ConceptUse
from interpret.results.erasure import ErasureCondition, ErasureVerdict
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
    """A row for each column, answers by value, the limits, and the erasures folded away."""
    children: list[Node] = [Paragraph((say("concepts.lead"),))]
    verdicts = tuple(Fact(_name(row), _overall(row)) for row in record.rows)
    children += [Facts(verdicts), _table(record)]
    groups = _groups(record)
    if groups is not None:
        children.append(groups)
    children.append(Paragraph((say("concepts.limits"),), "small"))
    for row in record.rows:
        for at in row.layers:
            children.append(Details(say("view.erasure", task=row.name, place=at.place), erasure_nodes(at.erasure)))
    return tuple(children)


def _name(row: ConceptUse) -> Message | str:
    return say("concepts.protected", name=row.name) if row.protected else row.name


def _overall(row: ConceptUse) -> Badge:
    return _badge(row.verdict, protected=row.protected) if row.layers else Badge("not_measured")


def _badge(verdict: ErasureVerdict, *, protected: bool) -> Badge:
    text = say(f"concepts.verdict.{verdict}")
    if verdict == "available_used":
        return Badge("fail" if protected else "done", text)
    return Badge("inconclusive" if verdict == "inconclusive" else "done", text)


def _why(at: ConceptLayer) -> Inline:
    beside_control = at.verdict == at.erasure.verdict
    return at.erasure.why if beside_control else say("concepts.not_beyond_control")


def _table(record: Concepts) -> Table:
    columns = (
        Column(say("concepts.column")),
        Column(say("concepts.at")),
        Column(say("concepts.read"), numeric=True),
        Column(say("erasure.measure.majority"), numeric=True),
        Column(say("concepts.control"), numeric=True),
        *(Column(say(f"concepts.changed.{name}"), numeric=True) for name in _BESIDE),
        Column(say("column.verdict")),
        Column(say("column.why")),
    )
    return Table(columns, tuple(cells for row in record.rows for cells in _cells(row)), say("concepts.table"))


def _cells(row: ConceptUse) -> list[tuple[Inline, ...]]:
    """One for each layer, the verdict over all of them beside the name."""
    name = _name(row)
    if not row.layers:
        return [(name, *("–",) * 7, Badge("not_measured"), "–" if row.why is None else row.why)]
    cells = []
    for at in row.layers:
        erased = at.erasure
        found = [erased.row("majority", "original"), *(erased.row("changed_predictions", c) for c in _BESIDE)]
        shown = ["–" if r is None else Number(r.value, "percent", r.ci_low, r.ci_high) for r in found]
        cells.append(
            (
                name,
                Code(at.place),
                estimate(at.probe, "percent"),
                shown[0],
                estimate(at.control, "percent"),
                *shown[1:],
                _badge(at.verdict, protected=row.protected),
                _why(at),
            )
        )
    return cells


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
