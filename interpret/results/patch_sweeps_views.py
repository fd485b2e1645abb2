"""The view of activation patching over several pairs: a grid of mean effects, its table, and the pairs."""

from __future__ import annotations

from typing import Final

import numpy as np

from interpret.results.intervention_views import EXACT, covers_stream, effect_words, grid, visible_space
from interpret.results.patch_sweeps import PatchSweeps
from interpret.results.record import Message
from interpret.results.tree import (
    Column,
    Figure,
    Inline,
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

#: Rows of the tables of places and of pairs.
_PLACES: Final = 60
_PAIRS: Final = 20


@view.register
def _(record: PatchSweeps) -> Node:
    n = len(record.sweeps)
    told: tuple[Inline, ...] = (
        say("patch.what", site=record.site, direction=record.direction),
        say("patch.effect_on"),
        _measured(record),
        say(f"sweeps.{record.average}", n=n),
    )
    plot, cut = effects_grid(record)
    alt = say("patch.figure_alt", layers=len(record.layers), columns=len(record.columns))
    children: tuple[Node, ...] = (
        Paragraph(told),
        *_left_out(record),
        Figure(plot, alt, _places(record), say(f"sweeps.figure_{record.direction}")),
        *_whole(record),
        _pairs(record),
        Paragraph(_limits(record, cut), "small"),
    )
    return Section(say("view.patch_pairs", site=record.site, n=n), children)


def effects_grid(record: PatchSweeps) -> tuple[MatrixPlot, bool]:
    """The drawing of the mean effects, and whether it is cut."""
    rows = tuple(map(str, record.layers))
    axes = say("column.layer"), say(f"axis.{record.per}"), say("axis.effect")
    if record.per == "head":
        return grid(record.effects, rows, record.columns, *axes)
    # Tokens of a template stand at many columns alike, and where pairs differ there is none to name.
    numbers = record.numbers.tolist()
    names = tuple(f"{at} {visible_space(token)}".rstrip() for at, token in zip(numbers, record.columns, strict=True))
    return grid(record.effects, rows, names, *axes)


def _measured(record: PatchSweeps) -> Message:
    first = record.sweeps[0].target
    targets = {(sweep.target.index, sweep.target.foil_index) for sweep in record.sweeps}
    if len(targets) == 1 or record.metric == "kl":
        return effect_words(record.metric, first)
    metric = "logit_difference" if record.metric == "logit" and first.foil_index is not None else record.metric
    return say(f"effect.{metric}_pairs")


def _left_out(record: PatchSweeps) -> tuple[Node, ...]:
    if not record.left_out:
        return ()
    same = sum(pair.why == "same_answer" for pair in record.left_out)
    counts = {"n": len(record.left_out), "given": len(record.left_out) + len(record.sweeps)}
    lines: list[Inline] = [say("sweeps.left_out", **counts)]
    if same:
        lines.append(say("sweeps.same_answer", n=same))
    if same < len(record.left_out):
        lines.append(say("sweeps.no_difference", n=len(record.left_out) - same))
    return (Note("note", tuple(lines)),)


def _places(record: PatchSweeps) -> Table:
    width = len(record.columns)
    numbers, columns = record.numbers, record.columns
    order = np.argsort(-np.abs(record.effects).ravel(), kind="stable")[:_PLACES]
    by_head = record.per == "head"
    rows = tuple(
        (
            str(record.layers[at // width]),
            Number(float(numbers[at % width]), "count"),
            *(() if by_head else (visible_space(columns[at % width]) if columns[at % width] else "–",)),
            _number(record.effects.ravel(), record.ci_low, record.ci_high, at),
        )
        for at in order.tolist()
    )
    shown = (
        Column(say("column.layer")),
        Column(say(f"axis.{record.per}"), numeric=True),
        *(() if by_head else (Column(say("column.token")),)),
        Column(say("axis.effect"), numeric=True),
    )
    return Table(shown, rows, say("sweeps.table"), record.effects.size)


def _number(effects: np.ndarray, low: np.ndarray | None, high: np.ndarray | None, at: int) -> Number:
    if low is None or high is None:
        return Number(float(effects[at]), "signed")
    return Number(float(effects[at]), "signed", float(low.ravel()[at]), float(high.ravel()[at]))


def _whole(record: PatchSweeps) -> tuple[Node, ...]:
    """What the patch of a whole layer does: of the stream it is the other run again, or something is wrong."""
    rows = tuple(
        (str(layer), _number(record.whole_effects, record.whole_ci_low, record.whole_ci_high, at))
        for at, layer in enumerate(record.layers)
    )
    shown = (Column(say("column.layer")), Column(say("axis.effect"), numeric=True))
    table = Table(shown, rows, say("patch.whole"))
    off = float(np.abs(record.whole_effects - 1.0).max())
    if all(map(covers_stream, record.sweeps)) and off > EXACT:
        return table, Note("warning", (say("patch.not_restored", off=off),))
    return (table,)


def _pairs(record: PatchSweeps) -> Table:
    columns = (
        Column(say("sweeps.clean_text")),
        Column(say("sweeps.corrupted_text")),
        Column(say("patch.clean"), numeric=True),
        Column(say("patch.corrupted"), numeric=True),
    )
    rows = tuple(
        (
            sweep.clean_text,
            sweep.corrupted_text,
            Number(sweep.clean, "decimal"),
            Number(sweep.corrupted, "decimal"),
        )
        for sweep in record.sweeps[:_PAIRS]
    )
    return Table(columns, rows, say("sweeps.pairs"), len(record.sweeps))


def _limits(record: PatchSweeps, cut: bool) -> tuple[Inline, ...]:
    n = len(record.sweeps)
    lines: list[Inline] = [say("sweeps.limits")]
    lines.append(say("sweeps.no_interval", n=n) if record.ci_low is None else say("sweeps.intervals"))
    if record.n_reversed:
        lines.append(say("sweeps.reversed", n=record.n_reversed))
    if not record.same_positions:
        lines.append(say("sweeps.places"))
    if cut:
        lines.append(say("patch.cut"))
    return tuple(lines)
