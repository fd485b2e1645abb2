"""Drawings: the same bytes, nothing a strict policy blocks, ids of their own, labels of any script."""

from __future__ import annotations

import re
import time
import warnings
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest

from interpret.results import svg
from interpret.results.messages import words
from interpret.results.svg_tree import cleaned
from interpret.results.tree import HeatPlot, IntervalPlot, IntervalRow, LayerPlot, Plot, Series
from tests.reports import sample

NASTY = "$x^2$ <b>&\"' 好评 🙂 @0@ {n}"
PLOTS: dict[str, Plot] = {
    "intervals": IntervalPlot(
        (IntervalRow(NASTY, 0.8, 0.7, 0.9), IntervalRow("none", None)),
        "axis",
        "percent",
        "value",
        line=0.5,
        line_name="at",
    ),
    "reference": IntervalPlot(
        (IntervalRow("a", 0.2, 0.1, 0.3, 0.1, 0.0, 0.2),), "轴", name="x", reference_name="random"
    ),
    "bars": IntervalPlot((IntervalRow("词", 1.5, 1.0, 2.0), IntervalRow("b", -0.4, -0.9, 0.1)), "logits", bars=True),
    "layers": LayerPlot(
        ("embed", "0", "1"),
        (Series("准确率", (0.5, 0.6, None), (0.4, 0.5, None), (0.6, 0.7, None)), Series("flat", (0.4, 0.4, 0.4))),
        "share",
        "layer",
        "percent",
    ),
    "heat": HeatPlot(((0.1, None), (0.4, 2.0)), "layer", "head", "nats"),
    "flat_heat": HeatPlot(((1.0, 1.0),), "layer", "head", "nats"),
    "empty_heat": HeatPlot(((None,),), "layer", "head", "nats"),
    "one_value": IntervalPlot((IntervalRow("a", 0.5),), "axis"),
}


def drawn(plot: Plot, prefix: str = "f-") -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return svg.draw(plot, words("en"), prefix=prefix, alt=f"alt {NASTY}")


@pytest.mark.parametrize("name", PLOTS)
def test_a_drawing_is_strict_and_repeatable(name: str) -> None:
    made = drawn(PLOTS[name])
    assert made == drawn(PLOTS[name])
    root = ET.fromstring(made)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == f"alt {NASTY}"
    for element in root.iter():
        assert "style" not in element.attrib
        assert element.tag.rsplit("}")[-1] not in ("style", "metadata", "script", "image")
        for key, value in element.attrib.items():
            assert "http" not in value or key.startswith("{")
            assert svg.INK not in value
            if key == "id":
                assert value.startswith("f-")
            if key == "href":
                assert value.startswith("#f-")
    targets = {e.attrib["id"] for e in root.iter() if "id" in e.attrib}
    used = {e.attrib["href"][1:] for e in root.iter() if "href" in e.attrib}
    used |= {e.attrib["clip-path"][5:-1] for e in root.iter() if "clip-path" in e.attrib}
    assert used == targets


def test_labels_stay_text_whatever_they_hold() -> None:
    root = ET.fromstring(drawn(PLOTS["intervals"]))
    shown = [e.text for e in root.iter() if e.tag.endswith("text")]
    assert NASTY in shown
    assert "80%" in shown


def test_axes_take_the_colour_of_the_text_around_them() -> None:
    made = drawn(PLOTS["layers"])
    assert "currentColor" in made
    assert "#000000" not in made
    assert "white" not in made


def test_the_users_own_settings_change_nothing() -> None:
    before = drawn(PLOTS["layers"])
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "lines.linewidth": 9, "svg.fonttype": "path"}):
        assert drawn(PLOTS["layers"]) == before


def test_drawing_leaves_the_users_settings() -> None:
    with matplotlib.rc_context({"font.size": 17.0}):
        drawn(PLOTS["bars"])
        assert matplotlib.rcParams["font.size"] == 17.0


def test_probe_results_plot_as_a_matplotlib_figure() -> None:
    from matplotlib.figure import Figure

    figure = sample.probes().plot()
    assert isinstance(figure, Figure)
    assert len(figure.axes[0].lines) >= 4
    assert figure.axes[0].get_xlabel() == "Layer (resid_post)"


def test_drawing_is_fast_and_small() -> None:
    big = HeatPlot(tuple(tuple(float(i + j) for j in range(32)) for i in range(32)), "layer", "head", "nats")
    drawn(big)
    start = time.perf_counter()
    made = drawn(big)
    assert time.perf_counter() - start < 5.0
    assert len(made) < 200_000


def paths_of(made: str) -> list[dict[str, str]]:
    return [e.attrib for e in ET.fromstring(made).iter() if e.tag.endswith("path")]


def pieces(path: str) -> list[np.ndarray]:
    """Points [point, 2] of every closed piece of a path."""
    found = [re.findall(r"-?[\d.]+", piece) for piece in path.split("M") if piece.strip()]
    return [np.array(numbers, dtype=float).reshape(-1, 2) for numbers in found]


def middle(points: np.ndarray) -> np.ndarray:
    """The middle of the box around the points."""
    return (points.min(axis=0) + points.max(axis=0)) / 2


def test_cells_of_a_grid_have_the_colour_of_their_number_in_a_path_for_each_shade() -> None:
    values = np.random.default_rng(0).normal(size=(6, 12))
    made = drawn(HeatPlot(tuple(map(tuple, values.tolist())), "layer", "head", "nats"))
    filled = [p for p in paths_of(made) if p.get("fill", "none") != "none"]
    assert len(filled) <= 24, "twelve shades, and the twelve of the scale"
    found: dict[tuple[int, int], str] = {}
    cells = [(p["fill"], piece) for p in filled for piece in pieces(p["d"])]
    edge = min(piece[:, 0].max() for _, piece in cells if np.ptp(piece[:, 0]) > 15)
    left, top = min(p[:, 0].min() for _, p in cells), min(p[:, 1].min() for _, p in cells)
    size = edge - left
    for colour, piece in cells:
        if np.ptp(piece[:, 0]) < 15:
            continue  # of the scale
        x, y = middle(piece)
        found[int((y - top) // size), int((x - left) // size)] = colour
    assert len(found) == values.size
    share = (values - values.min()) / np.ptp(values)
    for at, colour in found.items():
        meant = matplotlib.colormaps["cividis"](min(11, np.floor(share[at] * 12)) / 11)
        assert colour == matplotlib.colors.to_hex(meant)


def test_marks_that_look_alike_are_one_path_and_stand_on_their_line() -> None:
    values = (0.5, 0.61, 0.32, 0.95, 0.78)
    made = drawn(LayerPlot(tuple("01234"), (Series("a", values), Series("b", values[::-1])), "share", "layer"))
    assert "<use" not in made
    assert "<defs" not in made
    for colour in svg.PALETTE[:2]:
        (marks,) = [p for p in paths_of(made) if p.get("fill") == colour]
        (line,) = [p for p in paths_of(made) if p.get("stroke") == colour and p["fill"] == "none"]
        at = [middle(piece) for piece in pieces(marks["d"])]
        # The last one stands in the legend, on a line of three points.
        meant = [*pieces(line["d"])[0], pieces(line["d"])[1][1]]
        np.testing.assert_allclose(at, meant, atol=0.15)


def test_marks_that_let_the_ground_through_stay_apart() -> None:
    raw = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">'
        '<defs><path id="m" d="M 0 1 L 1 0 L -1 0 z" style="stroke: #ff0000"/></defs>'
        '<use xlink:href="#m" x="2" y="3" style="fill-opacity: 0.5"/>'
        '<use xlink:href="#m" x="2.5" y="3" style="fill-opacity: 0.5"/></svg>'
    )
    found = [(p["d"], p["stroke"]) for p in paths_of(cleaned(raw, [], "f-", "alt"))]
    assert found == [("M 2 4 L 3 3 L 1 3 z", "#ff0000"), ("M 2.5 4 L 3.5 3 L 1.5 3 z", "#ff0000")]


def test_bars_of_one_colour_are_one_path_and_as_long_as_their_numbers() -> None:
    values = [1.5, -0.4, 0.9, 0.2, -1.1]
    made = drawn(IntervalPlot(tuple(IntervalRow(f"w{v}", v) for v in values), "logits", bars=True))
    widths = {}
    for colour, sign in zip(svg.PALETTE[:2], (1, -1), strict=True):
        (bars,) = [p for p in paths_of(made) if p.get("fill") == colour]
        for piece in pieces(bars["d"]):
            widths[piece[:, 1].min()] = sign * np.ptp(piece[:, 0])
    found = np.array([width for _, width in sorted(widths.items())])
    np.testing.assert_allclose(found / found[0], np.array(values) / values[0], atol=0.002)
