"""What capturing promises for every family and task: an untouched model, and tensors that keep their word."""

from __future__ import annotations

import pickle

import pandas as pd
import pytest
import torch

from interpret.capture.capture import capture_texts, capturing, stream
from interpret.capture.points import sites_frame
from interpret.capture.proof import prove
from interpret.errors import UnknownSiteError
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.sites import SITES, hidden_states_index
from tests.capture.support import (
    CASES,
    PADDING_TOLERANCE,
    PATTERN_TOLERANCE,
    attached,
    batch_of,
    eager_attentions,
    logits_of,
    nothing_global,
    same_state,
    state_of,
)
from tests.tiny import TEXTS

pytestmark = pytest.mark.filterwarnings("ignore:.*attention mask.*")


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def handle(request: pytest.FixtureRequest) -> Handle:
    return attached(*request.param)


def everything(handle: Handle) -> list[str]:
    frame = sites_frame(handle)
    return list(frame[frame.available].site.unique())


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("texts", [TEXTS[:4], TEXTS[:1]], ids=["padded", "unpadded"])
def test_observing_changes_nothing_and_the_pattern_is_the_eager_one(
    handle: Handle, texts: tuple[str, ...], side: str
) -> None:
    batch = batch_of(handle, texts, side)
    before = state_of(handle.model)
    plain = logits_of(handle, batch)
    with capturing(handle, *everything(handle)) as capture:
        observed = logits_of(handle, batch)
    assert torch.equal(plain, observed)
    same_state(before, state_of(handle.model))
    nothing_global()
    assert capture.mode == "tee"
    mask = batch["attention_mask"].bool()
    assert torch.equal(capture.mask, mask)
    pairs = (mask[:, None, :, None] & mask[:, None, None, :]).expand(-1, handle.n_heads, -1, -1)
    for layer, reference in enumerate(eager_attentions(handle, batch)):
        pattern = capture["attn_pattern", layer]
        assert torch.equal(pattern.isnan(), ~pairs)
        assert (pattern[pairs] - reference[pairs]).abs().max() < PATTERN_TOLERANCE
        if handle.is_decoder:
            assert pattern.nan_to_num().triu(1).sum() == 0
    if capture["logits"].ndim == 2:
        assert torch.equal(capture["logits"], plain)
    else:
        assert torch.equal(capture["logits"][mask], plain[mask])


def test_training_mode_draws_nothing_more_and_the_pattern_is_without_dropout(handle: Handle) -> None:
    batch = batch_of(handle)
    handle.model.train()
    try:
        torch.manual_seed(7)
        plain = logits_of(handle, batch)
        drawn = torch.get_rng_state()
        torch.manual_seed(7)
        with capturing(handle, *everything(handle)) as capture:
            observed = logits_of(handle, batch)
        assert torch.equal(plain, observed)
        assert torch.equal(drawn, torch.get_rng_state())
        assert all(module.training for module in handle.model.modules())
        sums = capture["attn_pattern", 0].nansum(-1).transpose(1, 2)[capture.mask]
        assert (sums - 1).abs().max() < 1e-5
    finally:
        handle.model.eval()
    # Llama has no dropout; the others must really have been in training mode.
    assert torch.equal(plain, logits_of(handle, batch)) == (handle.roles.family == "llama")


def test_after_an_unknown_site_nothing_is_left(handle: Handle) -> None:
    before = state_of(handle.model)
    for wrong in ("resid_pots", "resid_post.9", "cross.attn_scores.0", "attn_pattern.0-7"):
        with pytest.raises(UnknownSiteError, match=r"layers|site|one stack"), capturing(handle, "attn_pattern", wrong):
            pass
    same_state(before, state_of(handle.model))
    nothing_global()


def test_after_a_crash_nothing_is_left_and_other_hooks_survive(handle: Handle) -> None:
    batch = batch_of(handle)
    plain = logits_of(handle, batch)
    seen: list[int] = []
    foreign = handle.roles.blocks[0].register_forward_hook(lambda *_: seen.append(1))

    def crash(*_: object) -> None:
        raise ZeroDivisionError("inside the model")

    crashing = handle.roles.mlp[-1].register_forward_hook(crash)
    before = state_of(handle.model)
    try:
        with capturing(handle, *everything(handle)) as capture:
            with pytest.raises(ZeroDivisionError):
                logits_of(handle, batch)
            crashing.remove()
            logits_of(handle, batch)
        # The forward that broke off is not in the capture.
        assert capture.n_forwards == 1
        crashing = handle.roles.mlp[-1].register_forward_hook(crash)
        with pytest.raises(ZeroDivisionError), capturing(handle, *everything(handle)):
            logits_of(handle, batch)
        crashing.remove()
        after = state_of(handle.model)
        before["hooks"] = after["hooks"] = []
        same_state(before, after)
        n_seen = len(seen)
        assert torch.equal(plain, logits_of(handle, batch))
        assert len(seen) == n_seen + 1
    finally:
        crashing.remove()
        foreign.remove()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in handle.model.modules())
    nothing_global()


def test_the_model_pickles_afterwards(handle: Handle) -> None:
    with capturing(handle, "resid_post", "attn_pattern"):
        logits_of(handle, batch_of(handle))
    assert len(pickle.dumps(handle.model)) > 0


def test_residual_stream_is_the_hidden_state_one_further(handle: Handle) -> None:
    batch = batch_of(handle)
    with capturing(handle, "embed", "resid_pre", "resid_post") as capture:
        logits_of(handle, batch)
    # Asked of a copy: transformers' own capturing leaves hooks in the model it was asked of.
    other = attached(handle.roles.family, handle.task)
    other.model.load_state_dict(handle.model.state_dict())
    with torch.no_grad():
        hidden = other.model(**batch, output_hidden_states=True).hidden_states
    mask = capture.mask
    for layer in range(handle.n_layers):
        post = capture["resid_post", layer][mask]
        if layer + 1 < handle.n_layers:
            assert torch.equal(post, capture["resid_pre", layer + 1][mask])
        if handle.roles.final_norm is None or layer + 1 < handle.n_layers:
            assert torch.equal(post, hidden[hidden_states_index(layer)][mask])
        else:
            assert not torch.equal(post, hidden[hidden_states_index(layer)][mask])
    assert torch.equal(capture["resid_pre", 0][mask], hidden[0][mask])


def test_alone_is_as_in_a_batch_and_the_order_is_kept(handle: Handle) -> None:
    encoded = encode(handle, list(TEXTS))
    sites = everything(handle)
    together = capture_texts(handle, encoded, sites)
    split = capture_texts(handle, encoded[::-1], sites, max_batch=3)
    assert together.encoded == tuple(encoded)
    assert together.tokens == tuple(row.tokens for row in encoded)
    assert torch.equal(together.mask.sum(1), torch.tensor([len(row.ids) for row in encoded]))
    for key in together:
        whole, other = together[key], split[key].flip(0)
        assert torch.equal(whole.isnan(), other.isnan()), key
        assert torch.allclose(whole, other, rtol=0, atol=PADDING_TOLERANCE, equal_nan=True), key
    for index in (1, 6):
        alone = capture_texts(handle, [encoded[index]], sites)
        for key in alone:
            one = alone[key][0]
            within = together[key][index][tuple(slice(size) for size in one.shape)]
            # Scores of what is masked are -inf, in both.
            assert torch.allclose(one, within, rtol=0, atol=PADDING_TOLERANCE), key


def test_stream_hands_over_every_text_once(handle: Handle) -> None:
    encoded = encode(handle, list(TEXTS))
    before = state_of(handle.model)
    whole = capture_texts(handle, encoded, ["resid_post.1", "attn_pattern.0"])
    seen: list[int] = []
    for indices, tensors, mask in stream(handle, encoded, ["resid_post.1", "attn_pattern.0"], max_batch=3):
        same_state(before, state_of(handle.model))
        assert mask.shape == tensors["resid_post", 1].shape[:2]
        for row, index in enumerate(indices):
            n = len(encoded[index].ids)
            assert mask[row].sum() == n
            found, expected = tensors["resid_post", 1][row, :n], whole["resid_post", 1][index, :n]
            assert (found - expected).abs().max() < PADDING_TOLERANCE
        seen += indices
    assert sorted(seen) == list(range(len(encoded)))


def test_proof(handle: Handle) -> None:
    before = state_of(handle.model)
    proof = prove(handle)
    same_state(before, state_of(handle.model))
    nothing_global()
    assert proof.z_error < 1e-5
    assert proof.row_sum_error is not None
    assert proof.row_sum_error < 1e-5
    assert proof.future_mass == (0 if handle.is_decoder else None)
    assert proof.edits == ("z.0", "resid_post.0")


def test_shapes_are_those_of_the_sites_frame(handle: Handle) -> None:
    frame = sites_frame(handle)
    assert list(frame.columns) == ["site", "layer", "axes", "shape", "available", "reason"]
    assert set(frame.site) == set(SITES)
    assert (frame.available == (frame.reason == "")).all()
    batch = batch_of(handle)
    with capturing(handle, *everything(handle)) as capture:
        logits_of(handle, batch)
    n_examples, n_positions = batch["input_ids"].shape
    width = {"example": n_examples, "position": n_positions, "query": n_positions, "key": n_positions}
    for row in frame[frame.available].itertuples():
        tensor = capture[row.site, None if pd.isna(row.layer) else int(row.layer)]
        expected = tuple(width.get(axis, size) for axis, size in zip(row.axes, row.shape, strict=True))
        assert tuple(tensor.shape) == expected
