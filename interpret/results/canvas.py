"""What every drawing is made with: a page of one width, its inks, names that are cut to fit, legends and ticks.

Widths of text are estimated, because labels are drawn as stand-ins whose own width says nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from interpret.results.messages import Words, capital
from interpret.results.record import Message
from interpret.results.tree import NumberKind, Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.path import Path

WIDTH = 580.0
POINT = 72.0
#: Stands for the colour of the surrounding text; matplotlib has no word for it.
INK = "#010203"
#: Okabe and Ito's palette where it holds a contrast of 3 on white and on near-black alike.
PALETTE = ("#2f7fc1", "#d55e00", "#00936b", "#b0609a")
GREY = "#7d8590"

#: Turns a text into what is drawn in its place.
Label = Callable[[str], str]


def named(text: Text, say: Words) -> str:
    """Words of ours with a capital, data as it is."""
    shown = say.text(text)
    return capital(shown) if isinstance(text, Message) else shown


def text_width(text: str) -> float:
    """Rough width in pixels of 11-pixel text: a full-width character is one em."""
    return sum(11.0 if unicodedata.east_asian_width(c) in "WF" else 6.3 for c in text)


def cut(text: str, limit: float) -> str:
    """The text, with an ellipsis where it would be wider than `limit` pixels."""
    if text_width(text) <= limit:
        return text
    while text and text_width(text) > limit - 8:
        text = text[:-1]
    return text + "…"


def new_axes(height: float, left: float, top: float, bottom: float, right: float = 18.0) -> tuple[Figure, Any]:
    """A figure of this height in pixels, and axes inside these margins."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / POINT, height / POINT), dpi=POINT)
    box = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - top - bottom) / height)
    return figure, figure.add_axes(box)


class Entry(NamedTuple):
    """One name of the legend and how its mark is drawn."""

    name: str
    look: dict[str, Any]


def legend_rows(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entries in rows that fit: matplotlib's own legend would measure the stand-ins."""
    rows: list[list[Entry]] = []
    x = WIDTH
    for entry in entries:
        x += text_width(entry.name) + 46.0
        if x > WIDTH - 20.0:
            rows.append([])
            x = 14.0 + text_width(entry.name) + 46.0
        rows[-1].append(entry)
    return rows


def draw_legend(figure: Figure, rows: Sequence[Sequence[Entry]], left: float, label: Label) -> None:
    """Draw the rows from the top of the figure down."""
    from matplotlib.lines import Line2D

    height = figure.get_figheight() * POINT
    for n, row in enumerate(rows):
        x, y = left, 1.0 - (11.0 + 18.0 * n) / height
        for entry in row:
            ends = [x / WIDTH, (x + 12.0) / WIDTH, (x + 24.0) / WIDTH]
            figure.add_artist(Line2D(ends, [y, y, y], markevery=[1], transform=figure.transFigure, **entry.look))
            figure.text((x + 30.0) / WIDTH, y, label(entry.name), va="center_baseline")
            x += text_width(entry.name) + 46.0


def boxes(corners: Sequence[tuple[float, float, float, float]]) -> Path:
    """Many boxes (left, top, right, bottom) as one path: one element of the page instead of a thousand."""
    from matplotlib.path import Path

    points = [p for x0, y0, x1, y1 in corners for p in ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))]
    return Path(points, [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(corners))


def side_label(axes: Any, text: str, left: float, right: float = 18.0) -> None:
    """The name of the vertical axis at the edge of the page, where no width of stand-ins can push it out."""
    axes.set_ylabel(text)
    axes.yaxis.set_label_coords((13.0 - left) / (WIDTH - left - right), 0.5)


def set_ticks(axis: Any, kind: NumberKind, label: Label) -> None:
    """Ticks at round places, written as the numbers in the tables are, through the stand-ins."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    low, high = axis.get_view_interval()
    scale = 100.0 if kind in ("percent", "points") else 1.0
    places = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(low * scale, high * scale)
    step = float(places[1] - places[0]) if len(places) > 1 else 1.0
    digits = next((d for d in range(4) if abs(round(step, d) - step) < 1e-9), 4)
    axis.set_major_locator(FixedLocator([p / scale for p in places if low * scale - 1e-9 <= p <= high * scale + 1e-9]))

    def shown(value: float, _: object = None) -> str:
        text = f"{value * scale:.{digits}f}".replace("-", "−")
        return label(text + ("%" if kind == "percent" else ""))

    axis.set_major_formatter(FuncFormatter(shown))


def finite(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The numbers as an array; NaN where there is none."""
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
