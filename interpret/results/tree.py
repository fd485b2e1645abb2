"""The small tree that every view is made of before it becomes text or HTML.

A `Message` in the tree is a sentence of ours and is looked up in the catalogues; a plain `str` is data and
is shown as it is, always escaped. Plots are described by their numbers and drawn only when the tree is
lowered to HTML.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from interpret.results.record import Message, Scalar

Text = Message | str
NumberKind = Literal["percent", "points", "decimal", "tenth", "signed", "count", "p", "tiny"]
VerdictName = Literal[
    "pass",
    "fail",
    "inconclusive",
    "not_run",
    "done",
    "partial",
    "better_than_trivial",
    "better_than_random",
    "not_better",
    "not_measured",
]


def say(code: str, /, **params: Scalar) -> Message:
    """A message; parameters are named as in the catalogues."""
    return Message(code=code, params=params)


def names(values: Iterable[str]) -> str:
    """Several names as one parameter, for catalogue entries that write it with `&`."""
    return "\n".join(" ".join(value.split()) for value in values)


@dataclass(frozen=True)
class Number:
    """A number with its interval when there is one; None is shown as not measured, with `why` if known.

    `percent` and `points` are shares from 0 to 1 and are shown times one hundred; `points` and `signed` show
    a plus.
    """

    value: float | None
    kind: NumberKind = "decimal"
    low: float | None = None
    high: float | None = None
    why: Message | None = None


@dataclass(frozen=True)
class Code:
    """A digest, a command, a name: set in a fixed-width face and allowed to break anywhere."""

    text: str


@dataclass(frozen=True)
class Badge:
    """A verdict; its words come from the catalogue unless `text` is given."""

    verdict: VerdictName
    text: Text | None = None


Inline = Message | str | Number | Code | Badge


@dataclass(frozen=True)
class Paragraph:
    """Inline parts in a row."""

    parts: tuple[Inline, ...]
    kind: Literal["body", "lead", "small"] = "body"


@dataclass(frozen=True)
class Heading:
    """A heading below that of the section."""

    text: Text


@dataclass(frozen=True)
class Fact:
    """One name and its value, with a remark when there is one."""

    name: Text
    value: Inline
    note: Text | None = None


@dataclass(frozen=True)
class Facts:
    """Names and values in two columns; a `form` is to be filled in by hand, `prose` holds sentences."""

    facts: tuple[Fact, ...]
    kind: Literal["plain", "form", "prose"] = "plain"


@dataclass(frozen=True)
class Tile:
    """One headline: what it is, its value in large type, one sentence of context."""

    label: Text
    value: Inline
    detail: Text | None = None
    badge: Badge | None = None


@dataclass(frozen=True)
class Tiles:
    """Headlines side by side."""

    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Column:
    """One column; numbers are aligned at their end."""

    title: Text
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """Rows that all have one cell per column.

    `n_total` says how many rows there were before the list was cut.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Inline, ...], ...]
    caption: Text | None = None
    n_total: int | None = None
    row_headers: bool = True

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row has {len(row)} cells, the table has {len(self.columns)} columns")


class Token(NamedTuple):
    """One piece of text; `before` is the text between it and the piece before it.

    A score of None is not a unit.
    """

    text: str
    score: float | None
    before: str = " "


@dataclass(frozen=True)
class Tokens:
    """A text with signed scores; heat is relative to `scale`, the largest absolute score shown."""

    tokens: tuple[Token, ...]
    scale: float
    after: str = ""


class IntervalRow(NamedTuple):
    """One row of an interval plot."""

    label: Text
    value: float | None
    low: float | None = None
    high: float | None = None
    reference: float | None = None
    reference_low: float | None = None
    reference_high: float | None = None


@dataclass(frozen=True)
class IntervalPlot:
    """One dot (or bar from zero) and interval per row, with a reference dot beside it or a reference line."""

    rows: tuple[IntervalRow, ...]
    axis: Text
    kind: NumberKind = "decimal"
    name: Text = ""
    reference_name: Text | None = None
    line: float | None = None
    line_name: Text | None = None
    bars: bool = False


class Series(NamedTuple):
    """One line over layers, with its interval where there is one."""

    name: Text
    values: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class LayerPlot:
    """Lines over layers; `layers` are the tick labels."""

    layers: tuple[str, ...]
    series: tuple[Series, ...]
    axis: Text
    x_axis: Text
    kind: NumberKind = "decimal"


@dataclass(frozen=True)
class HeatPlot:
    """A grid of numbers [row, column]; None is left empty."""

    values: tuple[tuple[float | None, ...], ...]
    rows: Text
    columns: Text
    unit: Text


@dataclass(frozen=True)
class MatrixPlot:
    """Numbers [row, column] with a name at each row and column; None is a place that could not be.

    They have signs, unless `signed` says that they are shares of a whole. Without `numbers` cells are only coloured,
    which takes a page far fewer elements.
    """

    values: tuple[tuple[float | None, ...], ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row_axis: Text
    column_axis: Text
    unit: Text
    signed: bool = True
    numbers: bool = True


@dataclass(frozen=True)
class CurvePlot:
    """Lines over shares from 0 to 1, such as a share of removed words; a band where a series has an interval."""

    x: tuple[float, ...]
    series: tuple[Series, ...]
    axis: Text
    x_axis: Text
    kind: NumberKind = "decimal"


Plot = IntervalPlot | LayerPlot | HeatPlot | MatrixPlot | CurvePlot


@dataclass(frozen=True)
class Figure:
    """A drawing, what it shows in words, and the same numbers as a table, folded unless `table_open`."""

    plot: Plot
    alt: Text
    table: Table
    caption: Text | None = None
    table_open: bool = False


@dataclass(frozen=True)
class Note:
    """A remark set apart: for information, as a warning, or because something failed."""

    kind: Literal["note", "warning", "failure"]
    parts: tuple[Inline, ...]


@dataclass(frozen=True)
class Details:
    """Folded away on screen, flat in print and in text."""

    summary: Text
    children: tuple[Node, ...]


@dataclass(frozen=True)
class Item:
    """One entry of a long list.

    `facets` are what a reader can filter by; `key` is its address in the page.
    """

    key: str
    title: tuple[Inline, ...]
    children: tuple[Node, ...]
    facets: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """A long list. Text shows the first `text_limit` entries and says how many there are, static HTML the first `page`.

    Whoever lowers it to a page hands the other entries over as data.
    """

    name: str
    items: tuple[Item, ...]
    n_total: int
    text_limit: int = 10
    page: int = 25


@dataclass(frozen=True)
class Section:
    """`muted` marks a section whose content must not be relied on: the warning inside says why."""

    title: Text
    children: tuple[Node, ...]
    key: str = ""
    number: int | None = None
    muted: bool = False


Node = Section | Heading | Paragraph | Facts | Tiles | Table | Tokens | Figure | Note | Details | Listing | Badge
