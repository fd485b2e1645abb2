"""Attention-based methods on a fine-tuned classifier, against transformers' own eager attention and its own blocks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from interpret.facade import AttachedModel
from interpret.models.batching import Row, logits
from interpret.models.inputs import encode
from interpret.readers.tables import Table
from tests.analyzers.attribution.test_relevance import relevance_by_hand
from tests.analyzers.attribution.test_value_zeroing import by_block

Array = npt.NDArray[np.float64]


def test_gradient_attention_is_what_the_eager_model_gives(minilm: AttachedModel, sst2_dev: Table) -> None:
    encoded = encode(minilm.handle, [str(row["text"]) for row in sst2_dev.rows[:4]])
    found = minilm.attribute([e.text for e in encoded], method="gradient_attention", quality=False)
    for text, example in zip(encoded, found, strict=True):
        expected = relevance_by_hand(minilm.handle, text, example.target)
        assert np.abs(example.scores - expected / expected.sum()).max() < 1e-5
        assert np.abs(example.scores[1:] * expected.sum() - expected[1:]).max() < 1e-4 * expected[1:].max()


def test_value_zeroing_is_each_block_alone(minilm: AttachedModel) -> None:
    (text,) = encode(minilm.handle, ["not a dull film at all"])
    (example,) = minilm.attribute([text.text], method="value_zeroing", quality=False)
    through = np.eye(len(text.ids))
    for layer in by_block(minilm.handle, "bert", text):
        through = layer @ through
    assert np.abs(example.scores - through[0]).max() < 1e-5


def drop(lm: AttachedModel, texts: list[str], scores: list[Array]) -> float:
    """How far the predicted class's log odds fall, on average, when the two best tokens become [MASK]."""
    encoded = encode(lm.handle, texts)
    full = logits(lm.handle, [Row(e.ids, e.type_ids) for e in encoded])
    rows = []
    for e, line in zip(encoded, scores, strict=True):
        best = np.argsort(-np.where(e.special, -np.inf, line), kind="stable")[:2]
        ids = [lm.handle.mask_id or 0 if p in best else i for p, i in enumerate(e.ids)]
        rows.append(Row(tuple(ids), e.type_ids))
    left = logits(lm.handle, rows)
    sign = np.where(full[:, 1] > full[:, 0], 1.0, -1.0)
    return float((sign * ((full[:, 1] - full[:, 0]) - (left[:, 1] - left[:, 0]))).mean())


@pytest.mark.parametrize("method", ["gradient_attention", "value_zeroing"])
def test_what_they_name_matters_more_than_chance(minilm: AttachedModel, sst2_dev: Table, method: str) -> None:
    texts = [str(row["text"]) for row in sst2_dev.rows[:32]]
    rng = np.random.default_rng(0)
    found = [example.scores for example in minilm.attribute(texts, method=method, quality=False)]
    chance = [drop(minilm, texts, [rng.random(len(line)) for line in found]) for _ in range(20)]
    assert drop(minilm, texts, found) > max(chance)
