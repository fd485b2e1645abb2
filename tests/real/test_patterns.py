"""Attention patterns of the real models under sdpa, beside an eager copy; the logits are the same to the last bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from interpret.capture.capture import capturing
from interpret.facade import AttachedModel
from interpret.models.load import attach_handle
from tests.capture.support import batch_of, eager_attentions, logits_of, nothing_global, same_state, state_of

TEXTS = {
    "minilm": [
        "a film to see twice .",
        "the plot never arrives , and neither does the joke it keeps promising .",
        "ok",
    ],
    "waimai": ["味道很好，送得也快", "太慢了", "咖啡全部都撒了出来，每个杯子至少损失了五分之一"],
    "stories": ["Once upon a time there was a little girl who had a cat"],
}


#: Between two runs in fp32 that differ in their attention kernel; in float64 it vanishes, see below.
ROUNDING = 5e-6


@pytest.mark.parametrize("name", list(TEXTS))
def test_without_rounding_the_patterns_are_the_eager_ones(name: str, request: pytest.FixtureRequest) -> None:
    given = request.getfixturevalue(name).handle
    handle = attach_handle(copy.deepcopy(given.model).double(), given.tokenizer)
    assert handle.attn_implementation == "sdpa"
    batch = batch_of(handle, TEXTS[name], handle.tokenizer.padding_side)
    with capturing(handle, "attn_pattern") as capture:
        logits_of(handle, batch)
    mask = capture.mask
    pairs = (mask[:, None, :, None] & mask[:, None, None, :]).expand(-1, handle.n_heads, -1, -1)
    handle.model.set_attn_implementation("eager")
    with torch.no_grad():
        eager = handle.model(**batch, output_attentions=True).attentions
    assert len(eager) == handle.n_layers
    for layer, reference in enumerate(eager):
        # Llama takes its softmax in fp32 whatever it runs in.
        assert (capture["attn_pattern", layer][pairs] - reference[pairs]).abs().max() < 1e-6


@pytest.mark.parametrize("name", list(TEXTS))
def test_patterns_under_sdpa_are_the_eager_ones(name: str, request: pytest.FixtureRequest) -> None:
    lm: AttachedModel = request.getfixturevalue(name)
    handle = lm.handle
    assert handle.attn_implementation == "sdpa"
    side = handle.tokenizer.padding_side
    batch = batch_of(handle, TEXTS[name], side)
    before = state_of(handle.model)
    unwatched = logits_of(handle, batch)
    with lm.capturing("resid_post", "attn_pattern", "logits") as capture:
        watched = logits_of(handle, batch)
    assert torch.equal(unwatched, watched)
    same_state(before, state_of(handle.model))
    nothing_global()
    assert capture.mode == "tee"
    mask = capture.mask
    pairs = (mask[:, None, :, None] & mask[:, None, None, :]).expand(-1, handle.n_heads, -1, -1)
    for layer, reference in enumerate(eager_attentions(handle, batch)):
        pattern = capture["attn_pattern", layer]
        # An eager run rounds otherwise, so that its second layer already reads another stream.
        allowed = 1e-6 if layer == 0 else ROUNDING
        assert (pattern[pairs] - reference[pairs]).abs().max() < allowed
        sums: Any = pattern.nansum(-1).transpose(1, 2)[mask]
        assert (sums - 1).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["minilm", "waimai"])
def test_every_layer_is_the_softmax_of_its_own_queries_and_keys(name: str, request: pytest.FixtureRequest) -> None:
    """In fp32, on what the layer really read: no second run, so no other rounding, and 1e-6 holds at every depth."""
    lm: AttachedModel = request.getfixturevalue(name)
    with lm.capturing("attn_pattern", "q", "k") as capture:
        logits_of(lm.handle, batch_of(lm.handle, TEXTS[name], "right"))
    mask = capture.mask
    pairs = (mask[:, None, :, None] & mask[:, None, None, :]).expand(-1, lm.handle.n_heads, -1, -1)
    for layer in range(lm.handle.n_layers):
        q, k = (torch.nan_to_num(capture[site, layer]) for site in ("q", "k"))
        scores = q @ k.transpose(-1, -2) / lm.handle.d_head**0.5
        expected = scores.masked_fill(~mask[:, None, None, :], float("-inf")).softmax(-1)
        assert (capture["attn_pattern", layer][pairs] - expected[pairs]).abs().max() < 1e-6
