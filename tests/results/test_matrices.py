"""Scores over outputs and inputs, words as bars, curves: the numbers are kept, nothing in a token is executed."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import auc

from interpret.errors import UsageError
from interpret.results import svg
from interpret.results.explanations import Attribution, ExampleAttribution, TargetRecord
from interpret.results.lower import Html, text
from interpret.results.matrices import AttributionMatrix
from interpret.results.matrix_views import MAX_INPUTS, MAX_OUTPUTS, curves_figure, matrix_figure
from interpret.results.messages import LOCALES, words
from interpret.results.tree import Figure, MatrixPlot, Number
from interpret.results.views import MAX_HTML, strongest_words, to_html, to_text
from tests.reports import sample
from tests.results.test_views import parsed

HOSTILE = ("</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"'>&", "\u202e$x$", "@0@", "好 <s>")


def matrix(n_outputs: int = 3, n_inputs: int = 5, names: tuple[str, ...] | None = None) -> AttributionMatrix:
    rng = np.random.default_rng(0)
    read = np.tri(n_outputs, n_inputs, n_inputs - n_outputs, dtype=bool)
    return AttributionMatrix(
        scores=np.where(read, rng.normal(size=read.shape), 0.0),
        read=read,
        outputs=(names or tuple(f"out{i}" for i in range(n_outputs)))[:n_outputs],
        inputs=(names or tuple(f"in{i}" for i in range(n_inputs)))[:n_inputs],
        method="integrated_gradients",
    )


def drawn(figure: Figure) -> ET.Element:
    return ET.fromstring(svg.draw(figure.plot, words("en"), prefix="f-", alt="alt"))


def texts_of(root: ET.Element) -> list[str]:
    return [e.text or "" for e in root.iter() if e.tag.endswith("text")]


def example(scores: list[float], text_: str = "", **changes: Any) -> ExampleAttribution:
    tokens = tuple("abcdefghijklmnop"[: len(scores)])
    n = len(tokens)
    plain = Attribution.from_scores([" ".join(tokens)], [tokens], [scores])[0]
    assert len(plain.words()) == n
    return replace(plain, method="shap", **changes)


# --- the record ---


def test_a_matrix_is_checked() -> None:
    good = matrix()
    for changes, said in (
        ({"scores": good.scores[:2]}, r"scores has shape \(2, 5\), expected \(3, 5\)"),
        ({"read": good.read.T}, r"read has shape \(5, 3\)"),
        ({"scores": np.where(good.read, good.scores, np.nan)}, "NaN"),
        ({"scores": good.scores + 1.0}, "not 0 where read is False"),
    ):
        with pytest.raises(ValueError, match=said):
            replace(good, **changes)


def test_a_matrix_as_a_table_and_on_disk(tmp_path: Path) -> None:
    record = matrix()
    frame = record.to_frame()
    assert list(frame) == ["output", "output_token", "input", "input_token", "score"]
    assert len(frame) == record.read.sum()
    rebuilt = np.zeros(record.scores.shape)
    rebuilt[frame["output"], frame["input"]] = frame["score"]
    np.testing.assert_array_equal(rebuilt, record.scores)
    assert frame["input_token"].tolist() == [record.inputs[i] for i in frame["input"]]
    record.save(tmp_path)
    again = AttributionMatrix.load(tmp_path)
    assert again.to_dict() == record.to_dict()
    assert json.dumps(record.to_dict(), allow_nan=False)


def test_explanations_of_a_growing_text_become_a_matrix() -> None:
    rows = [
        example([1.0, -2.0], target=TargetRecord(kind="next_token", index=7, label=" c")),
        example([0.5, 0.25, 3.0], target=TargetRecord(kind="next_token", index=9)),
        example([0.0, 4.0], target=TargetRecord(kind="contrast", label="x", foil_label="y", index=1, foil_index=2)),
    ]
    found = AttributionMatrix.from_attributions(rows)
    assert found.inputs == ("a", "b", "c")
    assert found.outputs == (" c", "9", "x − y")
    assert found.scores.tolist() == [[1.0, -2.0, 0.0], [0.5, 0.25, 3.0], [0.0, 4.0, 0.0]]
    assert found.read.tolist() == [[True, True, False], [True, True, True], [True, True, False]]
    assert found.method == "shap"


def test_explanations_that_do_not_belong_together_are_refused() -> None:
    first = example([1.0, 2.0])
    other = replace(Attribution.from_scores(["x y z"], [["x", "y", "z"]], [[1.0, 2.0, 3.0]])[0], method="shap")
    for rows, said in (
        ([], "none was given"),
        ([first, replace(first, method="rollout")], "one method, and the attributions have rollout, shap"),
        ([first, other], r"attribution 0 \('a b'\) do not begin those of the longest"),
    ):
        with pytest.raises(UsageError, match=said):
            AttributionMatrix.from_attributions(rows)


# --- the drawing ---


def test_each_cell_says_its_number_and_what_could_not_be_has_none() -> None:
    record = matrix()
    figure = matrix_figure(record)
    shown = texts_of(drawn(figure))
    numbers = [t.replace("−", "-") for t in shown if re.fullmatch(r"[+−]?\d\.\d\d", t)]
    # Two more stand at the scale.
    assert sorted(map(float, numbers[: record.read.sum()])) == pytest.approx(
        sorted(record.scores[record.read].tolist()), abs=0.005001
    )
    assert len(numbers) == record.read.sum() + 2
    assert {*record.inputs, *record.outputs} <= set(shown)


def test_numbers_in_cells_are_rounded() -> None:
    record = replace(matrix(1, 5), scores=np.array([[1.119, -0.004, 99.999, -123.6, 0.0]]), read=np.ones((1, 5), bool))
    shown = texts_of(drawn(matrix_figure(record)))
    assert [t for t in shown if re.fullmatch(r"[+−]?\d+(\.\d+)?", t)][:5] == ["+1.12", "0.00", "+100", "−124", "0.00"]
    faint = replace(record, scores=record.scores / 10_000)
    assert "+0.00" not in texts_of(drawn(matrix_figure(faint)))


def test_small_cells_carry_a_sign_beside_the_colour() -> None:
    """Blue and orange tell signs apart for some readers only; a plus is two strokes and a minus is one."""
    values = ((1.0, -1.0, 0.05, None) * 8,)
    names = tuple(f"w{i}" for i in range(32))
    plot = MatrixPlot(values, ("o",), names, "output", "input", "logits")
    root = ET.fromstring(svg.draw(plot, words("en"), prefix="f-", alt="a"))
    paths = [e for e in root.iter() if e.tag.endswith("path")]
    strokes = [e for e in paths if e.attrib.get("stroke") == "currentColor" and "1.1" in e.attrib["stroke-width"]]
    assert len(strokes) == 1
    assert strokes[0].attrib["d"].count("M") == 8 * 2 + 8 * 1
    filled = {e.attrib.get("fill") for e in paths} - {"none", None}
    assert filled == {svg.PALETTE[0], svg.PALETTE[1]}


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (30, 40), (80, 200)])
def test_a_matrix_of_any_size_stays_small_and_says_what_it_leaves_out(shape: tuple[int, int]) -> None:
    record = matrix(*shape)
    html = to_html(record, prefix="m-")
    assert len(html.encode()) <= MAX_HTML
    assert html == to_html(record, prefix="m-")
    cut = "of 80 outputs and the 40 of 200 inputs" in html
    assert cut == (shape == (80, 200))
    plot = matrix_figure(record).plot
    assert isinstance(plot, MatrixPlot)
    assert len(plot.rows) <= MAX_OUTPUTS
    assert len(plot.columns) <= MAX_INPUTS


def test_the_inputs_that_are_left_out_are_the_weakest() -> None:
    record = matrix(2, 60)
    scores = np.full((2, 60), 0.01)
    strong = [3, 50, 59]
    scores[:, strong] = [[5.0, -4.0, 3.0]] * 2
    plot = matrix_figure(replace(record, scores=scores, read=np.ones((2, 60), dtype=bool))).plot
    assert isinstance(plot, MatrixPlot)
    assert [name for name in plot.columns if int(name[2:]) in strong] == ["in3", "in50", "in59"]


def test_the_table_beside_it_holds_the_same_numbers() -> None:
    record = matrix()
    table = matrix_figure(record).table
    assert [column.title for column in table.columns[1:]] == list(record.inputs)
    for row, scores, read in zip(table.rows, record.scores, record.read, strict=True):
        for cell, score, could in zip(row[1:], scores, read, strict=True):
            assert cell == (Number(float(score), "signed") if could else "–")
    wide = matrix(20, 40)
    listed = matrix_figure(wide).table
    shown = [cell.value for *_, cell in listed.rows if isinstance(cell, Number)]
    assert shown == sorted(wide.scores[wide.read].tolist(), key=abs, reverse=True)[:60]
    assert listed.n_total == wide.read.sum()


def test_a_matrix_of_zeros_and_one_that_reads_nothing_are_drawn() -> None:
    record = matrix()
    nothing = np.zeros((3, 5))
    for changes in ({"scores": nothing}, {"scores": nothing, "read": nothing.astype(bool)}):
        assert "<svg" in to_html(replace(record, **changes))


def test_unmeasured_and_failed_quality_is_said() -> None:
    record = matrix()
    assert "quality not measured" in to_text(record)
    assert "质量未测量" in to_text(record, locale="zh")
    failed = replace(record, quality=sample.faithfulness(verdict="not_better"))
    assert "Do not draw conclusions" in to_text(failed)


# --- words as bars ---


def test_the_strongest_words_from_most_towards_to_most_against() -> None:
    found = Attribution.from_scores(["a b a c d"], [["a", "b", "a", "c", "d"]], [[0.5, -3.0, 1.0, 0.0, 0.1]])[0]
    (figure,) = strongest_words(found, limit=3)
    assert [(row[0], row[1].value, row[2].value) for row in figure.table.rows] == [  # type: ignore[union-attr]
        ("a", 3.0, 1.0), ("a", 1.0, 0.5), ("b", 2.0, -3.0),
    ]  # fmt: skip
    assert figure.table.n_total == 4
    assert ["a (3)", "a (1)", "b"] == [t for t in texts_of(drawn(figure)) if t in ("a (3)", "a (1)", "b", "a")]
    assert strongest_words(replace(found, scores=np.zeros(5))) == ()


def test_one_explanation_shows_its_bars_and_several_do_not() -> None:
    one = Attribution(examples=(sample.example(sample.TEXTS[0]),), method="shap")
    several = replace(one, examples=one.examples * 2)
    assert "<svg" in to_html(one[0])
    assert "<svg" in to_html(one)
    assert "<svg" not in to_html(several)


# --- curves ---


def test_areas_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    x = np.linspace(0, 1, 12)
    deletion, insertion = rng.random(12), rng.random(12)
    random_deletion, random_insertion = rng.random((30, 12)), rng.random((30, 12))
    figure = curves_figure(deletion, insertion, random_deletion=random_deletion, random_insertion=random_insertion)
    assert figure.caption is not None
    assert not isinstance(figure.caption, str)
    expected = {
        "deletion": auc(x, deletion),
        "insertion": auc(x, insertion),
        "random_deletion": np.mean([auc(x, row) for row in random_deletion]),
        "random_insertion": np.mean([auc(x, row) for row in random_insertion]),
    }
    assert dict(figure.caption.params) == pytest.approx(expected)
    shown = words("en").text(figure.caption)
    assert f"{expected['deletion']:.3f}" in shown
    # The table is the curve, step by step.
    values = [row[1].value for row in figure.table.rows if isinstance(row[1], Number)]
    assert values == deletion.tolist()
    bands = [(c.low, c.high) for c in (row[3] for row in figure.table.rows) if isinstance(c, Number)]
    np.testing.assert_allclose(bands, np.quantile(random_deletion, [0.025, 0.975], axis=0).T)


def test_long_curves_keep_both_ends_in_the_table() -> None:
    figure = curves_figure(np.linspace(1, 0, 500), np.linspace(0, 1, 500))
    assert len(figure.table.rows) == 21
    assert figure.table.n_total == 500
    first, last = figure.table.rows[0], figure.table.rows[-1]
    assert (first[1], last[1]) == (Number(1.0), Number(0.0))
    assert len(svg.draw(figure.plot, words("en"), prefix="f-", alt="a")) < 40_000


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (([1.0], [1.0]), r"deletion has shape \(1,\)"),
        (([1.0, 0.0], [1.0, 0.5, 0.0]), "deletion has 2 steps and insertion 3"),
        (([1.0, np.nan], [1.0, 0.0]), "deletion has shape"),
        (([1.0, 0.0], [1.0, 0.0], [[1.0, 0.5, 0.0]]), r"random_deletion has shape \(1, 3\)"),
    ],
)
def test_arrays_that_are_no_curves_are_refused(given: tuple[Any, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        curves_figure(*given[:2], random_deletion=given[2] if len(given) > 2 else None)


# --- hostile names ---


def hostile_example() -> ExampleAttribution:
    n = len(HOSTILE)
    spans, start = [], 0
    for token in HOSTILE:
        spans.append((start, start + len(token)))
        start += len(token) + 1
    return ExampleAttribution(
        text=" ".join(HOSTILE),
        tokens=HOSTILE,
        token_ids=np.arange(n),
        scores=np.linspace(-1, 1, n) + 0.05,
        word_index=np.arange(n),
        char_spans=np.array(spans),
        special=np.zeros(n, dtype=bool),
        target=TargetRecord(kind="class", index=0, label=HOSTILE[0]),
        method=HOSTILE[1],
    )


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("kind", ["example", "batch", "matrix", "grown"])
def test_nothing_in_a_token_is_markup(locale: str, kind: str) -> None:
    one = hostile_example()
    record: Any = {
        "example": one,
        "batch": Attribution(examples=(one,), method=one.method),
        "matrix": matrix(len(HOSTILE), len(HOSTILE), HOSTILE),
        "grown": AttributionMatrix.from_attributions([one, one]),
    }[kind]
    html = to_html(record, locale=locale)
    tags = parsed(html)
    assert not {tag for tag, _ in tags} & {"script", "img", "iframe", "s"}
    for _, attributes in tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
    assert "\u202e" not in html
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    # What is shown is the token itself.
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_a_terminal_gets_no_commands_from_the_data() -> None:
    one = replace(hostile_example(), tokens=("\x1b[2J", *HOSTILE[1:]), text="\x1b[2J " + " ".join(HOSTILE[1:]))
    spans = np.array([(0, 4), *[tuple(span) for span in one.char_spans[1:] - (len(HOSTILE[0]) - 4)]])
    record = replace(one, char_spans=spans)
    assert "\x1b" not in to_text(record)
    coloured = to_text(record, colour=True)
    assert "\x1b[2J" not in coloured
    assert "U+001B" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == to_text(record)


def test_colour_follows_the_sign_and_numbers_stay() -> None:
    tokens = ["good", "food", "not"]
    record = Attribution.from_scores(["good food not"], [tokens], [[1.0, 0.05, -0.5]])[0]
    shown = to_text(record, colour=True)
    assert "\x1b[1;38;5;32mgood[+1.00]\x1b[0m food \x1b[1;38;5;166mnot[-0.50]\x1b[0m" in shown
    assert "good[+1.00] food not[-0.50]" in to_text(record)
    assert "A number after a word is its score" in shown
    assert "underline" not in shown
    assert "underline" in to_html(record)


def test_lines_are_as_wide_with_colour_as_without() -> None:
    tokens = ["味", "道", "很", "好"] * 40
    record = Attribution.from_scores(["".join(tokens)], [tokens], [[1.0, -1.0, 0.5, -0.5] * 40])[0]
    plain, coloured = to_text(record), to_text(record, colour=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_text_view_of_curves_is_their_table() -> None:
    shown = text(curves_figure([0.9, 0.4, 0.1], [0.1, 0.5, 0.9]), words("en"))
    assert "50.0%" in shown
    assert "0.400" in shown
    html = Html(words("zh"), "p-").node(curves_figure([0.9, 0.4, 0.1], [0.1, 0.5, 0.9]))
    assert "删除" in html
