"""Views of what an audit is made of; the report's sections are built from the same nodes."""

from __future__ import annotations

from collections.abc import Sequence

from interpret.results.audits import (
    Audit,
    Check,
    Performance,
    SliceRow,
)
from interpret.results.explanations import Verdict
from interpret.results.record import Estimate
from interpret.results.tree import (
    Badge,
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
    say,
)
from interpret.results.views import (
    quality_note,
    view,
)

N_SLICES = 60
N_CONFUSED = 12
#: Checks whose numbers are shares.
_SHARES = ("max_flip_rate", "max_group_difference")
_DECIMAL = {"mcc", "matthews_correlation", "log_loss", "nll", "brier", "perplexity", "cohen_kappa"}


def estimate(found: Estimate, kind: NumberKind | None = None) -> Number:
    """An estimate as a number with its interval; shares are percentages."""
    chosen: NumberKind = ("decimal" if found.name in _DECIMAL else "percent") if kind is None else kind
    return Number(found.value, chosen, found.ci_low, found.ci_high, found.why)


# --- performance


def performance_nodes(record: Performance) -> tuple[Node, ...]:
    """Metrics and calibration with intervals, and the confusion matrix."""
    found = (*record.metrics, record.calibration_error)
    columns = (
        Column(say("column.metric")),
        Column(say("column.value_ci"), numeric=True),
        Column(say("column.n"), numeric=True),
        Column(say("column.interval")),
    )
    rows: tuple[tuple[Inline, ...], ...] = tuple(
        (
            say("metric.named", name=e.name),
            estimate(e),
            Number(e.n, "count"),
            "–" if e.value is None or e.interval == "none" else say(f"interval.{e.interval}"),
        )
        for e in found
    )
    table = Table(columns, rows, say("performance.table"))
    drawn = [e for e in record.metrics if e.value is not None and e.name not in _DECIMAL]
    children: list[Node] = [table]
    if drawn:
        majority = record.majority_rate
        plot = IntervalPlot(
            tuple(IntervalRow(say("metric.named", name=e.name), e.value, e.ci_low, e.ci_high) for e in drawn),
            say("axis.share" if record.unit == "example" else "axis.share_plain"),
            "percent",
            say("column.value"),
            line=majority,
            line_name=None if majority is None else say("performance.majority_line"),
        )
        alt, title = say("performance.figure_alt_plain", n=len(drawn)), say("performance.figure_plain")
        if majority is not None:
            alt, title = say("performance.figure_alt", n=len(drawn), majority=majority), say("performance.figure")
        children = [Figure(plot, alt, table, title, table_open=True)]
    accuracy = record.accuracy
    if record.unit != "example":
        children.append(Paragraph((say(f"performance.unit.{record.unit}"),), "small"))
    if record.majority_rate is None:
        return tuple(children)
    children.append(Paragraph((say("performance.majority", majority=record.majority_rate),)))
    if accuracy is not None and accuracy.value is not None and accuracy.value < record.majority_rate:
        children.append(Note("failure", (say("performance.below_majority"),)))
    if accuracy is not None and 0 < accuracy.n < 100:
        children.append(Note("warning", (say("performance.small", n=accuracy.n),)))
    children.append(_confusion(record))
    return tuple(children)


def _confusion(record: Performance) -> Table:
    counts = record.confusion.tolist()
    labels = record.labels
    if len(labels) <= N_CONFUSED:
        columns = (Column(say("column.gold_predicted")), *(Column(label, numeric=True) for label in labels))
        total = (Column(say("column.total"), numeric=True),)
        rows: tuple[tuple[Inline, ...], ...] = tuple(
            (label, *(Number(n, "count") for n in row), Number(sum(row), "count"))
            for label, row in zip(labels, counts, strict=True)
        )
        return Table(columns + total, rows, say("performance.confusion"))
    wrong = [(n, labels[i], labels[j]) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n > 0]
    wrong.sort(key=lambda item: (-item[0], item[1], item[2]))
    columns = (
        Column(say("column.gold")),
        Column(say("column.predicted")),
        Column(say("column.rows"), numeric=True),
    )
    worst = tuple((gold, predicted, Number(n, "count")) for n, gold, predicted in wrong[:20])
    return Table(columns, worst, say("performance.confused_most"), len(wrong), row_headers=False)


def slice_nodes(rows: Sequence[SliceRow], overall: float | None) -> tuple[Node, ...]:
    """Accuracy and gap per slice, the worst first."""
    ordered = sorted(rows, key=lambda r: (1.0 if r.accuracy.value is None else r.accuracy.value, r.name))
    columns: tuple[Column, ...] = (
        Column(say("column.slice")),
        Column(say("column.n"), numeric=True),
        Column(say("metric.accuracy"), numeric=True),
        Column(say("column.gap"), numeric=True),
        Column(say("column.reading")),
    )
    calibrated = any(r.calibration_error is not None for r in ordered)
    if calibrated:
        columns += (Column(say("metric.expected_calibration_error"), numeric=True),)
    cells = tuple(_slice_cells(r, calibrated=calibrated) for r in ordered[:N_SLICES])
    table = Table(columns, cells, say("slices.table"), len(ordered))
    drawn = [r for r in ordered[:N_SLICES] if r.accuracy.value is not None][:30]
    children: list[Node] = [Paragraph((say("slices.adjusted", n=len(ordered)),))]
    if drawn:
        plot = IntervalPlot(
            tuple(IntervalRow(r.name, r.accuracy.value, r.accuracy.ci_low, r.accuracy.ci_high) for r in drawn),
            say("metric.accuracy"),
            "percent",
            say("metric.accuracy"),
            line=overall,
            line_name=None if overall is None else say("slices.overall_line"),
        )
        alt = say("slices.figure_alt", n=len(drawn))
        children.append(Figure(plot, alt, table, say("slices.figure"), table_open=True))
    else:
        children.append(table)
    if any(r.underpowered for r in rows):
        children.append(Note("warning", (say("slices.underpowered", n=sum(r.underpowered for r in rows)),)))
    return tuple(children)


def _slice_cells(r: SliceRow, *, calibrated: bool) -> tuple[Inline, ...]:
    cells: tuple[Inline, ...] = (
        r.name,
        Number(r.n, "count"),
        estimate(r.accuracy, "percent"),
        estimate(r.gap, "points"),
        _gap_badge(r),
    )
    if not calibrated:
        return cells
    return (*cells, "–" if r.calibration_error is None else estimate(r.calibration_error, "percent"))


def _gap_badge(row: SliceRow) -> Badge:
    low, high = row.gap.ci_low, row.gap.ci_high
    # A gap whose whole interval lies on one side is a finding, however few texts it rests on.
    if high is not None and high < 0:
        return Badge("fail", say("slices.worse"))
    if low is not None and low > 0:
        return Badge("pass", say("slices.better"))
    if row.underpowered:
        return Badge("inconclusive", say("slices.too_wide"))
    if low is None or high is None:
        return Badge("not_measured")
    return Badge("inconclusive", say("slices.no_difference"))


@view.register
def _(record: Performance) -> Node:
    children: tuple[Node, ...] = performance_nodes(record)
    if record.slices:
        overall = next((e.value for e in record.metrics if e.name == "accuracy"), None)
        children += slice_nodes(record.slices, overall)
    return Section(say("view.performance"), children)


# --- the whole audit, in short


def check_table(rows: Sequence[Check], caption: Text) -> Table:
    """What was checked, the verdict, and the number behind it.

    Only what somebody declared can be met or missed; what every audit looks at is answered with yes or no.
    """
    declared = any(c.kind == "criterion" for c in rows)
    columns = (
        Column(say("column.check")),
        Column(say("column.verdict" if declared else "column.answer")),
        Column(say("column.value_ci"), numeric=True),
        Column(say("column.threshold" if declared else "column.compared_with"), numeric=True),
        Column(say("column.why" if declared else "column.how")),
    )
    cells: list[tuple[Inline, ...]] = []
    for c in rows:
        kind = check_kind(c)
        name = say("check_name.post_hoc" if c.post_hoc else "check_name.named", name=c.check)
        value: Inline = "–" if c.value is None else Number(c.value, kind, c.ci_low, c.ci_high)
        threshold: Inline = "–" if c.threshold is None else Number(c.threshold, kind if c.threshold else "tiny")
        answer = None if c.kind == "criterion" else say(f"answer.{c.verdict}")
        cells.append((name, Badge(c.verdict, answer), value, threshold, c.why))
    return Table(columns, tuple(cells), caption)


def number_kind(name: str, kind: str) -> NumberKind:
    """How the numbers of a check of this name are written: shares as percentages, like in the sentence beside them."""
    if "accuracy" in name or name in ("max_flip_rate", "max_group_difference"):
        return "percent"
    return "tiny" if kind == "integrity" else "signed"


def check_kind(check: Check) -> NumberKind:
    """How the numbers of a check are written."""
    return number_kind(check.check, check.kind)


def audit_verdict(audit: Audit) -> Verdict | None:
    """The verdict on the audit's main explanation method; None when quality was not measured."""
    quality = audit.explanation_quality
    return quality.methods[0].faithfulness.verdict if quality is not None and quality.methods else None


@view.register
def _(record: Audit) -> Node:
    facts = [
        Fact(say("fact.model"), record.identity.name),
        Fact(say("fact.data"), record.data.name),
        Fact(say("fact.used"), Number(record.data.n_used, "count")),
    ]
    if record.performance is not None:
        facts += [Fact(say("metric.named", name=e.name), estimate(e)) for e in record.performance.metrics]
    verdict = audit_verdict(record)
    facts.append(Fact(say("fact.explanations"), Badge("not_measured" if verdict is None else verdict)))
    children: list[Node] = [Facts(tuple(facts)), *quality_note(verdict)]
    if record.check_rows:
        children.append(check_table(record.check_rows, say("check.table")))
    missing = [c for c in record.coverage if c.status != "done"]
    columns = (Column(say("column.section")), Column(say("column.status")), Column(say("column.why")))
    rows = tuple(
        (say("section_name.named", name=c.section), Badge(c.status), "–" if c.why is None else c.why) for c in missing
    )
    if rows:
        children.append(Table(columns, rows, say("audit.not_examined")))
    children.append(Paragraph((say("audit.render_hint"),), "small"))
    return Section(record.title, tuple(children))
