"""The battery on the fine-tuned classifier against forwards one row at a time."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid

from interpret.analyzers.faithfulness import battery
from interpret.facade import AttachedModel


def probability(lm: AttachedModel, ids: list[int], index: int) -> float:
    with torch.no_grad():
        logits: Any = lm.handle.model(input_ids=torch.tensor([ids])).logits
    return float(logits.double().softmax(-1)[0, index])


@pytest.mark.parametrize("operator", ["mask_token", "pad_token", "delete"])
def test_areas_and_normalised_aopc_are_those_of_all_rankings(minilm: AttachedModel, operator: str) -> None:
    found = minilm.attribute("not a dull film", method="gradient_x_input", quality=False)
    quality = battery(minilm.handle, found, operators=(operator,), n_random=20)
    rows = {row.metric: row.value for row in quality.rows}
    example = found[0]
    index, words = example.target.index or 0, example.words()
    fill = {"mask_token": minilm.handle.mask_id, "pad_token": minilm.handle.pad_id, "delete": None}[operator]

    def without(gone: set[int]) -> float:
        at = {p for w in gone for p in words[w].positions}
        ids = [fill if p in at else t for p, t in enumerate(example.token_ids.tolist())]
        return probability(minilm, [t for t in ids if t is not None], index)

    n = len(words)
    assert n == 4
    curves = {o: [without(set(o[:k])) for k in range(n + 1)] for o in itertools.permutations(range(n))}
    order = tuple(np.argsort([-w.score for w in words], kind="stable").tolist())
    assert rows["deletion_auc"] == pytest.approx(trapezoid(curves[order], dx=1 / n), abs=1e-5)
    assert rows["insertion_auc"] == pytest.approx(trapezoid(curves[order[::-1]][::-1], dx=1 / n), abs=1e-5)
    aopc = {o: curve[0] - float(np.mean(curve[1:])) for o, curve in curves.items()}
    low, high = min(aopc.values()), max(aopc.values())
    assert rows["aopc_comprehensiveness_normalized"] == pytest.approx((aopc[order] - low) / (high - low), abs=1e-4)
