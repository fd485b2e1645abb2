"""One part of a comparison each, as figures and short tables; frames and files hold every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from interpret.results.comparisons import ComparisonRow, Part
from interpret.results.tree import (
    Column,
    Details,
    Fact,
    Facts,
    Figure,
    HeatPlot,
    Inline,
    IntervalPlot,
    IntervalRow,
    LayerPlot,
    MatrixPlot,
    Node,
    Number,
    NumberKind,
    Paragraph,
    Series,
    Table,
    Text,
    say,
)

#: Rows of the tables: of weights, places of the stream, heads, slices, and words.
N_WEIGHTS: Final = 5
N_PLACES: Final = 32
N_HEADS: Final = 4
N_SLICES: Final = 12
N_WORDS: Final = 5
#: A map of weights has at most so many modules and layers; a figure of fewer than two cells says nothing.
_MAP: Final = (16, 48)
_DECIMAL: Final = ("mcc", "log_loss", "nll", "brier", "perplexity")
#: Quantities outside outputs that are shares.
_SHARES: Final = ("relative_norm", "changed_weights", "relative_shift")


def part_nodes(part: Part, rows: Sequence[ComparisonRow]) -> tuple[Node, ...]:
    """The rows of one part, drawn where that shows more than a table; probes have a record of their own."""
    makers: dict[Part, Callable[[Sequence[ComparisonRow]], tuple[Node, ...]]] = {
        "weights": _weights,
        "activations": _activations,
        "attention": _attention,
        "outputs": _outputs,
        "explanations": _explanations,
    }
    return makers[part](rows) if rows and part in makers else ()


# --- weights


def _weights(rows: Sequence[ComparisonRow]) -> tuple[Node, ...]:
    by_weight: dict[str, dict[str, ComparisonRow]] = {}
    for r in rows:
        if r.item is not None:
            by_weight.setdefault(r.item, {})[r.name] = r
    if not by_weight:
        whole = tuple(Fact(say("quantity.named", name=r.name), _number(r)) for r in rows)
        return (Facts(whole),)
    table = _weight_table(by_weight)
    drawn = _weight_map([found["relative_norm"] for found in by_weight.values() if "relative_norm" in found], table)
    return (table if drawn is None else drawn,)


def _weight_table(by_weight: dict[str, dict[str, ComparisonRow]]) -> Table:
    """The weights that moved furthest; rows come in that order."""
    names = [
        n for n in ("relative_norm", "effective_rank", "rounding_floor") if any(n in f for f in by_weight.values())
    ]
    columns = (
        Column(say("column.parameter")),
        *(Column(say("quantity.named", name=name), numeric=True) for name in names),
    )
    cells: list[tuple[Inline, ...]] = []
    for item, found in list(by_weight.items())[:N_WEIGHTS]:
        numbers = tuple(_number(found[name]) if name in found else "–" for name in names)
        cells.append((item, *numbers))
    return Table(columns, tuple(cells), say("comparison.weights_table"), len(by_weight))


def _weight_map(rows: Sequence[ComparisonRow], table: Table) -> Figure | None:
    """Modules by layers, coloured by how far each moved relative to its norm; empty where it did not."""
    found: dict[tuple[str, int], float] = {}
    places = [(r, *_module(r)) for r in rows if r.layer is not None and (r.item or "").endswith(".weight")]
    several = len({stack for _, stack, _ in places}) > 1
    for r, stack, module in places:
        if r.layer is not None and r.value is not None:
            found[f"{stack}.{module}" if several else module, r.layer] = r.value
    names = list(dict.fromkeys(name for name, _ in sorted(found, key=lambda key: (-found[key], key))))[: _MAP[0]]
    layers = sorted({layer for _, layer in found})
    if len(layers) < 2 or not layers[-1] < _MAP[1]:
        return None
    columns = range(layers[0], layers[-1] + 1)
    grid = tuple(tuple(found.get((name, layer)) for layer in columns) for name in names)
    plot = MatrixPlot(
        grid,
        tuple(names),
        tuple(map(str, columns)),
        say("column.module"),
        say("column.layer"),
        say("axis.relative_norm"),
        signed=False,
        numbers=False,
    )
    (name, layer), value = max(found.items(), key=lambda one: (one[1], one[0]))
    alt = say("comparison.weights_alt", n=len(names), name=name, layer=layer, value=value)
    return Figure(plot, alt, table, say("comparison.weights_map"))


def _module(r: ComparisonRow) -> tuple[str, str]:
    """What stands before and after the number of the layer in the name of a weight."""
    before, _, after = f".{r.item}".partition(f".{r.layer}.")
    return before.strip("."), after.removesuffix(".weight")


# --- activations and attention


def _activations(rows: Sequence[ComparisonRow]) -> tuple[Node, ...]:
    places = list(dict.fromkeys((r.item or "", -1 if r.layer is None else r.layer) for r in rows))
    names = [name for name in ("cka", "cosine", "relative_shift") if any(r.name == name for r in rows)]
    found = {(r.name, r.item or "", -1 if r.layer is None else r.layer): r for r in rows}
    series = []
    # The cosine of single tokens stands in the table: three lines show little more than two.
    for name in [name for name in names if name != "cosine"]:
        line = [found.get((name, *place)) for place in places]
        series.append(
            Series(
                say("quantity.named", name=name),
                tuple(None if r is None else r.value for r in line),
                tuple(None if r is None else r.ci_low for r in line),
                tuple(None if r is None else r.ci_high for r in line),
            )
        )
    stacks = {item.rpartition(".")[0] for item, _ in places}
    labels = tuple(_place(item, layer, several=len(stacks) > 1) for item, layer in places)
    columns = (Column(say("column.layer")), *(Column(say("quantity.named", name=n), numeric=True) for n in names))
    cells = tuple(
        (label, *(_number(r) if (r := found.get((name, *place))) is not None else "–" for name in names))
        for label, place in zip(labels, places, strict=True)
    )
    kept, n = cells[:N_PLACES], max(r.n for r in rows)
    table = Table(columns, kept, say("comparison.activations_table", n=n), len(cells))
    if len(labels) < 2:
        return (table,)
    plot = LayerPlot(labels, tuple(series), say("axis.similarity"), say("column.layer"))
    last = found.get(("cka", *places[-1]))
    alt = say("comparison.activations_alt", n=len(labels), value=None if last is None else last.value)
    return (Figure(plot, alt, table, say("comparison.activations_figure")),)


def _place(item: str, layer: int, *, several: bool) -> str:
    """A layer by its number, with its stack where there are several; what is no layer by its name."""
    stack = item.rpartition(".")[0]
    name = item.rpartition(".")[2] if layer < 0 else str(layer)
    return f"{stack} {name}" if several and stack else name


def _attention(rows: Sequence[ComparisonRow]) -> tuple[Node, ...]:
    out: list[Node] = []
    for stack in dict.fromkeys(r.item for r in rows):
        out += _heads([r for r in rows if r.item == stack], stack)
    return tuple(out)


def _heads(rows: Sequence[ComparisonRow], stack: str | None) -> tuple[Node, ...]:
    heads = {(r.layer, r.head): r.value for r in rows if r.layer is not None and r.head is not None}
    ordered = sorted(rows, key=lambda r: (-(r.value or 0.0), r.layer or 0, r.head or 0))
    columns = (
        Column(say("column.layer"), numeric=True),
        Column(say("column.head"), numeric=True),
        Column(say("quantity.js_bits"), numeric=True),
    )
    cells = tuple((Number(r.layer, "count"), Number(r.head, "count"), _number(r)) for r in ordered[:N_HEADS])
    about = say("comparison.attention_table", n=rows[0].n)
    if stack is not None:
        about = say("comparison.attention_table_of", n=rows[0].n, stack=stack)
    table = Table(columns, cells, about, len(ordered), row_headers=False)
    if len(heads) < 2:
        return (table,)
    layers, across = (sorted({key[axis] for key in heads}) for axis in (0, 1))
    grid = tuple(tuple(heads.get((layer, head)) for head in across) for layer in layers)
    drawing = HeatPlot(grid, say("column.layer"), say("column.head"), say("axis.js_bits"))
    top = ordered[0]
    alt = say("comparison.attention_alt", layer=top.layer, head=top.head, value=top.value)
    caption = say("comparison.attention_figure")
    if stack is not None:
        caption = say("comparison.attention_of", stack=stack)
    return (Figure(drawing, alt, table, caption),)


# --- outputs and explanations


def _outputs(rows: Sequence[ComparisonRow]) -> tuple[Node, ...]:
    whole = [r for r in rows if r.slice is None and r.item is None]
    words = [r for r in rows if r.item is not None]
    out: list[Node] = []
    if whole:
        columns = (Column(say("column.quantity")), Column(say("column.value_ci"), numeric=True))
        cells = tuple((say("quantity.named", name=r.name), _number(r)) for r in whole)
        out.append(Table(columns, cells, say("comparison.outputs_table", n=max(r.n for r in whole))))
    out += _slices(rows, whole)
    for name in dict.fromkeys(r.name for r in words):
        table = _word_table([r for r in words if r.name == name], None)
        out.append(Details(say("quantity.named", name=name), (table,)))
    return tuple(out)


def _word_table(rows: Sequence[ComparisonRow], caption: Text | None) -> Table:
    columns = (
        Column(say("column.word")),
        Column(say("column.value_ci"), numeric=True),
        Column(say("column.n"), numeric=True),
    )
    cells = tuple((r.item or "", _number(r), Number(r.n, "count")) for r in rows[:N_WORDS])
    return Table(columns, cells, caption, len(rows))


def _slices(rows: Sequence[ComparisonRow], whole: Sequence[ComparisonRow]) -> tuple[Node, ...]:
    """Where outputs moved most, slice by slice, beside the whole; what comes next, where that is known."""
    sliced = [r for r in rows if r.slice is not None]
    if not sliced:
        return ()
    name = next(n for n in ("kl_bits_next", "kl_bits", sliced[0].name) if any(r.name == n for r in sliced))
    ordered = sorted((r for r in sliced if r.name == name), key=lambda r: (-(r.value or 0.0), r.slice or ""))
    drawn = ordered[:N_SLICES]
    names = list(dict.fromkeys([name, *(r.name for r in sliced)]))
    found = {(r.slice, r.name): r for r in sliced}
    columns = (
        Column(say("column.slice")),
        Column(say("column.n"), numeric=True),
        *(Column(say("quantity.named", name=one), numeric=True) for one in names),
    )
    cells: list[tuple[Inline, ...]] = []
    for r in drawn:
        line_of = (found.get((r.slice, one)) for one in names)
        numbers = (_number(one) if one is not None else "–" for one in line_of)
        cells.append((r.slice or "", Number(r.n, "count"), *numbers))
    table = Table(columns, tuple(cells), say("comparison.slices_table"), len(ordered))
    line = next((r.value for r in whole if r.name == name), None)
    plot = IntervalPlot(
        tuple(IntervalRow(r.slice or "", r.value, r.ci_low, r.ci_high) for r in drawn),
        say("quantity.named", name=name),
        _kind(drawn[0]),
        say("quantity.named", name=name),
        line=line,
        line_name=None if line is None else say("comparison.all_texts"),
    )
    alt = say("comparison.slices_alt", n=len(drawn), slice=drawn[0].slice, value=drawn[0].value)
    return (Figure(plot, alt, table, say("comparison.slices_figure", n=len(ordered))),)


def _explanations(rows: Sequence[ComparisonRow]) -> tuple[Node, ...]:
    out: list[Node] = []
    for r in rows:
        if r.name == "rank_correlation":
            out.append(
                Paragraph(
                    (say("comparison.explained", method=r.item, n=r.n), Number(r.value, "signed", r.ci_low, r.ci_high))
                )
            )
    words = [r for r in rows if r.name == "share_difference"][:N_WORDS]
    if words:
        plot = IntervalPlot(
            tuple(IntervalRow(r.item or "", r.value, r.ci_low, r.ci_high) for r in words),
            say("quantity.share_difference"),
            "points",
            say("quantity.share_difference"),
            bars=True,
        )
        table = _word_table(words, say("quantity.share_difference"))
        alt = say("comparison.shares_alt", n=len(words))
        out.append(Figure(plot, alt, table, say("comparison.shares_figure")))
    return tuple(out)


# --- numbers


def _number(r: ComparisonRow) -> Number:
    return Number(r.value, _kind(r), r.ci_low, r.ci_high)


def _kind(r: ComparisonRow) -> NumberKind:
    if r.name in _SHARES:
        return "percent"
    if r.name == "share_difference":
        return "points"
    if r.name == "rounding_floor":
        return "tiny"
    if r.part != "outputs" or r.name in _DECIMAL or any(word in r.name for word in ("logit", "nats", "bits")):
        return "decimal"
    if r.value is not None and not -1.0 <= r.value <= 1.0:
        return "decimal"
    return "points" if "difference" in r.name else "percent"
