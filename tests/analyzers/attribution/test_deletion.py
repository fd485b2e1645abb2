"""Words taken out of the ids, by methods that mask words, against plain forwards of the ids that are left."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import interpret
from interpret.analyzers.target import Target
from interpret.errors import UsageError
from interpret.facade.again import again
from interpret.models.inputs import encode
from tests import tiny
from tests.chatting import chatting


def shapley(worth: dict[tuple[bool, ...], float], n: int) -> list[float]:
    """By the definition: what a player adds to each coalition of others, weighted by its size."""
    found = [0.0] * n
    for mask, without in worth.items():
        weight = (
            math.factorial(sum(mask)) * math.factorial(n - sum(mask) - 1) / math.factorial(n) if not all(mask) else 0
        )
        for player in range(n):
            if not mask[player]:
                found[player] += weight * (worth[(*mask[:player], True, *mask[player + 1 :])] - without)
    return found


@pytest.mark.parametrize("task", ["text-classification", "causal-lm"])
@pytest.mark.parametrize("method", ["leave_one_out", "shap"])
def test_words_are_taken_out_of_the_ids(method: str, task: str) -> None:
    lm = interpret.attach(*tiny.tiny("llama", task), name=task)
    texts = ["the film was good", "a sad cat"]
    found = lm.attribute(texts, target=1, method=method, baseline="delete", unit="token", quality=False)

    def value(ids: list[int]) -> float:
        with torch.no_grad():
            logits = lm.handle.model(input_ids=torch.tensor([ids])).logits[0]
        return float((logits if task == "text-classification" else logits[-1])[1])

    assert found.options["baseline"] == "delete"
    for example in found:
        ids = example.token_ids.tolist()
        content = np.flatnonzero(~example.special).tolist()
        if method == "leave_one_out":
            for p in content:
                assert example.scores[p] == pytest.approx(value(ids) - value(ids[:p] + ids[p + 1 :]), abs=1e-4)
            continue
        worth = {
            kept: value([*ids[:1], *(ids[p] for p, stays in zip(content, kept, strict=True) if stays)])
            for kept in itertools.product([False, True], repeat=len(content))
        }
        np.testing.assert_allclose(example.scores[content], shapley(worth, len(content)), atol=1e-4)


def test_where_words_cannot_be_taken_out() -> None:
    masked = interpret.attach(*tiny.tiny("bert", "masked-lm"), name="masked")
    with pytest.raises(UsageError, match="moves what is explained here"):
        masked.attribute("the [MASK] was good", method="leave_one_out", baseline="delete")
    bare = interpret.attach(*tiny.tiny("gpt2", "causal-lm"), name="bare")
    with pytest.raises(UsageError, match="would be empty"):
        bare.attribute("the film", method="leave_one_out", baseline="delete")
    # What is said goes, the template stays.
    chat = interpret.attach(*chatting("gpt2"), name="chat")
    (example,) = chat.attribute([{"role": "user", "content": "the film"}], method="leave_one_out", baseline="delete")
    assert example.scores.any()
    with pytest.raises(UsageError, match="cannot remove words with 'delete'"):
        bare.attribute("the film", method="integrated_gradients", baseline="delete")


def test_an_explanation_made_by_deletion_is_made_again_by_deletion() -> None:
    lm = interpret.attach(*tiny.tiny("llama", "text-classification"), name="llama")
    found = lm.attribute(["the film was good"], method="leave_one_out", baseline="delete", quality=False)
    assert found.target[0].index is not None
    target = Target("class", found.target[0].index)
    (example,) = again(found)(lm.handle, encode(lm.handle, ["the film was good"]), [target])
    np.testing.assert_array_equal(example.scores, found[0].scores)
