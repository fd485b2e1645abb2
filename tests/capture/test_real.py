"""The same promises on a fine-tuned classifier and a small language model that writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from interpret.capture.capture import capture_texts, capturing
from interpret.capture.proof import prove
from interpret.models.inputs import encode
from interpret.models.load import load_handle
from tests.capture.support import batch_of, eager_attentions, logits_of, nothing_global, same_state, state_of

REVIEWS = [
    "a film to see twice .",
    "the plot never arrives , and neither does the joke it keeps promising for two very long hours .",
    "fine .",
]


@pytest.mark.parametrize("name", ["minilm-sst2", "stories260k"])
def test_observed_and_plain(shared: Path, name: str) -> None:
    handle = load_handle(shared / "models" / name)
    proof = prove(handle)
    assert proof.z_error < 1e-5
    batch = batch_of(handle, REVIEWS) if handle.pad_id is not None else batch_of(handle, REVIEWS[:1])
    before = state_of(handle.model)
    plain = logits_of(handle, batch)
    with capturing(handle, "resid_post", "attn_pattern") as capture:
        observed = logits_of(handle, batch)
    assert torch.equal(plain, observed)
    same_state(before, state_of(handle.model))
    nothing_global()
    mask = capture.mask
    for layer, reference in enumerate(eager_attentions(handle, batch)):
        pairs = (mask[:, None, :, None] & mask[:, None, None, :]).expand_as(reference)
        assert (capture["attn_pattern", layer][pairs] - reference[pairs]).abs().max() < 5e-6


def test_texts_alone_are_as_in_a_batch(shared: Path) -> None:
    handle = load_handle(shared / "models" / "minilm-sst2")
    encoded = encode(handle, REVIEWS)
    together = capture_texts(handle, encoded, ["resid_post.5", "logits"])
    alone = capture_texts(handle, encoded[2:], ["resid_post.5", "logits"])
    n = len(encoded[2].ids)
    assert (together["resid_post", 5][2, :n] - alone["resid_post", 5][0]).abs().max() < 1e-4
    assert (together["logits"][2] - alone["logits"][0]).abs().max() < 1e-4


def test_a_story_is_told_the_same_while_it_is_watched(shared: Path) -> None:
    handle = load_handle(shared / "models" / "stories260k")
    model: Any = handle.model
    assert handle.tokenizer is not None
    batch = {"input_ids": handle.tokenizer("Once upon a time", return_tensors="pt").input_ids}
    plain = model.generate(**batch, max_new_tokens=20, do_sample=False)
    with capturing(handle, "attn_pattern.2", "resid_post.4") as capture:
        observed = model.generate(**batch, max_new_tokens=20, do_sample=False)
    assert torch.equal(plain, observed)
    assert len(capture) == 20
    assert torch.isfinite(capture["resid_post", 4][capture.mask]).all()
