"""A hand-made erasure with every part, and a label that would break out of a page."""

from __future__ import annotations

from typing import get_args

from interpret.results.erasure import (
    Erasure,
    ErasureCondition,
    ErasureMeasure,
    ErasureRow,
    RandomErasure,
    UnitAblation,
)
from interpret.results.record import Message
from tests.reports.sample import HOSTILE


def erasure() -> Erasure:
    """Every measure under every condition that it can have."""
    rows: list[ErasureRow] = []
    for number, measure in enumerate(get_args(ErasureMeasure)):
        probes = number < 7
        conditions: tuple[ErasureCondition, ...] = ("original", "erased") if probes else get_args(ErasureCondition)
        for condition in conditions:
            value = 0.9 - 0.05 * number if condition == "original" else 0.1 + 0.01 * number
            rows.append(
                ErasureRow(
                    part="probe" if probes else "model",
                    measure=measure,
                    condition=condition,
                    value=value,
                    ci_low=value - 0.02,
                    ci_high=value + 0.02,
                    n=200,
                )
            )
    return Erasure(
        model=HOSTILE,
        site="resid_post",
        layer=3,
        task=HOSTILE,
        level="sentence",
        classes=("a", HOSTILE),
        method="inlp",
        positions="probed",
        rank=3,
        n_rounds=3,
        linearly_erased=False,
        removed_share=0.2,
        random=tuple(
            RandomErasure(
                matched=matched, removed_share=share, changed_predictions=0.0, total_variation=0.01, kl_nats=0.001
            )
            for matched, share in ((("rank", 0.01),) * 2 + (("size", 0.2),) * 2)
        ),
        rows=tuple(rows),
        verdict="inconclusive",
        why=Message(code="erasure_why.control_breaks", params={"share": 0.2, "limit": 0.1}),
        margin=0.02,
        n_train=100,
        n_validation=50,
        n_test=200,
        n_clusters_test=190,
        output="text-classification",
        n_texts=190,
        seed=0,
        ranking="mean_difference",
        ranked_units=tuple(range(32)),
        ablations=(
            UnitAblation(
                chosen="top",
                k=12,
                units=tuple(range(12)),
                changed_predictions=0.3,
                ci_low=0.2,
                ci_high=0.4,
                total_variation=0.2,
            ),
            UnitAblation(
                chosen="random",
                k=12,
                units=(),
                changed_predictions=0.0,
                ci_low=0.0,
                ci_high=0.0,
                total_variation=0.01,
            ),
        ),
        notes=(Message(code="probe_truncated_texts", params={"n": 3}),),
    )
