"""Drawings: the same bytes, nothing a strict policy blocks, ids of their own, labels of any script."""

from __future__ import annotations

import time
import warnings
import xml.etree.ElementTree as ET

import matplotlib
import pytest

from interpret.results import svg
from interpret.results.messages import words
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
