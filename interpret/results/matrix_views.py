"""Views of scores over outputs and inputs, and of outputs while words are removed or put in."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from interpret.errors import UsageError
from interpret.results.explanations import FloatArray
from interpret.results.matrices import AttributionMatrix
from interpret.results.tree import (
    Column,
    CurvePlot,
    Figure,
    Inline,
    MatrixPlot,
    Node,
    Number,
    Paragraph,
    Section,
    Series,
    Table,
    say,
)
from interpret.results.views import quality_note, verdict_of, view

#: Outputs and inputs that a drawing shows; what is left out is said.
MAX_OUTPUTS: Final = 30
MAX_INPUTS: Final = 40
#: Inputs that a table still shows side by side.
_WIDE: Final = 8
_LONG: Final = 60
_CURVE_ROWS: Final = 21


def matrix_figure(record: AttributionMatrix) -> Figure:
    """The drawing and its table: at most 30 outputs, and the 40 inputs that score most in all, in text order."""
    n_outputs = min(len(record.outputs), MAX_OUTPUTS)
    weight = np.abs(record.scores[:n_outputs]).sum(axis=0)
    shown = np.sort(np.argsort(-weight, kind="stable")[:MAX_INPUTS])
    values = tuple(
        tuple(float(record.scores[r, c]) if record.read[r, c] else None for c in shown) for r in range(n_outputs)
    )
    plot = MatrixPlot(
        values,
        tuple(_visible_space(name) for name in record.outputs[:n_outputs]),
        tuple(_visible_space(record.inputs[c]) for c in shown),
        say("axis.output"),
        say("axis.input"),
        say("axis.logits"),
    )
    alt = say("matrix.figure_alt", outputs=len(record.outputs), inputs=len(record.inputs))
    cut = n_outputs < len(record.outputs) or len(shown) < len(record.inputs)
    caption = say("matrix.figure")
    if cut:
        caption = say(
            "matrix.figure_cut", outputs=n_outputs, n_outputs=len(record.outputs), inputs=len(shown),
            n_inputs=len(record.inputs),
        )  # fmt: skip
    return Figure(plot, alt, _matrix_table(record), caption)


def _visible_space(name: str) -> str:
    """A token that is only space would leave an empty place beside its row."""
    return name.strip() or name.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣")


def _matrix_table(record: AttributionMatrix) -> Table:
    if len(record.inputs) <= _WIDE:
        columns = (Column(say("column.output")), *(Column(_visible_space(n), numeric=True) for n in record.inputs))
        rows = tuple(
            (
                _visible_space(name),
                *(
                    Number(float(score), "signed") if read else "–"
                    for score, read in zip(record.scores[r], record.read[r], strict=True)
                ),
            )
            for r, name in enumerate(record.outputs[:_LONG])
        )
        return Table(columns, rows, say("matrix.table"), len(record.outputs))
    strength = np.where(record.read, np.abs(record.scores), -1.0).ravel()
    order = np.argsort(-strength, kind="stable")[: min(_LONG, int(record.read.sum()))]
    found: list[tuple[Inline, ...]] = []
    for at in order.tolist():
        r, c = divmod(at, len(record.inputs))
        names = (_visible_space(record.outputs[r]), _visible_space(record.inputs[c]))
        found.append((*names, Number(float(c + 1), "count"), Number(float(record.scores[r, c]), "signed")))
    columns = (
        Column(say("column.output")),
        Column(say("column.input")),
        Column(say("column.place"), numeric=True),
        Column(say("column.score"), numeric=True),
    )
    return Table(columns, tuple(found), say("matrix.table_strongest"), int(record.read.sum()))


@view.register
def _(record: AttributionMatrix) -> Node:
    verdict = None if record.quality is None else record.quality.verdict
    head: tuple[Inline, ...] = (verdict_of(record.quality),)
    if record.quality is None:
        head += (say("quality.not_measured"),)
    cut: tuple[Inline, ...] = (say("quality.truncated", n=record.n_truncated),) if record.n_truncated else ()
    if record.n_windows > 1:
        cut += (say("quality.windows", n=record.n_windows, size=record.window_size, stride=record.window_stride),)
    children = (
        Paragraph(head),
        *quality_note(verdict),
        matrix_figure(record),
        Paragraph((*cut, say("attribution.not_causal")), "small"),
    )
    title = say("view.matrix", method=record.method, outputs=len(record.outputs), inputs=len(record.inputs))
    return Section(title, children)


# --- curves


def curves_figure(
    deletion: npt.ArrayLike,
    insertion: npt.ArrayLike,
    *,
    random_deletion: npt.ArrayLike | None = None,
    random_insertion: npt.ArrayLike | None = None,
) -> Figure:
    """The probability of the explained class while words go, or come, in the order of the explanation.

    Args:
        deletion: [step] probability without the first k of n words, k from 0 to n: falls fast if the ranking is good.
        insertion: [step] probability with only the first k words: rises fast if the ranking is good.
        random_deletion: [ranking, step] the same for random rankings: drawn as their mean and the band that holds 95%.
        random_insertion: [ranking, step] likewise.

    Returns:
        The drawing with its table. The area under a curve is that of the trapezoids over shares of words, 0 to 1.

    Raises:
        UsageError: fewer than two steps, lengths that differ, or values that are not finite.
    """
    own = {"deletion": _curve(deletion, "deletion"), "insertion": _curve(insertion, "insertion")}
    n = len(own["deletion"])
    given = {"deletion": random_deletion, "insertion": random_insertion}
    random = {name: _rankings(value, f"random_{name}", n) for name, value in given.items() if value is not None}
    if len(own["insertion"]) != n:
        raise UsageError(f"deletion has {n} steps and insertion {len(own['insertion'])}; give both over the same words")
    x = np.linspace(0.0, 1.0, n)
    series = [Series(say(f"curve.{name}"), tuple(values.tolist())) for name, values in own.items()]
    for name, values in random.items():
        low, high = np.quantile(values, [0.025, 0.975], axis=0)
        bands = tuple(low.tolist()), tuple(high.tolist())
        series.append(Series(say(f"curve.random_{name}"), tuple(values.mean(axis=0).tolist()), *bands))
    areas = {name: float(np.trapezoid(values, x)) for name, values in own.items()}
    plot = CurvePlot(tuple(x.tolist()), tuple(series), say("axis.probability"), say("axis.share_of_words"))
    caption = say("curve.figure", deletion=areas["deletion"], insertion=areas["insertion"])
    if len(random) == len(own):
        caption = say(
            "curve.figure_random",
            deletion=areas["deletion"],
            insertion=areas["insertion"],
            random_deletion=float(np.trapezoid(random["deletion"].mean(axis=0), x)),
            random_insertion=float(np.trapezoid(random["insertion"].mean(axis=0), x)),
        )
    table = _curve_table(x, series)
    return Figure(plot, say("curve.figure_alt", n=n - 1), table, caption)


def _curve(values: npt.ArrayLike, name: str) -> FloatArray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or len(found) < 2 or not np.isfinite(found).all():
        raise UsageError(f"{name} has shape {found.shape}; give [step], at least two finite numbers, from 0 to n words")
    return found


def _rankings(values: npt.ArrayLike, name: str, n: int) -> FloatArray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != n or not len(found) or not np.isfinite(found).all():
        raise UsageError(f"{name} has shape {found.shape}; give finite numbers [ranking, step] with {n} steps")
    return found


def _curve_table(x: FloatArray, series: list[Series]) -> Table:
    places = np.unique(np.linspace(0, len(x) - 1, min(len(x), _CURVE_ROWS)).round().astype(int)).tolist()
    columns = (Column(say("column.share_of_words"), numeric=True), *(Column(s.name, numeric=True) for s in series))
    rows = tuple(
        (
            Number(float(x[i]), "percent"),
            *(
                Number(s.values[i], "decimal", s.low[i] if s.low else None, s.high[i] if s.high else None)
                for s in series
            ),
        )
        for i in places
    )
    return Table(columns, rows, say("curve.table"), len(x))
