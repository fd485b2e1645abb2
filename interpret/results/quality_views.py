"""Views of explanations over a whole audit: words, and evidence for and against the methods."""

from __future__ import annotations

from collections.abc import Sequence

from interpret.results.audit_views import estimate
from interpret.results.audits import ExplanationQuality, WordImportance
from interpret.results.battery_views import battery_nodes, plausibility_node, randomisation_table
from interpret.results.explanations import Plausibility
from interpret.results.tree import (
    Badge,
    Column,
    Details,
    Figure,
    Inline,
    IntervalPlot,
    IntervalRow,
    Node,
    Number,
    Paragraph,
    Section,
    Table,
    say,
)
from interpret.results.views import (
    difference_line,
    faithfulness_figure,
    faithfulness_table,
    headline_row,
    quality_note,
    share_line,
    view,
)

#: Words that are shown of each class, and of all together where there are many: a page must stay readable.
N_WORDS_PER_CLASS = 12
N_WORDS_AT_LEAST = 5
N_WORDS_TOGETHER = 72


def importance_nodes(rows: Sequence[WordImportance]) -> tuple[Node, ...]:
    """Per class, the words that move its logit most, with intervals over the examples that hold them."""
    children: list[Node] = []
    labels = list(dict.fromkeys(row.label for row in rows))
    limit = min(N_WORDS_PER_CLASS, max(N_WORDS_AT_LEAST, N_WORDS_TOGETHER // max(1, len(labels))))
    for label in labels:
        found = sorted((r for r in rows if r.label == label), key=lambda r: (-abs(r.mean_score), r.word))
        top = sorted(found[:limit], key=lambda r: (-r.mean_score, r.word))
        columns = (
            Column(say("column.word")),
            Column(say("column.mean_score"), numeric=True),
            Column(say("column.mean_rank"), numeric=True),
            Column(say("column.examples"), numeric=True),
        )
        cells = tuple(
            (
                r.word,
                Number(r.mean_score, "signed", r.ci_low, r.ci_high),
                Number(r.mean_rank, "tenth"),
                Number(r.n, "count"),
            )
            for r in top
        )
        table = Table(columns, cells, say("importance.table", label=label), len(found))
        plot = IntervalPlot(
            tuple(IntervalRow(r.word, r.mean_score, r.ci_low, r.ci_high) for r in top),
            say("axis.logits_towards", label=label),
            bars=True,
        )
        alt = say("importance.figure_alt", label=label, n=len(top))
        children.append(Figure(plot, alt, table, say("importance.figure", label=label)))
    return tuple(children)


def quality_nodes(record: ExplanationQuality) -> tuple[Node, ...]:
    """Faithfulness against random, completeness, agreement and the randomisation test."""
    children: list[Node] = []
    main = record.methods[0] if record.methods else None
    if main is not None:
        row = headline_row(main.faithfulness)
        line: tuple[Inline, ...] = () if row is None or row.difference is None else (difference_line(row),)
        lead = Paragraph((Badge(main.faithfulness.verdict), say("quality.main", method=main.method), *line))
        children += [lead, *quality_note(main.faithfulness.verdict), share_line(main.faithfulness)]
    columns: tuple[Column, ...] = (
        Column(say("column.method")),
        Column(say("column.verdict")),
        Column(say("column.above_95"), numeric=True),
        Column(say("column.completeness_median"), numeric=True),
        Column(say("column.completeness_max"), numeric=True),
        Column(say("column.agreement"), numeric=True),
        Column(say("column.n"), numeric=True),
    )
    rows = tuple(
        (
            say("method.named", name=m.method),
            Badge(m.faithfulness.verdict),
            Number(m.faithfulness.above_95_share, "percent"),
            "–" if m.completeness_median is None else Number(m.completeness_median),
            "–" if m.completeness_max is None else Number(m.completeness_max),
            "–" if m.agreement is None else estimate(m.agreement, "decimal"),
            Number(m.n, "count"),
        )
        for m in record.methods
    )
    children.append(Table(columns, rows, say("quality.methods_table")))
    figure = faithfulness_figure([m.faithfulness for m in record.methods])
    if figure is not None:
        children.append(figure)
    for m in record.methods:
        every = (faithfulness_table(m.faithfulness), *battery_nodes(m.faithfulness))
        children.append(Details(say("quality.method_details", method=m.method), every))
    if record.randomisation:
        children.append(randomisation_table(record.randomisation))
        children.append(Paragraph((say("quality.randomisation_reading"),), "small"))
    children.append(Paragraph((say("quality.not_plausibility"),), "small"))
    return tuple(children)


@view.register
def _(record: ExplanationQuality) -> Node:
    return Section(say("view.explanation_quality"), quality_nodes(record))


@view.register
def _(record: Plausibility) -> Node:
    return plausibility_node(record)
