from __future__ import annotations

import numpy as np
import pytest

from interpret.analyzers.target import resolve_targets, restore_targets
from interpret.errors import UsageError
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from tests import planted, tiny


def test_predicted_is_the_default_and_gold_needs_gold() -> None:
    handle = planted.handle()
    data = planted.sentences(4, seed=1)
    encoded = encode(handle, data.texts)
    assert [t.index for t in resolve_targets(handle, encoded)] == data.labels
    wrong = [1 - label for label in data.labels]
    found = resolve_targets(handle, encoded, "gold", gold=wrong)
    assert [(t.index, t.chosen) for t in found] == [(label, "gold") for label in wrong]
    with pytest.raises(UsageError, match="gold="):
        resolve_targets(handle, encoded, "gold")


def test_labels_by_name_index_list_and_pair() -> None:
    handle = planted.handle()
    encoded = encode(handle, ["the zork", "a blick"])
    assert [t.index for t in resolve_targets(handle, encoded, "Positive")] == [1, 1]
    assert [t.index for t in resolve_targets(handle, encoded, ["negative", 1])] == [0, 1]
    pair = resolve_targets(handle, encoded, ("positive", "negative"))
    assert [(t.kind, t.index, t.foil_index) for t in pair] == [("contrast", 1, 0)] * 2
    assert pair[0].of(np.array([[1.0, 4.0]])) == pytest.approx(3.0)
    assert restore_targets(handle, encoded, [t.record(handle) for t in pair]) == pair
    with pytest.raises(UsageError, match="'negative', 'positive'"):
        resolve_targets(handle, encoded, "neutral")
    with pytest.raises(UsageError, match="0 to 1"):
        resolve_targets(handle, encoded, 2)
    with pytest.raises(UsageError, match="twice"):
        resolve_targets(handle, encoded, ("positive", 1))
    with pytest.raises(UsageError, match="3 entries for 2 texts"):
        resolve_targets(handle, encoded, [0, 1, 1])


def test_next_token_by_prediction_string_and_id() -> None:
    handle = attach_handle(*tiny.tiny("llama", "causal-lm"))
    encoded = encode(handle, ["the film was"])
    (predicted,) = resolve_targets(handle, encoded)
    assert predicted.kind == "next_token"
    (given,) = resolve_targets(handle, encoded, "▁good")
    assert given.record(handle).label == "good"
    assert resolve_targets(handle, encoded, given.index)[0].index == given.index
    with pytest.raises(UsageError, match="tokens"):
        resolve_targets(handle, encoded, "good film happy")
    with pytest.raises(UsageError, match="vocabulary"):
        resolve_targets(handle, encoded, 10**6)


def test_a_masked_model_is_explained_at_its_mask() -> None:
    handle = attach_handle(*tiny.tiny("bert", "masked-lm"))
    (target,) = resolve_targets(handle, encode(handle, ["the [MASK] was good"]), "film")
    assert (target.kind, target.position) == ("mask_token", 2)
    with pytest.raises(UsageError, match=r"\[MASK\]"):
        resolve_targets(handle, encode(handle, ["the film was good"]))
