"""What the model lost, as numbers with intervals: erased, beside random directions, and with units taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.erased_outputs import Outputs
from interpret.analyzers.probing.reprobing import row
from interpret.analyzers.probing.uncertainty import ClusterBootstrap, Interval, over_draws
from interpret.analyzers.probing.units import Ablated
from interpret.results.erasure import Chosen, ErasureMeasure, ErasureRow, UnitAblation

FloatArray = npt.NDArray[np.float64]


class Costs(NamedTuple):
    """What erasing costs beyond random directions: `answers` in predictions, `probability` in total variation.

    `control` is the share of predictions that random directions change.
    """

    answers: Interval
    probability: Interval
    control: float


@dataclass(frozen=True, eq=False)
class Effects:
    """Rows for the record, what the verdict is about, and what each draw of random directions did."""

    rows: tuple[ErasureRow, ...]
    costs: Costs
    draws: dict[str, list[float]]
    n_texts: int


def _ratio(bootstrap: ClusterBootstrap, values: FloatArray, n: FloatArray) -> Interval:
    """Sum of `values` over sum of `n`, both [text]."""
    totals = bootstrap.totals(np.column_stack([values, n]))
    return bootstrap.of(totals, lambda sums: sums[..., 0] / np.maximum(sums[..., 1], 1e-12))


def ablations(
    out: Outputs, bootstrap: ClusterBootstrap, taken_out: Sequence[Ablated], start: int
) -> tuple[UnitAblation, ...]:
    """One entry for each choice and size; the draws of random units are put together."""
    together: dict[tuple[int, Chosen], list[int]] = {}
    for n, part in enumerate(taken_out):
        together.setdefault((len(part.units), part.chosen), []).append(n)
    found = []
    for (k, chosen), members in together.items():
        at = [start + n for n in members]
        changed = _ratio(bootstrap, out.changed[at].mean(0), out.n)
        units = () if chosen == "random" else tuple(taken_out[members[0]].units.tolist())
        found.append(
            UnitAblation(
                chosen=chosen,
                k=k,
                units=units,
                changed_predictions=changed.value,
                ci_low=changed.low,
                ci_high=changed.high,
                total_variation=_ratio(bootstrap, out.total_variation[at].mean(0), out.n).value,
            )
        )
    return tuple(found)


def summed(out: Outputs, bootstrap: ClusterBootstrap, n_random: int) -> Effects:
    """Rows of every measure: as it is, erased, random, and the difference with its spread between draws."""
    rows: list[ErasureRow] = []
    draws_at = slice(1, 1 + n_random)

    def ratio(values: FloatArray, n: FloatArray) -> Interval:
        return _ratio(bootstrap, values, n)

    def add(measure: ErasureMeasure, erased: FloatArray, random: FloatArray, n: FloatArray, sign: int) -> Interval:
        count = int(n.sum())
        draws = random.sum(1) / max(count, 1)
        rows.append(row("model", measure, "erased", ratio(erased, n), count))
        rows.append(row("model", measure, "random", ratio(random.mean(0), n), count))
        difference = over_draws(ratio(sign * (erased - random.mean(0)), n), draws, fresh=True)
        rows.append(row("model", measure, "difference", difference, count))
        return difference

    answers: Interval | None = None
    if out.n_gold.sum() > 0:
        for measure, values in (("task_accuracy", out.right), ("log_probability_nats", out.log_probability)):
            name: ErasureMeasure = measure  # type: ignore[assignment]
            rows.append(row("model", name, "original", ratio(values[0], out.n_gold), int(out.n_gold.sum())))
            found = add(name, values[1], values[2 : 2 + n_random], out.n_gold, -1)
            answers = found if answers is None else answers
    changed = add("changed_predictions", out.changed[0], out.changed[draws_at], out.n, 1)
    probability = add("total_variation", out.total_variation[0], out.total_variation[draws_at], out.n, 1)
    add("kl_nats", out.kl[0], out.kl[draws_at], out.n, 1)
    total = max(float(out.n.sum()), 1.0)
    draws = {
        name: (getattr(out, name)[draws_at].sum(1) / total).tolist() for name in ("changed", "total_variation", "kl")
    }
    costs = Costs(answers or changed, probability, float(np.mean(draws["changed"])))
    return Effects(tuple(rows), costs, draws, len(out.n))
