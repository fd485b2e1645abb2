"""Plots -> SVG text: the same bytes for the same numbers, no style element or attribute, no network, no font.

A strict content security policy blocks every `style`, so what matplotlib writes there becomes presentation
attributes. Text stays text: the page chooses the font, Chinese included, and axes take the colour of the
text around them, so one drawing serves light and dark pages. Labels are drawn as stand-ins and put in
afterwards, because matplotlib would otherwise read `$` as mathematics and warn about glyphs its own font
does not have.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from interpret.results.canvas import (
    GREY,
    INK,
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
from interpret.results.messages import Words, visible, words
from interpret.results.signed_plots import curve_figure, matrix_figure
from interpret.results.svg_tree import cleaned
from interpret.results.tree import CurvePlot, HeatPlot, IntervalPlot, LayerPlot, MatrixPlot, NumberKind, Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from interpret.results.probe_comparison import ProbeComparison
    from interpret.results.probes import ProbeResult

#: Lines that only compare: one value across all layers.
_REFERENCES: tuple[dict[str, Any], ...] = (
    {"color": GREY, "linestyle": (0, (1, 1.2))},
    {"color": "#9a7b00", "linestyle": (0, (4, 2))},
    {"color": "#7a70c8", "linestyle": (0, (6, 2, 1, 2))},
    {"color": GREY, "linestyle": "-"},
)
#: Shades of a grid of numbers without signs: each band of its scale is one of them.
_HEAT_SHADES = 12
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (1, 1)))
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "interpret-lm",
    "font.size": 11.0,
    "font.family": ["DejaVu Sans"],
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.labelsize": 11.0,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0.0,
    "xtick.major.pad": 6.0,
    "ytick.major.size": 0.0,
    "ytick.major.pad": 6.0,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
}


def draw(plot: Plot, say: Words, *, prefix: str, alt: str) -> str:
    """The plot as one `<svg>` element; every id starts with `prefix`, `alt` is its text alternative."""
    held: list[str] = []

    def hold(text: str) -> str:
        held.append(text)
        return f"@{len(held) - 1}@"

    with _style():
        figure = _figure(plot, say, hold)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    return cleaned(out.getvalue(), held, prefix, alt)


def probe_figure(result: ProbeResult | ProbeComparison) -> Figure:
    """A matplotlib figure of accuracy, control and selectivity over layers, or of two models' accuracy."""
    from interpret.results.probe_comparison import ProbeComparison
    from interpret.results.probe_comparison_views import comparison_plot
    from interpret.results.probe_views import probe_plot

    plot = comparison_plot(result) if isinstance(result, ProbeComparison) else probe_plot(result)
    if plot is None:
        raise ValueError("this probe result holds no value over layers to draw")
    return layer_figure(plot)


def layer_figure(plot: LayerPlot) -> Figure:
    """A matplotlib figure of curves over layers, in English."""
    return plot_figure(plot)


def plot_figure(plot: Plot) -> Figure:
    """A matplotlib figure of any drawing, in English."""
    with _style(ink="black"):
        return _figure(plot, words("en"), lambda text: text.replace("$", r"\$"), ink="black")


def _style(ink: str = INK) -> AbstractContextManager[None]:
    """Our own settings on top of matplotlib's defaults: the user's style sheets must not change a report."""
    import matplotlib

    outside = (
        "backend",
        "interactive",
        "toolbar",
        "webagg",
        "docstring",
        "tk.",
        "macosx",
        "date.epoch",
        "savefig.directory",
    )
    defaults = {key: value for key, value in dict.items(matplotlib.rcParamsDefault) if not key.startswith(outside)}
    ours: dict[Any, Any] = {
        key: ink if isinstance(value, str) and value == INK else value for key, value in _RC.items()
    }
    return matplotlib.rc_context({**defaults, **ours})


def _figure(plot: Plot, say: Words, label: Label, ink: str = INK) -> Figure:
    if isinstance(plot, IntervalPlot):
        return _intervals(plot, say, label, ink)
    if isinstance(plot, LayerPlot):
        return _layers(plot, say, label)
    if isinstance(plot, MatrixPlot):
        return matrix_figure(plot, say, label, ink)
    if isinstance(plot, CurvePlot):
        return curve_figure(plot, say, label)
    return _heat(plot, say, label)


def _column(plot: IntervalPlot, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return finite([getattr(row, name) for row in plot.rows])


def _intervals(plot: IntervalPlot, say: Words, label: Label, ink: str) -> Figure:
    names = [cut(named(row.label, say), 250.0) for row in plot.rows]
    left = min(266.0, max(60.0, max((text_width(n) for n in names), default=0.0) + 16.0))
    two = plot.reference_name is not None
    dashed = {"color": GREY, "linewidth": 1.4, "linestyle": (0, (4, 2))}
    entries = []
    if plot.reference_name is not None or (plot.line_name is not None and not plot.bars):
        entries.append(Entry(named(plot.name, say), {"color": PALETTE[0], "marker": "o", "linewidth": 2.0}))
    if plot.reference_name is not None:
        entries.append(Entry(named(plot.reference_name, say), {"color": GREY, "marker": "s", "linewidth": 2.0}))
    if plot.line is not None and plot.line_name is not None:
        entries.append(Entry(named(plot.line_name, say), dashed))
    legend = legend_rows(entries)
    top = 8.0 + 18.0 * len(legend)
    figure, axes = new_axes(24.0 * len(names) + 44.0 + top, left, top, 40.0)
    y = np.arange(len(names), dtype=np.float64)
    value, low, high = (_column(plot, name) for name in ("value", "low", "high"))
    shift = 0.16 if two else 0.0
    if plot.bars:
        _bars(axes, np.nan_to_num(value))
        axes.axvline(0.0, color=ink, linewidth=0.8)
    else:
        axes.plot(value, y - shift, "o", color=PALETTE[0], markersize=6.5)
    axes.hlines(y - shift, low, high, color=ink if plot.bars else PALETTE[0], linewidth=1.2 if plot.bars else 2.0)
    if two:
        names_of = ("reference", "reference_low", "reference_high")
        reference, r_low, r_high = (_column(plot, name) for name in names_of)
        axes.hlines(y + shift, r_low, r_high, color=GREY, linewidth=2.0)
        axes.plot(reference, y + shift, "s", color=GREY, markersize=5.5)
    if plot.line is not None:
        axes.axvline(plot.line, **dashed)
    draw_legend(figure, legend, left, label)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(y, [label(n) for n in names])
    axes.grid(visible=False, axis="y")
    _pad(axes, plot.kind)
    set_ticks(axes.xaxis, plot.kind, label)
    axes.set_xlabel(label(named(plot.axis, say)), labelpad=5.0)
    return figure


def _bars(axes: Any, value: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    """Bars from zero, those of one colour as one path."""
    from matplotlib.patches import PathPatch

    for colour, chosen in ((PALETTE[0], value >= 0), (PALETTE[1], value < 0)):
        corners = [(0.0, n - 0.31, float(value[n]), n + 0.31) for n in np.flatnonzero(chosen).tolist()]
        if corners:
            axes.add_patch(PathPatch(boxes(corners), facecolor=colour, alpha=0.55, linewidth=0))


def _pad(axes: Any, kind: NumberKind) -> None:
    """A little room at both ends, but never beyond what a share can be."""
    axes.margins(x=0.06)
    axes.autoscale_view(scaley=False)
    low, high = axes.get_xlim()
    if kind == "percent":
        low, high = max(low, -1.0), min(high, 1.005)
    axes.set_xlim(low, high if high > low else low + 1.0)


def _looks(plot: LayerPlot) -> list[dict[str, Any]]:
    """Colour, mark and dash of each line: no two alike, and those that only compare are thinner and unmarked."""
    looks: list[dict[str, Any]] = []
    n_curves = n_flat = 0
    for series in plot.series:
        if not series.low and len(set(series.values)) == 1:
            looks.append({**_REFERENCES[n_flat % len(_REFERENCES)], "linewidth": 1.4})
            n_flat += 1
            continue
        places = (PALETTE, _MARKERS, _DASHES)
        color, marker, dash = (choices[n_curves % len(choices)] for choices in places)
        looks.append({"color": color, "marker": marker, "linestyle": dash})
        n_curves += 1
    return looks


def _layers(plot: LayerPlot, say: Words, label: Label) -> Figure:
    looks = _looks(plot)
    legend = legend_rows([Entry(named(s.name, say), look) for s, look in zip(plot.series, looks, strict=True)])
    top = 14.0 + 18.0 * len(legend)
    figure, axes = new_axes(250.0 + top, 58.0, top, 40.0)
    x = np.arange(len(plot.layers), dtype=np.float64)
    for series, look in zip(plot.series, looks, strict=True):
        axes.plot(x, finite(series.values), **look)
        if series.low and series.high:
            low, high = finite(series.low), finite(series.high)
            axes.fill_between(x, low, high, color=look["color"], alpha=0.12, linewidth=0)
    draw_legend(figure, legend, 58.0, label)
    step = max(1, -(-len(x) // 16))
    axes.set_xticks(x[::step], [label(visible(name)) for name in plot.layers[::step]])
    axes.margins(x=0.03, y=0.08)
    set_ticks(axes.yaxis, plot.kind, label)
    axes.set_xlabel(label(named(plot.x_axis, say)), labelpad=5.0)
    side_label(axes, label(named(plot.axis, say)), 58.0)
    return figure


def _heat(plot: HeatPlot, say: Words, label: Label) -> Figure:
    values = np.array([[np.nan if v is None else v for v in row] for row in plot.values], dtype=np.float64)
    n_rows, n_columns = values.shape
    cell = min(34.0, 420.0 / max(n_columns, 1), 560.0 / max(n_rows, 1))
    right = WIDTH - 58.0 - cell * n_columns
    figure, axes = new_axes(cell * n_rows + 50.0, 58.0, 8.0, 42.0, right)
    axes.set_xlim(0, n_columns)
    axes.set_ylim(n_rows, 0)
    low, high = (float(np.nanmin(values)), float(np.nanmax(values))) if np.isfinite(values).any() else (0.0, 1.0)
    top = high if high > low else low + 1.0
    shades: dict[int, list[tuple[float, float, float, float]]] = {}
    for (r, c), value in np.ndenumerate(values):
        if np.isfinite(value):
            shade = min(_HEAT_SHADES - 1, int(_HEAT_SHADES * (value - low) / (top - low)))
            shades.setdefault(shade, []).append((c, r, c + 1, r + 1))
    for shade, cells in sorted(shades.items()):
        _shaded(axes, cells, shade)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(length=0)
    for axis, n in ((axes.xaxis, n_columns), (axes.yaxis, n_rows)):
        step = max(1, -(-n // 16))
        axis.set_ticks(np.arange(0, n, step) + 0.5, [label(str(i)) for i in range(0, n, step)])
    axes.set_xlabel(label(named(plot.columns, say)), labelpad=4.0)
    side_label(axes, label(named(plot.rows, say)), 58.0, right)
    bar_left = (58.0 + cell * n_columns + 20.0) / WIDTH
    box = axes.get_position()
    scale = figure.add_axes((bar_left, box.y0, 10.0 / WIDTH, box.height))
    scale.set_xlim(0, 1)
    scale.set_ylim(low, top)
    edges = np.linspace(low, top, _HEAT_SHADES + 1).tolist()
    for shade in range(_HEAT_SHADES if high > low else 1):
        _shaded(scale, [(0, edges[shade], 1, edges[shade + 1] if high > low else top)], shade)
    scale.set_xticks([])
    scale.yaxis.tick_right()
    scale.grid(visible=False)
    scale.spines["bottom"].set_visible(False)
    set_ticks(scale.yaxis, "decimal", label)
    scale.yaxis.set_label_position("right")
    scale.set_ylabel(label(named(plot.unit, say)), labelpad=6.0)
    return figure


def _shaded(axes: Any, cells: Sequence[tuple[float, float, float, float]], shade: int) -> None:
    """Cells of one shade as one path, with an edge of the same colour so that no seam shows between them."""
    from matplotlib import colormaps
    from matplotlib.patches import PathPatch

    colour = colormaps["cividis"](shade / (_HEAT_SHADES - 1))
    axes.add_patch(PathPatch(boxes(cells), facecolor=colour, edgecolor=colour, linewidth=0.6))
