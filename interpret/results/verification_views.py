"""The view of a verification."""

from __future__ import annotations

from interpret.results.tree import (
    Badge,
    Column,
    Inline,
    Node,
    Note,
    Number,
    Paragraph,
    Section,
    Table,
    VerdictName,
    say,
)
from interpret.results.verification import Deviation, FindingStatus, Verification
from interpret.results.views import view

#: Deviations that are listed one by one; the line above them counts all.
N_DEVIATIONS = 50
_SHOWN: dict[FindingStatus, VerdictName] = {
    "holds": "pass",
    "differs": "fail",
    "skipped": "not_run",
    "not_covered": "not_run",
}


def verification_nodes(record: Verification) -> tuple[Node, ...]:
    """What was looked at, what deviates, and what that amounts to."""
    columns = (Column(say("column.part")), Column(say("column.result")), Column(say("column.why")))
    rows: tuple[tuple[Inline, ...], ...] = tuple(
        (
            say("verify_part.named", name=found.part)
            if found.subject is None
            else say("verify_part.of", name=found.part, subject=found.subject),
            Badge(_SHOWN[found.status], say(f"verify_status.{found.status}")),
            found.why,
        )
        for found in record.findings
    )
    children: list[Node] = [Table(columns, rows, say("verify.table"))]
    if record.deviations:
        children.append(_deviations(record.deviations))
    outcome = say(f"verify.outcome.{record.outcome}")
    children.append(Note("failure", (outcome,)) if record.outcome == "differs" else Paragraph((outcome,)))
    return tuple(children)


def _deviations(found: tuple[Deviation, ...]) -> Table:
    columns = (
        Column(say("column.row"), numeric=True),
        Column(say("column.quantity")),
        Column(say("column.saved"), numeric=True),
        Column(say("column.again"), numeric=True),
    )
    rows: tuple[tuple[Inline, ...], ...] = tuple(
        (str(d.row), say(f"deviation.{d.quantity}"), _value(d.saved), _value(d.again)) for d in found[:N_DEVIATIONS]
    )
    return Table(columns, rows, say("verify.deviations"), len(found), row_headers=False)


def _value(value: float | str | None) -> Inline:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return Number(value, "tiny" if 0 < abs(value) < 0.001 else "decimal")


@view.register
def _(record: Verification) -> Node:
    return Section(record.title, verification_nodes(record))
