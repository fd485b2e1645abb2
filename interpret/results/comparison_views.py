"""Views of a comparison: the pre-flight first, then each part by the rows that say most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from interpret.results.comparisons import Comparison, ComparisonRow, MovedExample, PreflightCheck
from interpret.results.tree import (
    Badge,
    Column,
    Details,
    Fact,
    Facts,
    Figure,
    HeatPlot,
    Inline,
    LayerPlot,
    Node,
    Note,
    Number,
    NumberKind,
    Paragraph,
    Section,
    Series,
    Table,
    Text,
    say,
)
from interpret.results.views import view

N_COMPARED: Final = 80
#: Characters of a text that moved.
N_CHARACTERS: Final = 160
_DECIMAL: Final = ("mcc", "log_loss", "nll", "brier", "perplexity")
#: Quantities outside outputs that are shares.
_SHARES: Final = ("relative_norm", "changed_weights", "relative_shift")
_VERDICTS: Final = {"pass": "pass", "warn": "inconclusive", "fail": "fail"}


def comparison_nodes(record: Comparison) -> tuple[Node, ...]:
    """What was looked at before, McNemar's counts, the paired rows part by part, and what moved most."""
    children: list[Node] = []
    if record.changed is False:
        children.append(Note("warning", (say("comparison.changed_nothing"),)))
    children += [
        Paragraph((say("comparison.paired", base=record.base_name, tuned=record.tuned_name),)),
        *([Paragraph(record.notes, "small")] if record.notes else []),
    ]
    if record.preflight:
        children.append(_preflight(record.preflight))
    if record.only_base_right is not None and record.only_tuned_right is not None:
        children.append(
            Facts(
                (
                    Fact(say("fact.only_tuned_right"), Number(record.only_tuned_right, "count")),
                    Fact(say("fact.only_base_right"), Number(record.only_base_right, "count")),
                    Fact(say("fact.mcnemar"), Number(record.p_value, "p"), say("comparison.mcnemar_hint")),
                )
            )
        )
    for part in dict.fromkeys(row.part for row in record.rows):
        rows = [row for row in record.rows if row.part == part]
        whole = [row for row in rows if row.slice is None]
        sliced = [row for row in rows if row.slice is not None]
        drawn = _drawn(part, whole)
        if drawn is not None:
            children.append(drawn)
        elif whole:
            table = compared(whole, say(f"part.{part}"))
            children.append(Details(say(f"part.{part}"), (table,)) if len(whole) > 12 else table)
        if sliced:
            name = say("comparison.by_slice", part=part)
            children.append(Details(name, (compared(sliced, None),)))
    if record.moved:
        children.append(Details(say("comparison.moved"), (_moved(record.moved),)))
    if record.not_compared:
        columns = (Column(say("column.model_part")), Column(say("column.why")))
        cells = tuple((say(f"part.{one.part}"), one.why) for one in record.not_compared)
        children.append(Table(columns, cells, say("comparison.not_compared")))
    children.append(Paragraph((say("comparison.one_seed"),), "small"))
    return tuple(children)


def _preflight(checks: Sequence[PreflightCheck]) -> Table:
    columns = (Column(say("column.check")), Column(say("column.verdict")), Column(say("column.why")))
    cells = tuple(
        (
            say("preflight_name.named", name=check.check),
            Badge(_VERDICTS[check.verdict], say(f"comparison.{check.verdict}")),  # type: ignore[arg-type]
            check.why,
        )
        for check in checks
    )
    return Table(columns, cells, say("comparison.preflight"))


def _drawn(part: str, rows: Sequence[ComparisonRow]) -> Figure | None:
    """Activations as lines over layers, attention as a grid of heads; other parts are tables."""
    table = compared(rows, say(f"part.{part}"))
    if part == "activations":
        places = list(dict.fromkeys((r.item or "", -1 if r.layer is None else r.layer) for r in rows))
        names = [name for name in ("cka", "cosine", "relative_shift") if any(r.name == name for r in rows)]
        found = {(r.name, r.item or "", -1 if r.layer is None else r.layer): r for r in rows}
        series = []
        for name in names:
            line = [found.get((name, *place)) for place in places]
            series.append(
                Series(
                    say("quantity.named", name=name),
                    tuple(None if r is None else r.value for r in line),
                    tuple(None if r is None else r.ci_low for r in line),
                    tuple(None if r is None else r.ci_high for r in line),
                )
            )
        labels = tuple(item if layer < 0 else str(layer) for item, layer in places)
        if len(labels) < 2:
            return None
        plot = LayerPlot(labels, tuple(series), say("axis.similarity"), say("column.layer"))
        last = found.get(("cka", *places[-1]))
        alt = say("comparison.activations_alt", n=len(labels), value=None if last is None else last.value)
        return Figure(plot, alt, table, say("part.activations"))
    heads = {(r.layer, r.head): r.value for r in rows if r.layer is not None and r.head is not None}
    if part != "attention" or not heads:
        return None
    layers, columns = (sorted({key[axis] for key in heads}) for axis in (0, 1))
    grid = tuple(tuple(heads.get((layer, head)) for head in columns) for layer in layers)
    drawing = HeatPlot(grid, say("column.layer"), say("column.head"), say("axis.js_bits"))
    top = max(rows, key=lambda r: r.value or 0.0)
    alt = say("comparison.attention_alt", layer=top.layer, head=top.head, value=top.value)
    ordered = sorted(rows, key=lambda r: (-(r.value or 0.0), r.layer or 0, r.head or 0))
    return Figure(drawing, alt, compared(ordered, say("part.attention")), say("part.attention"))


def compared(rows: Sequence[ComparisonRow], caption: Text | None) -> Table:
    """Rows of one part, with the columns that they need."""
    columns = [Column(say("column.quantity"))]
    shown = [name for name in ("layer", "head", "slice", "item") if any(getattr(r, name) is not None for r in rows)]
    columns += [Column(say(f"column.{name}"), numeric=name in ("layer", "head")) for name in shown]
    columns += [Column(say("column.value_ci"), numeric=True), Column(say("column.n"), numeric=True)]
    cells: list[tuple[Inline, ...]] = []
    for r in rows[:N_COMPARED]:
        extra = tuple("–" if getattr(r, name) is None else str(getattr(r, name)) for name in shown)
        value = Number(r.value, _kind(r), r.ci_low, r.ci_high)
        cells.append((say("quantity.named", name=r.name), *extra, value, Number(r.n, "count")))
    return Table(tuple(columns), tuple(cells), caption, len(rows))


def _kind(r: ComparisonRow) -> NumberKind:
    if r.name in _SHARES:
        return "percent"
    if r.name == "share_difference":
        return "points"
    if r.name == "rounding_floor":
        return "tiny"
    if r.part != "outputs" or r.name in _DECIMAL or any(word in r.name for word in ("logit", "nats", "bits")):
        return "decimal"
    if r.value is not None and not -1.0 <= r.value <= 1.0:
        return "decimal"
    return "points" if "difference" in r.name else "percent"


def _moved(rows: Sequence[MovedExample]) -> Table:
    after = any(r.after is not None for r in rows)
    columns = [Column(say("column.row"), numeric=True), Column(say("quantity.kl_bits"), numeric=True)]
    columns += [Column(say("column.stands_after"))] if after else []
    columns += [Column(say("column.base_says")), Column(say("column.tuned_says"))]
    texts = any(r.text is not None for r in rows)
    columns += [Column(say("column.text"))] if texts else []
    cells = []
    for r in rows:
        line: list[Inline] = [Number(r.row, "count"), Number(r.kl_bits)]
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
