"""Views of the full battery: what stands beside AOPC, each metric with its unit and its good direction."""

from __future__ import annotations

from collections.abc import Sequence

from interpret.results.explanations import Faithfulness, FaithfulnessRow, Plausibility, RandomisationRow
from interpret.results.record import Estimate, Message
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
    Text,
    say,
)

#: Metrics of which less is better.
_LOWER = frozenset({"log_odds", "deletion_auc", "aopc_sufficiency_normalized", "sensitivity_max"})
_DROPS = frozenset({"aopc_comprehensiveness", "aopc_sufficiency", "comprehensiveness", "sufficiency"})


def is_drop(row: FaithfulnessRow) -> bool:
    """Whether a row is a drop in probability, as AOPC is; the others have units of their own."""
    return row.metric.partition("@")[0] in _DROPS


def battery_nodes(record: Faithfulness) -> tuple[Node, ...]:
    """Everything but AOPC; nothing where only the cheap part was measured."""
    rows = [row for row in record.rows if not is_drop(row)]
    out: list[Node] = []
    if rows:
        out.append(battery_table(rows))
        out.append(Paragraph((say("battery.reading"), *_how(record)), "small"))
    if record.randomisation:
        out.append(randomisation_table(record.randomisation))
        out.append(Paragraph((say("quality.randomisation_reading"),), "small"))
    return tuple(out)


def battery_table(rows: Sequence[FaithfulnessRow]) -> Table:
    """One line for each metric and operator."""
    columns = (
        Column(say("column.metric")),
        Column(say("column.operator")),
        Column(say("column.better")),
        Column(say("column.explanation"), numeric=True),
        Column(say("column.random"), numeric=True),
        Column(say("column.difference"), numeric=True),
        Column(say("column.trivial")),
        Column(say("column.trivial_difference"), numeric=True),
        Column(say("column.n"), numeric=True),
        Column(say("column.verdict")),
    )
    lines = []
    for r in rows:
        trivial: Inline = say("none") if r.trivial_name is None else say("trivial.named", name=r.trivial_name)
        lines.append(
            (
                _metric(r.metric),
                say("operator.named", name=r.operator),
                say("battery.lower" if r.metric in _LOWER else "battery.higher"),
                Number(r.value, "decimal", r.ci_low, r.ci_high),
                Number(r.random_mean, "decimal", r.random_ci_low, r.random_ci_high),
                Number(r.difference, "signed", r.difference_ci_low, r.difference_ci_high),
                trivial,
                Number(r.trivial_difference, "signed", r.trivial_difference_ci_low, r.trivial_difference_ci_high),
                Number(r.n, "count"),
                Badge(r.verdict),
            )
        )
    return Table(columns, tuple(lines), say("battery.table"))


def _metric(name: str) -> Message:
    metric, at, other = name.partition("@")
    if metric == "seed_agreement" and at:
        return say("battery.seed_agreement", seed=other)
    if metric == "baseline_agreement" and at:
        return say("battery.baseline_agreement", baseline=other)
    return say("metric.named", name=name)


def _how(record: Faithfulness) -> tuple[Message, ...]:
    """How the limits of AOPC were found, and how many texts were explained again."""
    out = []
    options = record.options
    if options.get("limits_exact") or options.get("limits_beam"):
        out.append(
            say(
                "battery.limits",
                exact=options["limits_exact"],
                beam=options["limits_beam"],
                width=options["beam_width"],
            )
        )
    if "n_remade" in options:
        radius, draws = options["sensitivity_radius"], options["n_perturbations"]
        out.append(say("battery.remade", n=options["n_remade"], radius=radius, draws=draws))
    return tuple(out)


def randomisation_table(rows: Sequence[RandomisationRow]) -> Table:
    """Rank correlation of the explanation before and after the top of the model is re-initialised."""
    columns = (
        Column(say("column.down_to")),
        Column(say("column.spearman_signed"), numeric=True),
        Column(say("column.spearman_absolute"), numeric=True),
    )
    lines = tuple((_stage(r.down_to), _correlation(r.spearman_signed), _correlation(r.spearman_absolute)) for r in rows)
    return Table(columns, lines, say("quality.randomisation_table"))


def _correlation(found: Estimate) -> Number:
    return Number(found.value, "signed", found.ci_low, found.ci_high, found.why)


def _stage(down_to: str) -> Text:
    kind, _, layer = down_to.partition(" ")
    if down_to == "head":
        return say("down_to.head")
    return say("down_to.layer", layer=layer) if kind == "layer" else down_to


def plausibility_node(record: Plausibility) -> Node:
    """Likeness to human rationales, with the sentence that it is not faithfulness in front."""
    columns = (
        Column(say("column.metric")),
        Column(say("column.explanation"), numeric=True),
        Column(say("column.shuffled"), numeric=True),
        Column(say("column.n"), numeric=True),
    )
    lines = tuple(
        (
            say("metric.named", name=r.metric),
            Number(r.value, "decimal", r.ci_low, r.ci_high),
            Number(r.random_mean, "decimal"),
            Number(r.n, "count"),
        )
        for r in record.rows
    )
    children: list[Node] = [Note("note", (say("plausibility.not_faithfulness"),))]
    children.append(Table(columns, lines, say("plausibility.table")))
    facts: list[Inline] = []
    if record.base_rate is not None:
        facts.append(say("plausibility.base_rate", share=record.base_rate, k=record.eraser_k))
    if record.n_without:
        facts.append(say("plausibility.without", n=record.n_without))
    if record.n_partly_read:
        facts.append(say("plausibility.partly_read", n=record.n_partly_read))
    if facts:
        children.append(Paragraph(tuple(facts), "small"))
    return Section(say("view.plausibility", method=record.method), tuple(children))
