"""View of an erasure: the verdict first, then what probes still read, what the model lost, and what stays open."""

from __future__ import annotations

from typing import get_args

from interpret.results.erasure import Erasure, ErasureCondition, ErasureMeasure, UnitAblation
from interpret.results.record import Message
from interpret.results.tree import (
    Column,
    Fact,
    Facts,
    Heading,
    Inline,
    Node,
    Note,
    Number,
    NumberKind,
    Paragraph,
    Section,
    Table,
    say,
)
from interpret.results.views import view

_KINDS: dict[str, NumberKind] = {"kl_nats": "decimal", "log_probability_nats": "decimal"}


def erasure_nodes(record: Erasure) -> tuple[Node, ...]:
    """Verdict and reason, what was erased, both tables, how it was done."""
    children: list[Node] = [
        Paragraph((say(f"erasure.verdict.{record.verdict}", task=record.task), record.why), "lead"),
        Paragraph(_erased(record)),
        _probe_table(record),
    ]
    if any(row.part == "model" for row in record.rows):
        children += [*_model_tables(record), Paragraph((say("erasure.model_reading", n=_n_draws(record)),), "small")]
    if record.ablations:
        children += [Heading(say(f"erasure.ranking.{record.ranking}")), _ablation_table(record.ablations)]
        children += [Paragraph(_confirmed(record.ablations)), Paragraph((say("erasure.ablation_reading"),), "small")]
    shares = [draw.removed_share for draw in record.random if draw.matched == "rank"]
    children.append(
        Facts(
            (
                Fact(say("erasure.method"), say(f"erasure.method.{record.method}"), _rounds(record)),
                Fact(say("erasure.rank"), Number(record.rank, "count"), say("erasure.classes", n=len(record.classes))),
                Fact(
                    say("erasure.removed_share"),
                    Number(record.removed_share, "percent"),
                    say("erasure.random_share", share=sum(shares) / len(shares)),
                ),
                Fact(say("erasure.positions"), say(f"erasure.positions.{record.positions}")),
                Fact(say("fact.n_train"), Number(record.n_train, "count")),
                Fact(say("fact.n_validation"), Number(record.n_validation, "count")),
                Fact(
                    say("fact.n_test"), Number(record.n_test, "count"), say("probe.clusters", n=record.n_clusters_test)
                ),
                Fact(say("erasure.texts"), Number(record.n_texts, "count")),
            )
        )
    )
    if record.notes:
        children.append(Note("note", record.notes))
    children.append(Paragraph((say("erasure.limits"),), "small"))
    return tuple(children)


def _value(record: Erasure, measure: ErasureMeasure, condition: ErasureCondition) -> float | None:
    row = record.row(measure, condition)
    return None if row is None else row.value


def _erased(record: Erasure) -> tuple[Inline, ...]:
    """Linearly, and what neighbours still read."""
    found = {
        "before": _value(record, "ridge", "original"),
        "after": _value(record, "ridge", "erased"),
        "majority": _value(record, "majority", "original"),
    }
    near = {condition: _value(record, "nearest_neighbours", condition) for condition in ("original", "erased")}
    first = say("erasure.linearly_erased" if record.linearly_erased else "erasure.not_erased", **found)
    return first, say(
        "erasure.neighbours", n=record.n_train + record.n_validation, before=near["original"], after=near["erased"]
    )


def _n_draws(record: Erasure) -> int:
    return sum(draw.matched == "rank" for draw in record.random)


def _rounds(record: Erasure) -> Message | None:
    return None if record.n_rounds is None else say("erasure.rounds", n=record.n_rounds)


def _cell(record: Erasure, measure: ErasureMeasure, condition: ErasureCondition, kind: NumberKind) -> Inline:
    row = record.row(measure, condition)
    return "–" if row is None else Number(row.value, kind, row.ci_low, row.ci_high)


def _table(record: Erasure, part: str, conditions: tuple[ErasureCondition, ...], caption: str) -> Table:
    columns = [Column(say(f"erasure.{'read_by' if part == 'probe' else 'measure'}"))]
    columns += [Column(say(f"erasure.condition.{name}"), numeric=True) for name in conditions]
    rows: list[tuple[Inline, ...]] = []
    for measure in get_args(ErasureMeasure):
        if any(row.measure == measure and row.part == part for row in record.rows):
            kind = _KINDS.get(measure, "percent")
            cells = (_cell(record, measure, name, _difference(kind, name)) for name in conditions)
            rows.append((say(f"erasure.measure.{measure}"), *cells))
    return Table(tuple(columns), tuple(rows), say(caption))


def _difference(kind: NumberKind, condition: ErasureCondition) -> NumberKind:
    if not condition.startswith("difference"):
        return kind
    return "points" if kind == "percent" else "signed"


def _probe_table(record: Erasure) -> Table:
    return _table(record, "probe", ("original", "erased"), "erasure.probe_table")


def _model_tables(record: Erasure) -> tuple[Table, Table]:
    """What each did, and below it what erasing costs beyond the controls: in one table they would be too wide."""
    did: tuple[ErasureCondition, ...] = ("original", "erased", "random", "random_displaced")
    beyond: tuple[ErasureCondition, ...] = ("difference", "difference_displaced")
    return _table(record, "model", did, "erasure.model_table"), _table(record, "model", beyond, "erasure.cost_table")


def _confirmed(ablations: tuple[UnitAblation, ...]) -> tuple[Inline, ...]:
    """Of each size, whether the top changes surely more than the bottom and than random units."""
    found = {(a.k, a.chosen): a for a in ablations}
    said: list[Inline] = []
    for k in dict.fromkeys(a.k for a in ablations):
        top = found.get((k, "top"))
        others = [found[k, chosen].ci_high for chosen in ("bottom", "random") if (k, chosen) in found]
        low = None if top is None else top.ci_low
        holds = low is not None and len(others) == 2 and all(high is not None and high < low for high in others)
        said.append(say("erasure.ranking_holds" if holds else "erasure.ranking_open", k=k))
    return tuple(said)


def _ablation_table(ablations: tuple[UnitAblation, ...]) -> Table:
    columns = (
        Column(say("erasure.ablation.chosen")),
        Column(say("erasure.ablation.k"), numeric=True),
        Column(say("erasure.measure.changed_predictions"), numeric=True),
        Column(say("erasure.measure.total_variation"), numeric=True),
        Column(say("erasure.ablation.units")),
    )
    rows: tuple[tuple[Inline, ...], ...] = tuple(
        (
            say(f"erasure.ablation.{a.chosen}"),
            Number(a.k, "count"),
            Number(a.changed_predictions, "percent", a.ci_low, a.ci_high),
            Number(a.total_variation, "percent"),
            ", ".join(map(str, a.units[:10])) + (", …" if len(a.units) > 10 else "") or "–",
        )
        for a in ablations
    )
    return Table(columns, rows, say("erasure.ablation_table"))


@view.register
def _(record: Erasure) -> Node:
    place = record.site if record.layer is None else f"{record.site}.{record.layer}"
    return Section(say("view.erasure", task=record.task, place=place), erasure_nodes(record))
