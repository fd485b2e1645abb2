"""Views of compared probes: both curves over layers, and every difference with its interval."""

from __future__ import annotations

from interpret.results.probe_comparison import ProbeComparison
from interpret.results.tree import (
    Code,
    Column,
    Fact,
    Facts,
    Figure,
    LayerPlot,
    Node,
    Note,
    Number,
    Paragraph,
    Section,
    Series,
    Table,
    say,
)
from interpret.results.views import view


def comparison_plot(record: ProbeComparison) -> LayerPlot | None:
    """Logistic accuracy of both models at the site with the most layers, the embedding first."""
    rows = [r for r in record.rows if (r.probe, r.metric) == ("logistic", "accuracy")]
    sites = {r.site for r in rows if r.layer is not None and r.site != "embed"}
    if not sites:
        return None
    site = max(sorted(sites), key=lambda name: sum(r.site == name for r in rows))
    kept = sorted((r for r in rows if r.site in (site, "embed")), key=lambda r: -1 if r.layer is None else r.layer)
    names = tuple("embed" if r.layer is None else str(r.layer) for r in kept)
    series = (
        Series(say("column.base"), tuple(r.base for r in kept)),
        Series(
            say("column.tuned_interval"),
            tuple(r.tuned for r in kept),
            tuple(r.base + r.ci_low for r in kept),
            tuple(r.base + r.ci_high for r in kept),
        ),
    )
    return LayerPlot(names, series, say("metric.accuracy"), say("axis.layer_of", site=site), "percent")


def comparison_table(record: ProbeComparison, limit: int = 120) -> Table:
    """Every row, in the order of the layers."""
    columns = (
        Column(say("column.site")),
        Column(say("column.layer"), numeric=True),
        Column(say("column.probe")),
        Column(say("column.metric")),
        Column(say("column.base"), numeric=True),
        Column(say("column.tuned"), numeric=True),
        Column(say("column.tuned_minus_base"), numeric=True),
        Column(say("column.p_holm"), numeric=True),
    )
    rows = []
    for r in record.rows[:limit]:
        kind, change = ("signed", "signed") if r.metric == "log2_probability" else ("percent", "points")
        rows.append(
            (
                Code(r.site),
                "–" if r.layer is None else str(r.layer),
                say("probe.named", name=r.probe),
                say("metric.named", name=r.metric),
                Number(r.base, kind),  # type: ignore[arg-type]
                Number(r.tuned, kind),  # type: ignore[arg-type]
                Number(r.difference, change, r.ci_low, r.ci_high),  # type: ignore[arg-type]
                Number(r.p_holm, "p"),
            )
        )
    return Table(columns, tuple(rows), say("probe_compare.table"), len(record.rows))


@view.register
def _(record: ProbeComparison) -> Node:
    children: list[Node] = [
        Facts(
            (
                Fact(say("fact.base"), record.base),
                Fact(say("fact.model"), record.tuned),
                Fact(say("fact.task"), record.task, say(f"probe.level.{record.level}")),
                Fact(say("fact.classes"), Number(len(record.classes), "count")),
                Fact(say("fact.n_train"), Number(record.n_train, "count")),
                Fact(say("fact.n_validation"), Number(record.n_validation, "count")),
                Fact(
                    say("fact.n_test"), Number(record.n_test, "count"), say("probe.clusters", n=record.n_clusters_test)
                ),
                Fact(say("fact.duplicate_sentences"), Number(record.n_duplicate_sentences, "count")),
                Fact(say("fact.probe_changes"), Number(len(record.changed()), "count")),
            )
        )
    ]
    plot = comparison_plot(record)
    table = comparison_table(record)
    if plot is None:
        children.append(table)
    else:
        alt = say("probe_compare.figure_alt", task=record.task, n=len(plot.layers))
        children.append(Figure(plot, alt, table, say("probe_compare.figure")))
    if record.notes:
        children.append(Note("note", record.notes))
    children.append(Paragraph((say("probe.encoded_not_used"),), "small"))
    return Section(say("view.probe_comparison", task=record.task), tuple(children))
