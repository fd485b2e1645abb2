"""Views of slices that were found, and of findings."""

from __future__ import annotations

from collections.abc import Sequence

from interpret.results.slices import Finding, FoundSlice, FoundSlices
from interpret.results.tree import Badge, Column, Inline, Node, Note, Number, Paragraph, Section, Table, say
from interpret.results.views import view


def found_slice_nodes(record: FoundSlices) -> tuple[Node, ...]:
    """How it was looked, and the slices that were carried over to the other half."""
    lead = say(
        "found_slices.lead", screened=record.n_screened, searched=record.n_searched, confirming=record.n_confirming
    )
    if not record.rows:
        return (Paragraph((lead, say("found_slices.none"))),)
    columns = (
        Column(say("column.slice")),
        Column(say("column.gap_found"), numeric=True),
        Column(say("column.n"), numeric=True),
        Column(say("metric.accuracy"), numeric=True),
        Column(say("column.gap"), numeric=True),
        Column(say("column.reading")),
    )
    rows = tuple(_cells(row) for row in record.rows)
    table = Table(columns, rows, say("found_slices.table"), len(rows))
    return (Paragraph((lead,)), table, Paragraph((say("found_slices.reading", n=len(rows)),), "small"))


def _cells(row: FoundSlice) -> tuple[Inline, ...]:
    badges = {
        "worse": Badge("fail", say("slices.worse")),
        "not_confirmed": Badge("inconclusive", say("found_slices.not_confirmed")),
        "too_few": Badge("not_measured"),
    }
    return (
        row.feature,
        Number(row.gap_found, "points"),
        Number(row.accuracy.n, "count"),
        Number(row.accuracy.value, "percent", row.accuracy.ci_low, row.accuracy.ci_high),
        Number(row.gap.value, "points", row.gap.ci_low, row.gap.ci_high),
        badges[row.verdict],
    )


def finding_nodes(findings: Sequence[Finding]) -> tuple[Node, ...]:
    """The grave findings in one box, those to be looked into in another."""
    boxes: list[Node] = []
    grave = tuple(one.message for one in findings if one.severity == "high")
    further = tuple(one.message for one in findings if one.severity == "medium")
    if grave:
        # Nothing failed that anybody declared.
        boxes.append(Note("warning", grave))
    if further:
        boxes.append(Note("note", further))
    return tuple(boxes)


@view.register
def _(record: FoundSlices) -> Node:
    return Section(say("view.found_slices"), found_slice_nodes(record))
