"""Attention of one text as plain arrays: the model's own patterns, without pads, refused where they are not whole."""

from __future__ import annotations

import pytest
import torch

import interpret
from interpret.capture.proof import prove
from interpret.errors import UsageError
from interpret.facade import AttachedModel
from tests import zoo
from tests.capture.support import attached, batch_of, eager_attentions
from tests.tiny import TEXTS


@pytest.fixture(scope="module")
def lm() -> AttachedModel:
    handle = attached("bert")
    return AttachedModel(handle, prove(handle))


def test_they_are_those_of_an_eager_model(lm: AttachedModel) -> None:
    capture = lm.capture(list(TEXTS[:4]), ["attn_pattern"])
    expected = eager_attentions(lm.handle, batch_of(lm.handle))
    for example in (0, 2):
        found = capture.patterns(example)
        n = len(found.queries)
        tokens = [t for t, real in zip(capture.tokens[example], capture.mask[example].tolist(), strict=False) if real]
        assert found.queries == found.keys == tuple(tokens)
        assert found.layers == (0, 1)
        assert found.weights.shape == (2, 4, n, n)
        for layer in range(2):
            ours = torch.from_numpy(found.weights[layer]).float()
            torch.testing.assert_close(ours, expected[layer][example, :, :n, :n], atol=1e-5, rtol=1e-5)


def test_layers_keep_their_numbers(lm: AttachedModel) -> None:
    assert lm.capture("a good film", ["attn_pattern.1"]).patterns().layers == (1,)


@pytest.mark.parametrize("family", ["t5", "bart", "mbart", "m2m_100", "marian", "pegasus"])
def test_cross_attention_has_tokens_of_both_sides(family: str) -> None:
    built = zoo.build(family, "seq2seq-lm")
    lm = interpret.attach(built.model, built.tokenizer)
    capture = lm.capture(
        ["a good film to see again", "bad"], ["cross.attn_pattern"], targets=["bad", "a good film to see"]
    )
    for example in (0, 1):
        found = capture.patterns(example, "cross.attn_pattern")
        assert found.weights.shape[2:] == (len(found.queries), len(found.keys))
        assert len(found.queries) == int(capture.mask_of("cross.attn_pattern")[example].sum())
        assert len(found.keys) == int(capture.mask_of("encoder.embed")[example].sum())
        assert found.weights.sum(-1) == pytest.approx(1.0, abs=1e-5)
    assert len(capture.patterns(0, "cross.attn_pattern").keys) > len(capture.patterns(1, "cross.attn_pattern").keys)


def test_a_capture_is_shown_as_its_patterns_are(lm: AttachedModel) -> None:
    capture = lm.capture(list(TEXTS[:4]), ["attn_pattern"])
    assert interpret.head_view(capture, 2).html == interpret.head_view(capture.patterns(2)).html
    assert interpret.model_view(capture, 2).html == interpret.model_view(capture.patterns(2)).html


def test_what_is_not_whole_is_refused(lm: AttachedModel) -> None:
    capture = lm.capture("bad", ["attn_pattern.0"])
    with pytest.raises(UsageError, match="asked for example 1; the capture has examples 0 to 0"):
        interpret.head_view(capture, 1)
    for other in (lm.capture("bad", ["resid_post"]), lm.capture("bad", ["attn_pattern"], summary="entropy")):
        with pytest.raises(UsageError, match="whole patterns"):
            interpret.head_view(other)
