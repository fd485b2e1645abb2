"""Drawings of signed scores over two axes, and of what happens when words are removed or put in one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from interpret.results.canvas import (
    GREY,
    PALETTE,
    WIDTH,
    Entry,
    Label,
    boxes,
    cut,
    draw_legend,
    finite,
    legend_rows,
    named,
    new_axes,
    set_ticks,
    side_label,
    text_width,
)
from interpret.results.messages import Words
from interpret.results.tree import CurvePlot, MatrixPlot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Names beside a matrix are cut to these widths in pixels, rows and columns.
_ROW_NAME, _COLUMN_NAME = 118.0, 92.0
_CELL: Final = 46.0
_LONG_NAME: Final = 190.0
#: Cells at least this wide and high say their number; smaller ones carry a plus or a minus.
_NUMBER_WIDTH, _NUMBER_HEIGHT = 38.0, 15.0
#: Below this the strongest score would have a single digit left.
_NUMBER_SCALE: Final = 0.1
#: In pixels; a shorter bar has no room for its three numbers.
_SHORTEST_SCALE: Final = 64.0
#: Share of the strongest score from which a cell carries its sign.
_MARKED: Final = 0.2
_DARKEST: Final = 0.82
#: Shades of each sign.
_SHADES: Final = 25


def matrix_figure(plot: MatrixPlot, say: Words, label: Label, ink: str) -> Figure:
    """Cells in blue (towards) and orange (against), each with its number or sign; no cell where nothing could be."""
    values = np.array([finite(row) for row in plot.values], dtype=np.float64).reshape(len(plot.rows), len(plot.columns))
    n_rows, n_columns = values.shape
    scale = float(np.nanmax(np.abs(values), initial=0.0)) if np.isfinite(values).any() else 0.0
    # Few columns leave room for longer names.
    free = min(_LONG_NAME, WIDTH - _CELL * n_columns - 180.0)
    rows = [cut(named(name, say), max(_ROW_NAME, free)) for name in plot.rows]
    columns = [cut(named(name, say), _COLUMN_NAME) for name in plot.columns]
    left = max(map(text_width, rows), default=0.0) + 34.0
    unit = named(plot.unit, say)
    room = 26.0 + max(text_width(unit), 48.0)
    width = min(_CELL, (WIDTH - left - room) / max(n_columns, 1))
    height = min(24.0, max(15.0, width))
    upright = all(text_width(name) <= width - 3.0 for name in columns)
    top = 34.0 + (14.0 if upright else max(map(text_width, columns), default=0.0))
    # Of few rows the scale is longer than the matrix.
    bottom = 14.0 + max(0.0, _SHORTEST_SCALE - height * n_rows)
    figure, axes = new_axes(height * n_rows + top + bottom, left, top, bottom, WIDTH - left - width * n_columns)
    axes.set_xlim(0, n_columns)
    axes.set_ylim(n_rows, 0)
    # Not axis("off"), which would hide the name of the rows' axis as well.
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    _cells(axes, values, scale, ink)
    if plot.numbers and width >= _NUMBER_WIDTH and height >= _NUMBER_HEIGHT and scale >= _NUMBER_SCALE:
        for (r, c), value in np.ndenumerate(values):
            if np.isfinite(value):
                shown = _signed(value, say) if plot.signed else _share(value, say)
                axes.text(c + 0.5, r + 0.5, label(shown), ha="center", va="center_baseline", fontsize=10)
    elif plot.signed:
        _signs(axes, values, scale, ink)
    for r, name in enumerate(rows):
        axes.text(-6.0 / width, r + 0.5, label(name), ha="right", va="center_baseline")
    for c, name in enumerate(columns):
        at = (c + 0.5, -7.0 / height)
        if upright:
            axes.text(*at, label(name), ha="center", va="baseline")
        else:
            axes.text(*at, label(name), ha="left", va="center_baseline", rotation=90, rotation_mode="anchor")
    figure_height = height * n_rows + top + bottom
    figure.text(left / WIDTH, 1 - 13.0 / figure_height, label(f"{named(plot.column_axis, say)} →"), fontsize=11)
    side_label(axes, label(f"← {named(plot.row_axis, say)}"), left, WIDTH - left - width * n_columns)
    ends = (_signed(-scale, say), "0", _signed(scale, say)) if plot.signed else ("0", "", _share(scale, say))
    _scale(figure, left + width * n_columns + 22.0, top, height * n_rows, unit, ends, label, ink)
    return figure


def _colour(share: float) -> tuple[str, float]:
    """Hue by the sign; see-through, so that one drawing serves light and dark pages."""
    return (PALETTE[0] if share >= 0 else PALETTE[1], round(_DARKEST * min(1.0, abs(share)), 3))


def _cells(axes: Any, values: npt.NDArray[np.float64], scale: float, ink: str) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import PathPatch

    # One path for each shade: a thousand rectangles would make a page of their own.
    shades: dict[float, list[tuple[float, float, float, float]]] = {}
    for (r, c), value in np.ndenumerate(values):
        share = round(_SHADES * value / scale) / _SHADES if scale and np.isfinite(value) else 0.0
        if share:
            shades.setdefault(share, []).append((c, r, c + 1, r + 1))
    for share, cells in sorted(shades.items()):
        axes.add_patch(PathPatch(boxes(cells), facecolor=to_rgba(*_colour(share)), linewidth=0, clip_on=False))
    readable = np.isfinite(values)
    # The frame of what could be: where there is none, nothing could.
    across = [((start, r), (end, r)) for r, start, end in _runs(_edges(readable, axis=0))]
    down = [((c, start), (c, end)) for c, start, end in _runs(_edges(readable, axis=1).T)]
    _lines(axes, across + down, ink, 0.7, 0.28)


def _edges(readable: npt.NDArray[np.bool_], axis: int) -> npt.NDArray[np.bool_]:
    """Borders of cells along one axis: [row + 1, column] or [row, column + 1]."""
    pad = [(0, 0), (0, 0)]
    pad[axis] = (1, 0)
    before = np.pad(readable, pad)
    pad[axis] = (0, 1)
    return before | np.pad(readable, pad)


def _runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Row, start and end of every stretch of True, so that a border is one line however long it is."""
    found = []
    for number, row in enumerate(flags):
        changes = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]))).tolist()
        found += [(number, start, end) for start, end in zip(changes[::2], changes[1::2], strict=True)]
    return found


def _signs(axes: Any, values: npt.NDArray[np.float64], scale: float, ink: str) -> None:
    """A plus or a minus in the middle of every cell that is not faint."""
    with np.errstate(invalid="ignore"):
        strong = np.argwhere(np.abs(values) >= max(_MARKED * scale, 1e-300)).tolist()
    bars = [((c + 0.3, r + 0.5), (c + 0.7, r + 0.5)) for r, c in strong]
    bars += [((c + 0.5, r + 0.3), (c + 0.5, r + 0.7)) for r, c in strong if values[r, c] > 0]
    _lines(axes, bars, ink, 1.1, 1.0)


def _lines(axes: Any, segments: Sequence[Any], ink: str, width: float, alpha: float) -> None:
    """Many segments as one path: one element instead of a thousand."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if not segments:
        return
    path = Path([point for segment in segments for point in segment], [Path.MOVETO, Path.LINETO] * len(segments))
    patch = PathPatch(path, fill=False, edgecolor=ink, linewidth=width, alpha=alpha, clip_on=False, capstyle="butt")
    axes.add_patch(patch)


def _signed(value: float, say: Words) -> str:
    """Two decimals with a sign; none from 100 on."""
    places = 2 if abs(value) < 99.995 else 0
    return say.number(round(value, places), "signed")[: -1 if places else -4]


def _share(value: float, say: Words) -> str:
    """Two decimals of a number from 0 to 1."""
    return say.number(round(value, 2), "decimal")[:-1] if round(value, 2) else "0"


def _scale(
    figure: Figure, left: float, top: float, room: float, unit: str, ends: Sequence[str], label: Label, ink: str
) -> None:
    """The bar that says how strong a colour is; `ends` stand at its foot, middle and head."""
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    total = figure.get_figheight() * 72.0
    height = min(110.0, max(room, _SHORTEST_SCALE))
    axes = figure.add_axes((left / WIDTH, max(0.0, 1 - (top + height) / total), 10.0 / WIDTH, min(1.0, height / total)))
    axes.set_xlim(0, 1)
    axes.set_ylim(-1, 1)
    axes.axis("off")
    n = 10
    for step in range(-n, n):
        share = (step + 0.5) / n
        # Without signs the whole bar is of one hue.
        share = share if ends[1] else (1 + share) / 2
        axes.add_patch(Rectangle((0, step / n), 1, 1 / n, facecolor=to_rgba(*_colour(share)), linewidth=0))
    frame = Rectangle((0, -1), 1, 2, fill=False, edgecolor=ink, linewidth=0.7, alpha=0.28, clip_on=False)
    axes.add_patch(frame)
    for at, shown in zip((-1, 0, 1), ends, strict=True):
        if shown:
            axes.text(1.6, at, label(shown), va="center_baseline", fontsize=10)
    axes.text(0, 1.0 + 24.0 / height, label(unit), fontsize=10)


def curve_figure(plot: CurvePlot, say: Words, label: Label) -> Figure:
    """Lines with their bands; those that have a band are the ones to compare with, and are thinner and grey."""
    looks: list[dict[str, Any]] = []
    for n, series in enumerate(plot.series):
        dash = ("-", (0, (5, 2)))[n % 2]
        color = GREY if series.low else PALETTE[n % 2]
        looks.append({"color": color, "linestyle": dash, "linewidth": 1.4 if series.low else 2.2})
        if not series.low:
            looks[-1] |= {"marker": ("o", "s")[n % 2], "markersize": 4.5}
    legend = legend_rows([Entry(named(s.name, say), look) for s, look in zip(plot.series, looks, strict=True)])
    top = 14.0 + 18.0 * len(legend)
    figure, axes = new_axes(230.0 + top, 58.0, top, 40.0)
    x = finite(plot.x)
    every = max(1, len(x) // 12)
    for series, look in zip(plot.series, looks, strict=True):
        axes.plot(x, finite(series.values), markevery=every, **look)
        if series.low and series.high:
            axes.fill_between(x, finite(series.low), finite(series.high), color=look["color"], alpha=0.14, linewidth=0)
    draw_legend(figure, legend, 58.0, label)
    axes.set_xlim(-0.01, 1.01)
    axes.margins(y=0.06)
    set_ticks(axes.xaxis, "percent", label)
    set_ticks(axes.yaxis, plot.kind, label)
    axes.set_xlabel(label(named(plot.x_axis, say)), labelpad=5.0)
    side_label(axes, label(named(plot.axis, say)), 58.0)
    return figure
