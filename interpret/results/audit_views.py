"""Views of what an audit is made of; the report's sections are built from the same nodes."""

from __future__ import annotations

from collections.abc import Sequence

from interpret.results.audits import (
    Audit,
    Check,
    Comparison,
    ComparisonRow,
    DataSummary,
    Identity,
    Performance,
    SliceRow,
)
from interpret.results.explanations import Verdict
from interpret.results.record import Estimate
from interpret.results.tree import (
    Badge,
    Code,
    Column,
    Details,
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
N_COMPARED = 80
N_BAD_ROWS = 20
_DECIMAL = {"mcc", "matthews_correlation", "log_loss", "nll", "brier", "perplexity", "cohen_kappa"}


def estimate(found: Estimate, kind: NumberKind | None = None) -> Number:
    """An estimate as a number with its interval; shares are percentages."""
    chosen: NumberKind = ("decimal" if found.name in _DECIMAL else "percent") if kind is None else kind
    return Number(found.value, chosen, found.ci_low, found.ci_high, found.why)


# --- identity


def identity_nodes(record: Identity) -> tuple[Node, ...]:
    """The model, the proof that it was left as it was, and the versions."""
    same = record.weights_sha256_before == record.weights_sha256_after
    difference = record.capture_logit_difference
    model = (
        Fact(say("fact.model"), record.name),
        Fact(say("fact.revision"), say("none") if record.revision is None else Code(record.revision)),
        Fact(say("fact.adapter"), say("none") if record.adapter is None else record.adapter),
        Fact(say("fact.base"), say("none") if record.base_name is None else record.base_name),
        Fact(say("fact.family"), f"{record.family} · {record.architecture}"),
        Fact(say("fact.task"), record.task),
        Fact(say("fact.labels"), ", ".join(record.labels[:30]) if record.labels else say("none")),
        Fact(say("fact.n_parameters"), Number(record.n_parameters, "count")),
        Fact(
            say("fact.shape"),
            say("identity.shape", layers=record.n_layers, heads=record.n_heads, width=record.d_model),
        ),
        Fact(say("fact.max_length"), Number(record.max_length, "count"), say("unit.tokens")),
        Fact(
            say("fact.dtype"),
            say("identity.dtype", saved=record.saved_dtype, run=record.run_dtype, device=record.device),
            None if record.saved_dtype == record.run_dtype else say("identity.dtype_differs"),
        ),
        Fact(say("fact.attn_implementation"), Code(record.attn_implementation)),
        Fact(say("fact.quantisation"), say("none") if record.quantisation is None else record.quantisation),
        Fact(say("fact.remote_code"), say("format.yes" if record.remote_code else "format.no")),
    )
    proof: tuple[Fact, ...] = (
        Fact(
            say("fact.untouched"),
            Badge("pass" if same else "fail", say("identity.same" if same else "identity.changed")),
        ),
        Fact(say("fact.weights_before"), Code(record.weights_sha256_before)),
        Fact(say("fact.weights_after"), Code(record.weights_sha256_after)),
        Fact(
            say("fact.capture_difference"),
            Number(difference, "tiny"),
            say("identity.bit_identical") if difference == 0 else None,
        ),
        Fact(say("fact.config_sha256"), Code(record.config_sha256)),
        Fact(say("fact.tokenizer_sha256"), Code(record.tokenizer_sha256)),
    )
    if record.base_weights_sha256 is not None:
        proof += (Fact(say("fact.base_weights"), Code(record.base_weights_sha256)),)
    notes: list[Node] = []
    if record.remote_code:
        notes.append(Note("warning", (say("identity.remote_code"),)))
    if record.quantisation is not None:
        notes.append(Note("warning", (say("identity.quantised", scheme=record.quantisation),)))
    versions = tuple(Fact(name, Code(version)) for name, version in sorted(record.versions.items()))
    return (Facts(model), *notes, Facts(proof), Details(say("fact.versions"), (Facts(versions),)))


@view.register
def _(record: Identity) -> Node:
    return Section(say("view.identity", name=record.name), identity_nodes(record))


# --- data


def data_nodes(record: DataSummary) -> tuple[Node, ...]:
    """What was read, what of it was used, how labels were matched, and what is not known."""
    how = say("data.all_used")
    if record.sampled:
        how = say("data.sampled", n=record.n_used, of=record.n_rows, seed=record.sampling_seed)
    facts = (
        Fact(say("fact.data"), record.name),
        Fact(say("fact.rows"), Number(record.n_rows, "count")),
        Fact(say("fact.used"), Number(record.n_used, "count"), how),
        Fact(say("fact.text_column"), Code(record.text_column)),
        Fact(
            say("fact.label_column"),
            say("none") if record.label_column is None else Code(record.label_column),
        ),
        Fact(say("fact.truncated"), Number(record.n_truncated, "count"), say("data.truncated_hint")),
        Fact(say("fact.empty"), Number(record.n_empty, "count")),
        Fact(say("fact.duplicates"), Number(record.n_duplicates, "count")),
        Fact(say("fact.overlap"), Badge("not_run", say("data.overlap_not_examined"))),
        Fact(say("fact.data_sha256"), Code(record.sha256), say("data.sha256_hint")),
    )
    children: list[Node] = [Facts(facts)]
    mapping = record.mapping
    children.append(Paragraph((say(f"mapping.{mapping.rule}"),)))
    if mapping.pairs:
        columns: tuple[Column, ...] = (Column(say("column.label_data")),)
        columns += (Column(say("column.class"), numeric=True),)
        columns += (Column(say("column.label_model")), Column(say("column.rows"), numeric=True))
        rows = []
        for raw, index in sorted(mapping.pairs.items(), key=lambda pair: (pair[1], pair[0])):
            count = record.label_counts.get(raw)
            shown: Inline = "–" if count is None else Number(count, "count")
            rows.append((raw, Number(index, "count"), mapping.names.get(raw, "–"), shown))
        children.append(Table(columns, tuple(rows[:N_SLICES]), say("data.mapping_table"), len(rows)))
    elif record.label_counts:
        children.append(_counts(say("column.label"), list(record.label_counts.items())))
    if record.slice_counts:
        children.append(_counts(say("column.slice"), list(record.slice_counts.items())))
    if record.length_quantiles:
        columns = tuple(Column(say("quantile.named", name=name), numeric=True) for name in record.length_quantiles)
        cells: tuple[Inline, ...] = tuple(Number(n, "count") for n in record.length_quantiles.values())
        children.append(Table(columns, (cells,), say("data.lengths"), row_headers=False))
    if record.scripts:
        rows_scripts = tuple(
            (say("script.named", name=name), Number(share, "percent"))
            for name, share in sorted(record.scripts.items(), key=lambda item: (-item[1], item[0]))
        )
        columns = (Column(say("column.script")), Column(say("column.share"), numeric=True))
        children.append(Table(columns, rows_scripts, say("data.scripts")))
    if record.bad_rows:
        shown_rows = tuple((row,) for row in record.bad_rows[:N_BAD_ROWS])
        table = Table((Column(say("column.bad_row")),), shown_rows, None, len(record.bad_rows), row_headers=False)
        children.append(Note("warning", (say("data.bad_rows", n=len(record.bad_rows)),)))
        children.append(Details(say("column.bad_row"), (table,)))
    return tuple(children)


def _counts(title: Text, counts: Sequence[tuple[str, int]]) -> Table:
    columns = (Column(title), Column(say("column.rows"), True))
    rows = tuple((name, Number(n, "count")) for name, n in counts[:N_SLICES])
    return Table(columns, rows, None, len(counts))


@view.register
def _(record: DataSummary) -> Node:
    return Section(say("view.data", name=record.name), data_nodes(record))


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
        plot = IntervalPlot(
            tuple(IntervalRow(say("metric.named", name=e.name), e.value, e.ci_low, e.ci_high) for e in drawn),
            say("axis.share"),
            "percent",
            say("column.value"),
            line=record.majority_rate,
            line_name=say("performance.majority_line"),
        )
        alt = say("performance.figure_alt", n=len(drawn), majority=record.majority_rate)
        children = [Figure(plot, alt, table, say("performance.figure"), table_open=True)]
    accuracy = next((e for e in record.metrics if e.name == "accuracy"), None)
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
    columns = (
        Column(say("column.slice")),
        Column(say("column.n"), numeric=True),
        Column(say("metric.accuracy"), numeric=True),
        Column(say("column.gap"), numeric=True),
        Column(say("column.reading")),
    )
    cells = tuple(
        (
            r.name,
            Number(r.n, "count"),
            estimate(r.accuracy, "percent"),
            estimate(r.gap, "points"),
            _gap_badge(r),
        )
        for r in ordered[:N_SLICES]
    )
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


# --- comparison


def comparison_nodes(record: Comparison) -> tuple[Node, ...]:
    """McNemar's counts and the paired rows, part by part."""
    children: list[Node] = [
        Paragraph((say("comparison.paired", base=record.base_name, tuned=record.tuned_name),)),
        *(Note("note", (note,)) for note in record.notes),
    ]
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
        table = _compared(rows, say(f"part.{part}"))
        children.append(Details(say(f"part.{part}"), (table,)) if len(rows) > 12 else table)
    children.append(Paragraph((say("comparison.one_seed"),), "small"))
    return tuple(children)


def _compared(rows: Sequence[ComparisonRow], caption: Text) -> Table:
    columns = [Column(say("column.quantity"))]
    shown = [name for name in ("layer", "head", "slice") if any(getattr(r, name) is not None for r in rows)]
    columns += [Column(say(f"column.{name}"), numeric=name != "slice") for name in shown]
    columns += [Column(say("column.value_ci"), numeric=True), Column(say("column.n"), numeric=True)]
    cells: list[tuple[Inline, ...]] = []
    for r in rows[:N_COMPARED]:
        kind: NumberKind = "decimal"
        if r.part == "outputs" and r.name not in _DECIMAL:
            kind = "points" if "difference" in r.name else "percent"
            if r.value is not None and not -1.0 <= r.value <= 1.0:
                kind = "decimal"
            if any(word in r.name for word in ("divergence", "logit", "nats", "bits")):
                kind = "decimal"
        extra = tuple("–" if getattr(r, name) is None else str(getattr(r, name)) for name in shown)
        value = Number(r.value, kind, r.ci_low, r.ci_high)
        cells.append((say("quantity.named", name=r.name), *extra, value, Number(r.n, "count")))
    return Table(tuple(columns), tuple(cells), caption, len(rows))


@view.register
def _(record: Comparison) -> Node:
    return Section(say("view.comparison", base=record.base_name, tuned=record.tuned_name), comparison_nodes(record))


# --- the whole audit, in short


def check_table(rows: Sequence[Check], caption: Text) -> Table:
    """What was checked, the verdict, and the number behind it."""
    columns = (
        Column(say("column.check")),
        Column(say("column.verdict")),
        Column(say("column.value_ci"), numeric=True),
        Column(say("column.threshold"), numeric=True),
        Column(say("column.why")),
    )
    cells: list[tuple[Inline, ...]] = []
    for c in rows:
        kind: NumberKind = "percent" if "accuracy" in c.check else "tiny" if c.kind == "integrity" else "signed"
        value: Inline = "–" if c.value is None else Number(c.value, kind, c.ci_low, c.ci_high)
        threshold: Inline = "–" if c.threshold is None else Number(c.threshold, kind if c.threshold else "tiny")
        cells.append((say("check_name.named", name=c.check), Badge(c.verdict), value, threshold, c.why))
    return Table(columns, tuple(cells), caption)


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
        (say("section_name.named", name=c.section), Badge(c.status), say("none") if c.why is None else c.why)
        for c in missing
    )
    if rows:
        children.append(Table(columns, rows, say("audit.not_examined")))
    children.append(Paragraph((say("audit.render_hint"),), "small"))
    return Section(record.title, tuple(children))
