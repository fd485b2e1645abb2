"""Views of probes: the curve over layers, and never without the baselines."""

from __future__ import annotations

from interpret.results.probe_grid import ProbeGrid
from interpret.results.probes import ProbeKind, ProbeMetric, ProbeResult
from interpret.results.record import Message
from interpret.results.tree import (
    Code,
    Column,
    Fact,
    Facts,
    Figure,
    Inline,
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

_PROBE_LINES: tuple[tuple[ProbeKind, ProbeMetric], ...] = (
    ("logistic", "accuracy"),
    ("ridge", "accuracy"),
    ("mlp", "accuracy"),
    ("control", "accuracy"),
    ("mlp_control", "accuracy"),
    ("ridge", "selectivity"),
    ("mlp", "selectivity"),
    ("type", "accuracy"),
    ("bag_of_words", "accuracy"),
    ("embedding", "accuracy"),
    ("random_weights", "accuracy"),
    ("majority", "accuracy"),
    ("mean", "accuracy"),
)
#: Metrics that are no shares.
_PLAIN: tuple[ProbeMetric, ...] = ("description_length_bits", "compression", "v_information_bits", "r2", "spearman")


#: Baselines that are the same at every layer.
_FLAT = ("majority", "mean", "type", "bag_of_words", "embedding")


def _layer_order(layer: int | None) -> int:
    return -1 if layer is None else layer


def probe_plot(record: ProbeResult, site: str | None = None) -> LayerPlot | None:
    """Accuracy, control and selectivity of `site`, else of that with the most layers, and baselines that run across."""
    sites = {(r.model, r.site) for r in record.rows if r.site != "embed" and r.layer is not None}
    sites = {found for found in sites if site in (None, found[1])}
    if not sites:
        return None
    model, site = max(sorted(sites), key=lambda s: len({r.layer for r in record.rows if (r.model, r.site) == s}))
    kept = [r for r in record.rows if r.model == model and r.site in (site, "embed")]
    layers = sorted({_layer_order(r.layer) for r in kept if r.site == site and r.layer is not None})
    has_embed = any(r.site == "embed" and r.probe in ("ridge", "logistic") for r in kept)
    places = ([-1] if has_embed and -1 not in layers else []) + layers
    series = []
    for probe, usual in _PROBE_LINES:
        metric = record.measure if usual == "accuracy" else usual
        rows = [r for r in record.rows if r.probe == probe and r.metric == metric and r.value is not None]
        at = {_layer_order(r.layer): r for r in rows if r.model == model and r.site in (site, "embed")}
        flat = probe in ("majority", "type", "bag_of_words", "embedding") or (
            len(at) <= 1 and probe == "random_weights"
        )
        picked = [rows[0]] * len(places) if flat and rows else [at.get(place) for place in places]
        if not any(picked):
            continue
        values, low, high = (
            tuple(None if r is None else getattr(r, name) for r in picked) for name in ("value", "ci_low", "ci_high")
        )
        name = say("probe.line", probe=probe, metric=metric)
        series.append(Series(name, values) if flat else Series(name, values, low, high))
    if not series:
        return None
    names = tuple("embed" if place == -1 else str(place) for place in places)
    where = say("axis.layer_of", site=site)
    if record.kind == "regression":
        return LayerPlot(names, tuple(series), say("axis.r2"), where, "decimal")
    axis = say("axis.share" if record.level == "sentence" else "axis.share_plain")
    return LayerPlot(names, tuple(series), axis, where, "percent")


def probe_table(record: ProbeResult, limit: int = 60) -> Table:
    """All rows, metrics as columns."""
    metrics = list(dict.fromkeys(r.metric for r in record.rows))
    keys = list(dict.fromkeys((r.model, r.site, r.layer, r.probe) for r in record.rows))
    cells = {(r.model, r.site, r.layer, r.probe, r.metric): r for r in record.rows}
    several = len({key[0] for key in keys}) > 1
    columns = [
        Column(say("column.site")),
        Column(say("column.layer"), numeric=True),
        Column(say("column.probe")),
    ]
    if several:
        columns.insert(0, Column(say("column.model")))
    columns += [Column(say("metric.named", name=metric), numeric=True) for metric in metrics]
    rows = []
    for model, site, layer, probe in keys[:limit]:
        place = "embed" if layer == -1 else "–" if layer is None else str(layer)
        row: list[Inline] = ["–" if site in (None, "", "none") else Code(site), place, say("probe.named", name=probe)]
        if several:
            row.insert(0, model)
        for metric in metrics:
            r = cells.get((model, site, layer, probe, metric))
            plain = metric in _PLAIN or record.kind == "regression"
            kind: tuple[float | None, ...] = (None, None, None) if r is None else (r.value, r.ci_low, r.ci_high)
            measured = Number(kind[0], "decimal" if plain else "percent", kind[1], kind[2])
            row.append("–" if r is None else measured)
        rows.append(tuple(row))
    return Table(tuple(columns), tuple(rows), say("probe.table"), len(keys))


def paired_table(record: ProbeResult, limit: int = 60) -> Table:
    """Every probe against what it must beat."""
    difference = say("column.accuracy_difference" if record.measure == "accuracy" else "column.r2_difference")
    columns = (
        Column(say("column.site")),
        Column(say("column.layer"), numeric=True),
        Column(say("column.probe")),
        Column(say("column.against")),
        Column(difference, numeric=True),
        Column(say("column.p_holm"), numeric=True),
    )
    rows = tuple(
        (
            Code(t.site),
            "–" if t.layer is None else str(t.layer),
            say("probe.named", name=t.probe),
            say("probe.named", name=t.against),
            Number(t.difference, "points" if t.metric == "accuracy" else "signed", t.ci_low, t.ci_high),
            Number(t.p_holm, "p"),
        )
        for t in record.tests[:limit]
    )
    return Table(columns, rows, say("probe.tests"), len(record.tests))


def label_table(record: ProbeResult, limit: int = 60) -> Table:
    """Of several labels at once each by itself, at the layer with the best accuracy."""
    best = record.best[record.measure]
    place = None if best is None else (best.site, best.layer)
    rows = [r for r in record.label_rows if (r.site, r.layer) == place]
    cells: dict[tuple[str, str, str], Inline] = {
        (r.task, r.probe, r.metric): Number(r.value, "percent", r.ci_low, r.ci_high) for r in rows
    }
    keys = list(dict.fromkeys((r.task, r.probe) for r in rows))
    columns = (
        Column(say("column.label")),
        Column(say("column.probe")),
        Column(say("metric.named", name="accuracy"), numeric=True),
        Column(say("metric.named", name="f1"), numeric=True),
    )
    body = tuple(
        (
            Code(task.removeprefix(f"{record.task}=")),
            say("probe.named", name=probe),
            cells.get((task, probe, "accuracy"), "–"),
            cells.get((task, probe, "f1"), "–"),
        )
        for task, probe in keys[:limit]
    )
    return Table(columns, body, say("probe.label_table"), len(keys))


def _kind_facts(record: ProbeResult) -> tuple[Fact, ...]:
    if record.kind == "class":
        return (Fact(say("fact.classes"), Number(len(record.classes), "count")),)
    what = say(f"probe.kind.{record.kind}")
    if record.kind == "regression":
        return (Fact(say("fact.labels_kind"), what),)
    return (Fact(say("fact.labels_kind"), Number(len(record.classes), "count"), what),)


def probe_nodes(record: ProbeResult) -> tuple[Node, ...]:
    """The best layers, the curve, the counts and the warnings."""
    children: list[Node] = []
    found = []
    for metric, best in record.best.items():
        if best is not None:
            place = "embed" if best.layer in (None, -1) else f"{best.site}.{best.layer}"
            at = (best.site, best.layer, metric, best.value)
            same = [r for r in record.rows if (r.site, r.layer, r.metric, r.value) == at]
            row = next((r for r in same if r.probe == "logistic"), same[0])
            value = Number(row.value, "percent" if record.measure == "accuracy" else "decimal", row.ci_low, row.ci_high)
            found.append(Fact(say(f"probe.best_{metric}"), value, say("probe.at", place=place, probe=row.probe)))
    if found:
        children.append(Facts(tuple(found)))
    plot = probe_plot(record)
    if plot is None:
        children.append(probe_table(record))
    else:
        alt = say("probe.figure_alt", task=record.task, n=len(plot.layers))
        caption = say("probe.figure" if record.measure == "accuracy" else "probe.figure_r2")
        children.append(Figure(plot, alt, probe_table(record), caption))
    control: Message = say(f"probe.control.{record.control}", n=record.n_control_seeds)
    counts: tuple[Fact, ...] = (
        Fact(say("fact.task"), record.task, say(f"probe.level.{record.level}")),
        *_kind_facts(record),
        Fact(say("fact.n_train"), Number(record.n_train, "count")),
        Fact(say("fact.n_validation"), Number(record.n_validation, "count")),
        Fact(
            say("fact.n_test"),
            Number(record.n_test, "count"),
            say(
                "probe.clusters" if record.cluster == "sentence" else "probe.clusters_of_groups",
                n=record.n_clusters_test,
            ),
        ),
        Fact(say("fact.control"), control),
        Fact(
            say("fact.truncated_items" if record.level in ("span", "pair") else "fact.truncated_words"),
            Number(record.n_truncated_words, "count"),
        ),
        Fact(say("fact.duplicate_sentences"), Number(record.n_duplicate_sentences, "count")),
    )
    if record.type_overlap is not None:
        counts += (
            Fact(
                say("fact.type_overlap" if record.level == "word" else "fact.form_overlap"),
                Number(record.type_overlap, "percent"),
            ),
        )
    if record.tests:
        counts += (Fact(say("fact.duplicate_train_sentences"), Number(record.n_duplicate_train_sentences, "count")),)
    children.append(Facts(counts))
    if record.label_rows:
        children.append(label_table(record))
    if record.tests:
        children.append(paired_table(record))
    if record.notes:
        children.append(Note("note", record.notes))
    children.append(Paragraph((say("probe.encoded_not_used"),), "small"))
    return tuple(children)


@view.register
def _(record: ProbeResult) -> Node:
    return Section(say("view.probes", task=record.task), probe_nodes(record))


@view.register
def _(record: ProbeGrid) -> Node:
    tasks = ", ".join(record.tasks)
    return Section(say("view.probe_grid", tasks=tasks, n=len(record)), tuple(view(result) for result in record.results))
