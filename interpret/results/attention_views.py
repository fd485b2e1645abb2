"""Views of attention: where it goes head by head, what the answer loses without a head, and single patterns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from interpret.results.attention import AttentionMaps, AttentionPatterns, Head, HeadAblation
from interpret.results.audits import AttentionSummary, HeadRow
from interpret.results.record import Message
from interpret.results.tree import (
    Badge,
    Column,
    Fact,
    Facts,
    Figure,
    Heading,
    HeatPlot,
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

#: Cells of one grid [layer, head], and heads that are listed with their intervals.
N_CELLS: Final = 400
N_LISTED: Final = 12
#: Tokens of one pattern that a drawing shows, and pairs of tokens that the table beside it lists.
N_TOKENS: Final = 32
N_PAIRS: Final = 12


def attention_nodes(record: AttentionSummary) -> tuple[Node, ...]:
    """Per head the effect of taking it out, entropy and distance, by layer their means; then one pattern, drawn.

    The drawing of the pattern is the last figure: a page with a script puts the patterns to choose from in its place.
    """
    children: list[Node] = [Note("note", (say("attention.not_explanation"),)), *_effects(record)]
    if record.heads:
        children += [_entropy(record), _distance(record), _by_layer(record)]
    children.append(Paragraph((say("attention.mode", mode=record.mode),), "small"))
    if record.maps is not None and record.maps.maps:
        children += _patterns(record.maps, most_effective(record))
    return tuple(children)


@view.register
def _(record: AttentionSummary) -> Node:
    return Section(say("view.attention"), attention_nodes(record))


# --- what the answer loses


def _effects(record: AttentionSummary) -> tuple[Node, ...]:
    rows = sorted(record.ablations, key=lambda row: (-abs(row.effect), row.layer, row.head))
    if not rows:
        why: Inline = say("attention.not_ablated") if record.ablation_why is None else record.ablation_why
        return (Paragraph((Badge("not_run", say("attention.effect_badge")), why)),)
    first = rows[0]
    apart = sum(not row.ci_low <= 0 <= row.ci_high for row in rows)
    lead = say(
        "attention.effect_lead",
        n=record.n_ablated, layer=first.layer, head=first.head, effect=first.effect, low=first.ci_low,
        high=first.ci_high, apart=apart, heads=len(rows), chance=round(0.05 * len(rows)),
    )  # fmt: skip
    layers, heads = _grid(rows)
    cells = {(row.layer, row.head): _effect_cell(row) for row in rows}
    table = _grid_table(cells, layers, heads, say("attention.effect_grid"))
    at: dict[tuple[int, int], float | None] = {(row.layer, row.head): row.effect for row in rows}
    plot = MatrixPlot(
        tuple(tuple(at.get((layer, head)) for head in heads) for layer in layers),
        tuple(map(str, layers)),
        tuple(map(str, heads)),
        say("column.layer"),
        say("column.head"),
        say("axis.logits_added"),
    )
    alt = say("attention.effect_alt", layers=len(layers), heads=len(heads), high=first.effect)
    figure = Figure(plot, alt, table, say("attention.effect_figure", n=record.n_ablated))
    return (Paragraph((lead,)), figure, _strongest(rows), Paragraph((say("attention.effect_reading"),), "small"))


def _effect_cell(row: HeadAblation) -> Inline:
    """The effect, with a star where the interval leaves out 0."""
    if row.ci_low <= 0 <= row.ci_high:
        return Number(row.effect, "signed")
    return say("attention.apart", effect=row.effect)


def _strongest(rows: Sequence[HeadAblation]) -> Table:
    """The heads with the largest effect and their intervals; `rows` are in that order."""
    columns = (
        Column(say("column.layer"), numeric=True),
        Column(say("column.head"), numeric=True),
        Column(say("column.head_adds"), numeric=True),
    )
    listed = tuple(
        (Number(row.layer, "count"), Number(row.head, "count"), Number(row.effect, "signed", row.ci_low, row.ci_high))
        for row in rows[:N_LISTED]
    )
    if len(listed) < len(rows):
        caption = say("attention.effect_top", shown=len(listed), n=len(rows))
    else:
        caption = say("attention.effect_table")
    return Table(columns, listed, caption, row_headers=False)


def most_effective(record: AttentionSummary) -> Head | None:
    """The head whose pattern is looked at first: of those shown, the one without which the answer changes most."""
    shown = set(record.maps.heads) if record.maps is not None else set()
    rows = [row for row in record.ablations if Head(row.layer, row.head) in shown]
    best = max(rows, key=lambda row: (abs(row.effect), -row.layer, -row.head), default=None)
    return None if best is None else Head(best.layer, best.head)


# --- where it goes


def _grid(rows: Sequence[HeadRow | HeadAblation]) -> tuple[list[int], list[int]]:
    return sorted({row.layer for row in rows}), list(range(max(row.head for row in rows) + 1))


def _grid_table(
    cells: Mapping[tuple[int, int], Inline], layers: Sequence[int], heads: Sequence[int], caption: Message
) -> Table:
    """Layers in rows, heads in columns: a row for each head would make the largest tables of the report."""
    shown = layers[: max(1, N_CELLS // len(heads))]
    columns = (Column(say("column.layer_head"), numeric=True), *(Column(str(head), numeric=True) for head in heads))
    none = Number(None)
    rows = tuple((Number(layer, "count"), *(cells.get((layer, head), none) for head in heads)) for layer in shown)
    return Table(columns, rows, caption, len(layers))


def _entropy(record: AttentionSummary) -> Figure:
    values = {(h.layer, h.head): h.entropy_nats for h in record.heads}
    layers, heads = _grid(record.heads)
    reach = max(max(h.entropy_ci_high - h.entropy_nats, h.entropy_nats - h.entropy_ci_low) for h in record.heads)
    cells: dict[tuple[int, int], Inline] = {at: Number(value) for at, value in values.items()}
    table = _grid_table(cells, layers, heads, say("attention.entropy_grid", reach=reach))
    plot = HeatPlot(_rows(values, layers, heads), say("column.layer"), say("column.head"), say("axis.entropy"))
    low, high = min(values.values()), max(values.values())
    alt = say("attention.figure_alt", layers=len(layers), heads=len(heads), low=low, high=high)
    return Figure(plot, alt, table, say("attention.figure", n=record.n))


def _distance(record: AttentionSummary) -> Figure:
    values = {(h.layer, h.head): h.distance_tokens for h in record.heads}
    layers, heads = _grid(record.heads)
    cells: dict[tuple[int, int], Inline] = {at: Number(value, "tenth") for at, value in values.items()}
    table = _grid_table(cells, layers, heads, say("attention.distance_grid"))
    plot = HeatPlot(_rows(values, layers, heads), say("column.layer"), say("column.head"), say("axis.distance"))
    low, high = min(values.values()), max(values.values())
    alt = say("attention.distance_alt", layers=len(layers), heads=len(heads), low=low, high=high)
    return Figure(plot, alt, table, say("attention.distance_figure", n=record.n))


def _by_layer(record: AttentionSummary) -> Table:
    """Means over the heads of a layer; of the share on special tokens also the two heads at the ends."""
    columns = (
        Column(say("column.layer"), numeric=True),
        Column(say("column.entropy"), numeric=True),
        Column(say("column.distance"), numeric=True),
        Column(say("column.to_special"), numeric=True),
        Column(say("column.to_special_low"), numeric=True),
        Column(say("column.to_special_high"), numeric=True),
    )
    rows = []
    for layer in sorted({h.layer for h in record.heads}):
        within = [h for h in record.heads if h.layer == layer]
        special = [h.to_special for h in within]
        rows.append(
            (
                Number(layer, "count"),
                Number(float(np.mean([h.entropy_nats for h in within]))),
                Number(float(np.mean([h.distance_tokens for h in within])), "tenth"),
                Number(float(np.mean(special)), "percent"),
                Number(min(special), "percent"),
                Number(max(special), "percent"),
            )
        )
    return Table(columns, tuple(rows), say("attention.layer_table"))


def _rows(
    values: dict[tuple[int, int], float], layers: Sequence[int], heads: Sequence[int]
) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(values.get((layer, head)) for head in heads) for layer in layers)


# --- single patterns


def _patterns(record: AttentionMaps, head: Head | None) -> list[Node]:
    shown = record.maps[0]
    number = 0 if head is None else record.heads.index(head)
    layer, within = record.heads[number]
    lead = say(f"attention.maps_{record.rule}", heads=len(record.heads), cases=len(record.maps), n=record.n_cases)
    caption = say("attention.map_figure", layer=layer, head=within, row=shown.row)
    figure = pattern_figure(shown.weights[number] / 255, shown.tokens, shown.tokens, caption)
    return [Heading(say("attention.maps")), Paragraph((lead,)), figure]


def pattern_figure(
    weights: npt.NDArray[np.floating], queries: Sequence[str], keys: Sequence[str], caption: Message
) -> Figure:
    """One pattern [query, key], drawn up to its first 32 tokens, with the strongest pairs of all as a table."""
    drawn = weights[:N_TOKENS, :N_TOKENS]
    plot = MatrixPlot(
        tuple(tuple(float(w) for w in row) for row in drawn),
        tuple(queries[:N_TOKENS]),
        tuple(keys[:N_TOKENS]),
        say("axis.query"),
        say("axis.key"),
        say("axis.weight"),
        signed=False,
    )
    order = np.argsort(-weights.ravel(), kind="stable")[:N_PAIRS].tolist()
    rows = tuple(
        (queries[at // len(keys)], keys[at % len(keys)], Number(float(weights.ravel()[at]), "percent")) for at in order
    )
    columns = (Column(say("column.query")), Column(say("column.key")), Column(say("column.weight"), numeric=True))
    table = Table(columns, rows, say("attention.pairs"), weights.size, row_headers=False)
    alt = say("attention.map_alt", queries=len(queries), keys=len(keys), shown=N_TOKENS)
    return Figure(plot, alt, table, caption)


@view.register
def _(record: AttentionMaps) -> Node:
    return Section(say("attention.maps"), tuple(_patterns(record, None)[1:]) if record.maps else ())


@view.register
def _(record: AttentionPatterns) -> Node:
    n_layers, n_heads = record.weights.shape[:2]
    facts = (
        Fact(say("fact.layers"), ", ".join(map(str, record.layers))),
        Fact(say("fact.heads"), Number(n_heads, "count")),
        Fact(say("fact.tokens"), Number(len(record.queries), "count")),
    )
    mean = record.weights.mean(axis=(0, 1))
    caption = say("attention.mean_figure", layers=n_layers, heads=n_heads)
    return Section(
        say("view.patterns"),
        (
            Note("note", (say("attention.not_explanation"),)),
            Facts(facts),
            pattern_figure(mean, record.queries, record.keys, caption),
            Paragraph((say("attention.views_hint"),), "small"),
        ),
    )
