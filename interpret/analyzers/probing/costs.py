"""What the model lost, as numbers with intervals: erased, beside random directions, and with units taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.erased_outputs import Outputs
from interpret.analyzers.probing.reprobing import row
from interpret.analyzers.probing.uncertainty import ClusterBootstrap, Interval, over_draws
from interpret.analyzers.probing.units import Ablated
from interpret.results.erasure import Chosen, ErasureCondition, ErasureMeasure, ErasureRow, UnitAblation

FloatArray = npt.NDArray[np.float64]


class Costs(NamedTuple):
    """What erasing costs beyond a control: `answers` in predictions, `probability` in total variation.

    `control` is the share of predictions that the control itself changes.
    """

    answers: Interval
    probability: Interval
    control: float


class BothCosts(NamedTuple):
    """Beyond as many random directions, and beyond changes of the same size in random directions.

    `whole` are the share of predictions that erasing changes and of probability that it moves, beside no control.
    """

    rank: Costs
    size: Costs
    whole: tuple[Interval, Interval]


@dataclass(frozen=True, eq=False)
class Effects:
    """Rows for the record, what the verdict is about, and what each draw of the controls did."""

    rows: tuple[ErasureRow, ...]
    costs: BothCosts
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
        changed = bootstrap.exact_end(_ratio(bootstrap, out.changed[at].mean(0), out.n))
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


#: Each control with the names of what it does and of what erasing costs beyond it.
_CONTROLS: Final[tuple[tuple[ErasureCondition, ErasureCondition], ...]] = (
    ("random", "difference"),
    ("random_displaced", "difference_displaced"),
)


def summed(out: Outputs, bootstrap: ClusterBootstrap, n_random: int) -> Effects:
    """Rows of every measure: as it is, erased, each control, and the differences with their spread between draws.

    `out` holds the eraser first, then `n_random` draws of as many random directions, then as many of equal size.
    """
    rows: list[ErasureRow] = []
    whole: dict[ErasureMeasure, Interval] = {}
    draws_at = [slice(1 + c * n_random, 1 + (c + 1) * n_random) for c in range(len(_CONTROLS))]

    def ratio(values: FloatArray, n: FloatArray) -> Interval:
        return _ratio(bootstrap, values, n)

    def add(measure: ErasureMeasure, changed: FloatArray, n: FloatArray, sign: int) -> list[Interval]:
        count = int(n.sum())
        counted = measure in ("task_accuracy", "changed_predictions")
        whole[measure] = bootstrap.exact_end(ratio(changed[0], n)) if counted else ratio(changed[0], n)
        rows.append(row("model", measure, "erased", whole[measure], count))
        differences = []
        for (control, beyond), at in zip(_CONTROLS, draws_at, strict=True):
            random = changed[at]
            draws = random.sum(1) / max(count, 1)
            beside = ratio(random.mean(0), n)
            rows.append(row("model", measure, control, bootstrap.exact_end(beside) if counted else beside, count))
            beside = ratio(sign * (changed[0] - random.mean(0)), n)
            beside = bootstrap.exact_end(beside, signed=True) if counted else beside
            difference = over_draws(beside, draws, fresh=True)
            rows.append(row("model", measure, beyond, difference, count))
            differences.append(difference)
        return differences

    answers: list[Interval] | None = None
    if out.n_gold.sum() > 0:
        for measure, values in (("task_accuracy", out.right), ("log_probability_nats", out.log_probability)):
            name: ErasureMeasure = measure  # type: ignore[assignment]
            before = ratio(values[0], out.n_gold)
            before = bootstrap.exact_end(before) if name == "task_accuracy" else before
            rows.append(row("model", name, "original", before, int(out.n_gold.sum())))
            found = add(name, values[1:], out.n_gold, -1)
            answers = found if answers is None else answers
    changed = add("changed_predictions", out.changed, out.n, 1)
    probability = add("total_variation", out.total_variation, out.n, 1)
    add("kl_nats", out.kl, out.n, 1)
    total = max(float(out.n.sum()), 1.0)
    all_draws = slice(1, 1 + len(_CONTROLS) * n_random)
    draws = {
        name: (getattr(out, name)[all_draws].sum(1) / total).tolist() for name in ("changed", "total_variation", "kl")
    }
    costs = [
        Costs(lost, moved, float(out.changed[at].mean(0).sum() / total))
        for lost, moved, at in zip(answers or changed, probability, draws_at, strict=True)
    ]
    both = BothCosts(costs[0], costs[1], (whole["changed_predictions"], whole["total_variation"]))
    return Effects(tuple(rows), both, draws, len(out.n))
