"""Views of a comparison: the pre-flight first, then each part by the rows that say most, then what moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from interpret.results.comparison_figures import part_nodes
from interpret.results.comparisons import PARTS, Comparison, MovedExample, Part, PreflightCheck
from interpret.results.probe_comparison import ProbeComparison
from interpret.results.probe_comparison_views import comparison_plot, comparison_table
from interpret.results.tree import (
    Badge,
    Column,
    Details,
    Fact,
    Facts,
    Figure,
    Heading,
    Inline,
    Node,
    Note,
    Number,
    Paragraph,
    Section,
    Table,
    say,
)
from interpret.results.views import view

#: Characters of a text that moved.
N_CHARACTERS: Final = 160
#: Rows of compared probes.
N_PROBES: Final = 60


def comparison_nodes(record: Comparison) -> tuple[Node, ...]:
    """What was looked at before, the paired rows part by part, and what moved most."""
    children: list[Node] = [*lead_nodes(record)]
    for part in PARTS:
        nodes = compared_nodes(record, part)
        children += (Heading(say(f"part.{part}")), *nodes) if nodes else ()
    if record.moved:
        children.append(Details(say("comparison.moved"), (_moved(record.moved),)))
    children += missing_nodes(record)
    children.append(Paragraph((say("comparison.one_seed"),), "small"))
    return tuple(children)


def lead_nodes(record: Comparison) -> tuple[Node, ...]:
    """Whether anything changed, what is compared, and the pre-flight."""
    out: list[Node] = []
    if record.changed is False:
        out.append(Note("warning", (say("comparison.changed_nothing"),)))
    out.append(Paragraph((say("comparison.paired", base=record.base_name, tuned=record.tuned_name),)))
    if record.notes:
        out.append(Paragraph(record.notes, "small"))
    if record.preflight:
        out.append(_preflight(record.preflight))
    return tuple(out)


def compared_nodes(record: Comparison, part: Part) -> tuple[Node, ...]:
    """One part; of outputs also McNemar's counts, of probes the record that holds them."""
    if part == "probes":
        return () if record.probes is None else _probes(record.probes)
    nodes = part_nodes(part, [row for row in record.rows if row.part == part])
    if part == "outputs" and record.only_base_right is not None and record.only_tuned_right is not None:
        facts = Facts(
            (
                Fact(say("fact.only_tuned_right"), Number(record.only_tuned_right, "count")),
                Fact(say("fact.only_base_right"), Number(record.only_base_right, "count")),
                Fact(say("fact.mcnemar"), Number(record.p_value, "p"), say("comparison.mcnemar_hint")),
            )
        )
        return (*nodes[:1], facts, *nodes[1:])
    return nodes


def _probes(record: ProbeComparison) -> tuple[Node, ...]:
    facts = Facts(
        (
            Fact(say("fact.task"), record.task, say(f"probe.level.{record.level}")),
            Fact(say("fact.n_test"), Number(record.n_test, "count"), say("probe.clusters", n=record.n_clusters_test)),
            Fact(say("fact.probe_changes"), Number(len(record.changed()), "count")),
        )
    )
    plot, table = comparison_plot(record), comparison_table(record, N_PROBES)
    drawn: Node = table
    if plot is not None:
        alt = say("probe_compare.figure_alt", task=record.task, n=len(plot.layers))
        drawn = Figure(plot, alt, table, say("probe_compare.figure"))
    notes = (Note("note", record.notes),) if record.notes else ()
    return (facts, drawn, *notes, Paragraph((say("probe.encoded_not_used"),), "small"))


def missing_nodes(record: Comparison) -> tuple[Node, ...]:
    """Parts that could not be compared, and why not."""
    if not record.not_compared:
        return ()
    columns = (Column(say("column.model_part")), Column(say("column.why")))
    cells = tuple((say(f"part.{one.part}"), one.why) for one in record.not_compared)
    return (Table(columns, cells, say("comparison.not_compared")),)


def _badge(check: PreflightCheck) -> Badge:
    return Badge("inconclusive" if check.verdict == "warn" else "fail", say(f"comparison.{check.verdict}"))


def _preflight(checks: Sequence[PreflightCheck]) -> Table:
    columns = (Column(say("column.check")), Column(say("column.verdict")), Column(say("column.why")))
    cells = tuple(
        (
            say("preflight_name.named", name=check.check),
            # What is as it should be stands back.
            say("comparison.pass") if check.verdict == "pass" else _badge(check),
            check.why,
        )
        for check in checks
    )
    return Table(columns, cells, say("comparison.preflight"))


def _moved(rows: Sequence[MovedExample]) -> Table:
    after = any(r.after is not None for r in rows)
    explained = any(r.explanation_change is not None for r in rows)
    columns = [Column(say("column.row"), numeric=True), Column(say("quantity.kl_bits"), numeric=True)]
    columns += [Column(say("column.explanation_change"), numeric=True)] if explained else []
    columns += [Column(say("column.stands_after"))] if after else []
    columns += [Column(say("column.base_says")), Column(say("column.tuned_says"))]
    texts = any(r.text is not None for r in rows)
    columns += [Column(say("column.text"))] if texts else []
    cells = []
    for r in rows:
        line: list[Inline] = [Number(r.row, "count"), Number(r.kl_bits)]
        line += [Number(r.explanation_change)] if explained else []
        line += [r.after or "–"] if after else []
        line += [r.base or "–", r.tuned or "–"]
        if texts:
            text = r.text or "–"
            line.append(text if len(text) <= N_CHARACTERS else text[: N_CHARACTERS - 1] + "…")
        cells.append(tuple(line))
    return Table(tuple(columns), tuple(cells), say("comparison.moved"))


@view.register
def _(record: Comparison) -> Node:
    return Section(say("view.comparison", base=record.base_name, tuned=record.tuned_name), comparison_nodes(record))
