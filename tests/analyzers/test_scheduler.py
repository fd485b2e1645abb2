from __future__ import annotations

import numpy as np
import pytest
from transformers import GPT2ForSequenceClassification

from interpret.analyzers.scheduler import Scheduler, features, masked_rows, removal
from interpret.analyzers.target import Target
from interpret.errors import UsageError
from interpret.models.batching import Row, logits
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from tests import planted, tiny


def test_each_distinct_row_runs_once() -> None:
    handle = planted.handle()
    rows = [Row(e.ids, e.type_ids) for e in encode(handle, ["the zork", "a blick was", "the zork"])]
    scheduler = Scheduler(handle)
    first = scheduler.logits(rows)
    again = scheduler.logits([rows[1]])
    assert (scheduler.n_requested, scheduler.n_run) == (4, 2)
    assert np.array_equal(again[0], first[1])
    assert np.abs(first - logits(handle, rows)).max() < 1e-5
    other_types = Row(rows[0].ids, tuple(1 for _ in rows[0].ids))
    scheduler.logits([other_types])
    assert scheduler.n_run == 3


def test_the_cache_is_bounded() -> None:
    handle = planted.handle()
    rows = [Row(e.ids, e.type_ids) for e in encode(handle, list(planted.NOISE[:6]))]
    scheduler = Scheduler(handle, max_rows=2)
    whole = scheduler.logits(rows)
    assert len(scheduler._cache) == 2
    assert np.abs(scheduler.logits(rows) - whole).max() < 1e-5


def test_wide_outputs_are_reduced_to_the_target() -> None:
    handle = attach_handle(*tiny.tiny("llama", "causal-lm"))
    rows = [Row(e.ids, e.type_ids) for e in encode(handle, ["the film was", "a cat"])]
    scheduler = Scheduler(handle)
    targets = [Target("next_token", 5), Target("next_token", 6, 7)]
    found = scheduler.score_targets(rows, targets)
    whole = logits(handle, rows)
    assert found.logit == pytest.approx([whole[0, 5], whole[1, 6] - whole[1, 7]], abs=1e-5)
    softmax = np.exp(whole) / np.exp(whole).sum(-1, keepdims=True)
    assert found.probability == pytest.approx([softmax[0, 5], softmax[1, 6]], abs=1e-6)
    n_run = scheduler.n_run
    assert np.array_equal(scheduler.score_targets(rows, targets).logit, found.logit)
    assert scheduler.n_run == n_run
    assert all(v.size == 2 for v in scheduler._cache.values())
    with pytest.raises(UsageError, match="score"):
        scheduler.logits(rows)


def test_special_tokens_and_the_mask_are_never_removed() -> None:
    handle = attach_handle(*tiny.tiny("bert", "masked-lm"))
    (encoded,) = encode(handle, ["the [MASK] was good"])
    position = encoded.ids.index(handle.mask_id)
    groups = features(encoded, "word", position)
    (row,) = masked_rows(encoded, groups, np.zeros((1, len(groups)), dtype=bool), removal(handle))
    assert (row.ids[0], row.ids[-1]) == (encoded.ids[0], encoded.ids[-1])
    assert position not in {p for group in groups for p in group}
    assert len(row.ids) == len(encoded.ids)


def test_removal_by_family() -> None:
    assert removal(planted.handle()).name == "mask_token"
    assert removal(attach_handle(*tiny.tiny("llama", "causal-lm"))).name == "eos_token"


def test_a_removed_token_of_a_decoder_classifier_is_never_its_pad() -> None:
    model, tokenizer = tiny.tiny("gpt2")
    assert isinstance(model, GPT2ForSequenceClassification)
    tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    handle = attach_handle(model, tokenizer)
    operator = removal(handle)
    assert operator.token_id != handle.pad_id
    assert operator.name.startswith("token ")
    with pytest.raises(UsageError, match="eos_token"):
        removal(handle, "eos_token")
