"""Views of what causes an answer: grids over layers and places, each with its table."""

from __future__ import annotations

from typing import Final

import numpy as np

from interpret.results.explanations import FloatArray, TargetRecord
from interpret.results.interventions import AblationSweep, EffectMetric, LensReading, LogitPart, LogitParts, PatchSweep
from interpret.results.record import Message
from interpret.results.tree import (
    Column,
    Figure,
    Inline,
    IntervalPlot,
    IntervalRow,
    MatrixPlot,
    Node,
    Note,
    Number,
    Paragraph,
    Section,
    Table,
    say,
)
from interpret.results.views import view

#: Columns that a drawing shows, and rows of a table of the strongest.
MAX_COLUMNS: Final = 40
MAX_LAYERS: Final = 48
_LONG: Final = 60
#: How far from a full restoration a patch of the whole stream may be before the view warns.
EXACT: Final = 1e-3


def visible_space(name: str) -> str:
    """A token that is only space would leave an empty place beside its row."""
    return name.strip() or name.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣")


def effect_words(metric: EffectMetric, target: TargetRecord) -> Message:
    """What was measured, as a noun."""
    label = target.label if target.label is not None else str(target.index)
    foil = target.foil_label if target.foil_label is not None else str(target.foil_index)
    if metric == "logit" and target.foil_index is not None:
        metric = "logit_difference"
    return say(f"effect.{metric}", label=visible_space(label), foil=visible_space(foil))


def grid(
    values: FloatArray, rows: tuple[str, ...], columns: tuple[str, ...], row_axis: Message, column_axis: Message,
    unit: Message,
) -> tuple[MatrixPlot, bool]:  # fmt: skip
    """A drawing of at most 48 rows and the 40 columns with the largest values, in order, and whether it is cut."""
    last = len(rows) - min(len(rows), MAX_LAYERS)
    shown = np.sort(np.argsort(-np.abs(values[last:]).sum(axis=0), kind="stable")[:MAX_COLUMNS])
    plot = MatrixPlot(
        tuple(tuple(float(values[r, c]) for c in shown) for r in range(last, len(rows))),
        rows[last:],
        tuple(visible_space(columns[c]) for c in shown),
        row_axis,
        column_axis,
        unit,
    )
    return plot, bool(last) or len(shown) < len(columns)


@view.register
def _(record: PatchSweep) -> Node:
    what = effect_words(record.metric, record.target)
    head: tuple[Inline, ...] = (
        say("patch.what", site=record.site, direction=record.direction),
        say("patch.effect_on"),
        what,
    )
    ends = Table(
        (Column(say("column.run")), Column(say("column.text")), Column(say("column.value"), numeric=True)),
        (
            (say("patch.clean"), record.clean_text, Number(record.clean, "decimal")),
            (say("patch.corrupted"), record.corrupted_text, Number(record.corrupted, "decimal")),
        ),
        say("patch.ends"),
    )
    effects = record.effects
    plot, cut = patch_grid(record)
    caption = say(f"patch.figure_{record.direction}")
    parts: tuple[Inline, ...] = (say("patch.limits"), say("patch.cut")) if cut else (say("patch.limits"),)
    alt = say("patch.figure_alt", layers=len(record.layers), columns=len(record.columns))
    children: tuple[Node, ...] = (
        Paragraph(head),
        ends,
        Figure(plot, alt, _strongest(record, effects), caption),
        *_whole(record),
        Paragraph(parts, "small"),
    )
    return Section(say("view.patch", site=record.site), children)


def patch_grid(record: PatchSweep) -> tuple[MatrixPlot, bool]:
    """The drawing of a sweep's effects, and whether it is cut."""
    rows = tuple(map(str, record.layers))
    axes = say("column.layer"), say(f"axis.{record.per}"), say("axis.effect")
    return grid(record.effects, rows, record.columns, *axes)


def _strongest(record: PatchSweep, effects: FloatArray) -> Table:
    order = np.argsort(-np.abs(effects).ravel(), kind="stable")[:_LONG]
    numbers = record.to_frame()[record.per].to_numpy()
    rows = tuple(
        (
            str(record.layers[at // len(record.columns)]),
            Number(float(numbers[at]), "count"),
            visible_space(record.columns[at % len(record.columns)]) if record.per == "position" else "–",
            Number(float(record.values.ravel()[at]), "decimal"),
            Number(float(effects.ravel()[at]), "signed"),
        )
        for at in order.tolist()
    )
    columns = (
        Column(say("column.layer")),
        Column(say(f"axis.{record.per}"), numeric=True),
        Column(say("column.token")),
        Column(say("column.value"), numeric=True),
        Column(say("axis.effect"), numeric=True),
    )
    return Table(columns, rows, say("patch.table"), effects.size)


def covers_stream(record: PatchSweep) -> bool:
    """Whether all places of a layer together are the whole stream after it."""
    return record.site in ("resid_pre", "resid_post") and len(record.columns) == len(record.positions)


def _whole(record: PatchSweep) -> tuple[Node, ...]:
    """What the patch of a whole layer does: of the stream it is the other run again, or something is wrong."""
    whole = record.whole_effects
    table = Table(
        (
            Column(say("column.layer")),
            Column(say("column.value"), numeric=True),
            Column(say("axis.effect"), numeric=True),
        ),
        tuple(
            (str(layer), Number(float(value), "decimal"), Number(float(effect), "signed"))
            for layer, value, effect in zip(record.layers, record.whole, whole, strict=True)
        ),
        say("patch.whole"),
    )
    off = float(np.abs(whole - 1.0).max())
    if covers_stream(record) and off > EXACT:
        return table, Note("warning", (say("patch.not_restored", off=off),))
    return (table,)


@view.register
def _(record: AblationSweep) -> Node:
    n = len(record.targets)
    told: tuple[Inline, ...] = (
        say("ablate.what", operator=record.operator, n=n, n_reference=record.n_reference, n_draws=record.n_draws),
        say("patch.effect_on"),
        _ablated_target(record),
    )
    children: list[Node] = [Paragraph(told)]
    heads = record.heads
    if heads.size:
        layers = sorted({part.layer for part in record.parts if part.part == "head"})
        columns = tuple(map(str, range(heads.shape[1])))
        unit = say("axis.nats" if record.metric in ("kl", "log_probability") else "axis.loss")
        names = (tuple(map(str, layers)), columns)
        plot, cut = grid(heads, *names, say("column.layer"), say("axis.head"), unit)
        alt = say("ablate.figure_alt", layers=len(layers), heads=heads.shape[1])
        caption = say("ablate.figure_kl" if record.metric == "kl" else "ablate.figure")
        children.append(Figure(plot, alt, _ablated(record, "head"), caption))
        if cut:
            children.append(Paragraph((say("patch.cut"),), "small"))
    if any(part.part == "mlp" for part in record.parts):
        children.append(_ablated(record, "mlp"))
    limits: list[Inline] = [say("ablate.limits")]
    limits += [say("ablate.intervals") if record.parts[0].ci_low is not None else say("ablate.no_interval", n=n)]
    if record.n_truncated:
        limits.append(say("quality.truncated", n=record.n_truncated))
    children.append(Paragraph(tuple(limits), "small"))
    return Section(say("view.ablate", n=n), tuple(children))


def _ablated_target(record: AblationSweep) -> Message:
    """What was measured; of several targets only that they are several."""
    first = record.targets[0]
    same = {(t.index, t.foil_index) for t in record.targets} == {(first.index, first.foil_index)}
    return effect_words(record.metric, first) if same or record.metric == "kl" else say(f"effect.{record.metric}_each")


def _ablated(record: AblationSweep, part: str) -> Table:
    found = sorted((row for row in record.parts if row.part == part), key=lambda row: -abs(row.effect))
    shown = [Column(say("column.layer")), *([Column(say("column.head"))] if part == "head" else [])]
    columns = (*shown, Column(say("axis.loss"), numeric=True))
    rows = tuple(
        (
            str(row.layer),
            *(() if row.head is None else (str(row.head),)),
            Number(row.effect, "signed", row.ci_low, row.ci_high),
        )
        for row in found[:_LONG]
    )
    return Table(columns, rows, say(f"ablate.table_{part}"), len(found))


#: Positions whose readings a table shows side by side.
_POSITIONS: Final = 8


@view.register
def _(record: LensReading) -> Node:
    at = len(record.tokens) - 1 if record.read is None else record.read
    plot, cut = grid(
        record.kl, record.layers, record.tokens, say("column.layer"), say("axis.position"), say("axis.kl_final")
    )
    alt = say("lens.figure_alt", layers=len(record.layers), positions=len(record.tokens))
    where = "last" if record.read is None else "read"
    lead = say(f"lens.target_{'given' if record.given else 'final'}", target=visible_space(record.targets[at]))
    notes: list[Inline] = [say("lens.limits")]
    if record.read is not None:
        notes.append(say("lens.one_place"))
    if cut:
        notes.append(say("patch.cut"))
    if record.n_truncated:
        notes.append(say("quality.truncated", n=record.n_truncated))
    children: tuple[Node, ...] = (
        Paragraph((lead,)),
        _readings(record, at, say(f"lens.table_{where}", position=at, token=visible_space(record.tokens[at]))),
        Figure(plot, alt, _tops(record), say("lens.figure")),
        Paragraph(tuple(notes), "small"),
    )
    return Section(say("view.lens"), children)


def _readings(record: LensReading, at: int, caption: Message) -> Table:
    columns = (
        Column(say("column.layer")),
        Column(say("column.said_first")),
        Column(say("column.rank"), numeric=True),
        Column(say("column.probability"), numeric=True),
        Column(say("axis.kl_final"), numeric=True),
        Column(say("axis.entropy"), numeric=True),
    )
    rows = tuple(
        (
            name,
            visible_space(record.top[n][at]),
            Number(float(record.rank[n, at]) + 1.0, "count"),
            Number(float(np.exp(record.log_probability[n, at])), "percent"),
            Number(float(record.kl[n, at]), "decimal"),
            Number(float(record.entropy[n, at]), "decimal"),
        )
        for n, name in enumerate(record.layers)
    )
    return Table(columns, rows, caption)


def _tops(record: LensReading) -> Table:
    """What is said first, at the last positions of the text."""
    shown = range(max(0, len(record.tokens) - _POSITIONS), len(record.tokens))
    columns = (Column(say("column.layer")), *(Column(visible_space(record.tokens[n])) for n in shown))
    rows = tuple(
        (name, *(visible_space(record.top[layer][n]) for n in shown)) for layer, name in enumerate(record.layers)
    )
    return Table(columns, rows, say("lens.table_top", n=len(shown)))


#: Parts that are drawn as bars.
_BARS: Final = 16


@view.register
def _(record: LogitParts) -> Node:
    fixed = [part for part in record.parts if part.kind in ("norm_bias", "constant")]
    written = sorted((part for part in record.parts if part not in fixed), key=lambda part: -abs(part.value))
    total = float(sum(part.value for part in record.parts))
    sums = Table(
        (Column(say("column.model_part")), Column(say("axis.logits_added"), numeric=True)),
        (
            (say("parts.written", n=len(written)), Number(sum(part.value for part in written), "signed")),
            *((_part_name(part), Number(part.value, "signed")) for part in fixed),
            (say("parts.remainder"), Number(record.remainder, "signed")),
            (say("parts.logit"), Number(record.logit, "signed")),
        ),
        say("parts.sums"),
    )
    table = Table(
        (Column(say("column.model_part")), Column(say("axis.logits_added"), numeric=True)),
        tuple((_part_name(part), Number(part.value, "signed")) for part in written[:_LONG]),
        say("parts.table"),
        len(written),
    )
    bars = tuple(IntervalRow(_part_name(part), part.value) for part in written[:_BARS])
    plot = IntervalPlot(bars, say("axis.logits_added"), "signed", bars=True)
    linear = say("parts.linear") if record.linear else say("parts.curved", remainder=record.remainder, sum=total)
    children: tuple[Node, ...] = (
        Paragraph(
            (
                say("patch.effect_on"),
                effect_words("logit", record.target),
                say("parts.where", token=visible_space(record.token), position=record.position),
                linear,
            )
        ),
        sums,
        Figure(plot, say("parts.figure_alt", n=len(bars)), table, say("parts.figure")),
        Paragraph((say("parts.limits"),), "small"),
    )
    return Section(say("view.parts"), children)


def _part_name(part: LogitPart) -> Message:
    kind = "head" if part.kind == "attention" and part.head is not None else part.kind
    return say(f"logit_part.{kind}", layer=part.layer, head=part.head)
