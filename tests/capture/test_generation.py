"""Captures of generated text: the finished text, the steps, and what cannot be had."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import interpret
from interpret.capture.capture import capturing
from interpret.errors import UsageError
from tests import zoo
from tests.capture.support import PADDING_TOLERANCE, same_state, state_of
from tests.tiny import TEXTS, tiny

PROMPTS = [TEXTS[0], TEXTS[1], TEXTS[4]]
DECODERS = ("gpt2", "gpt_neox", "llama", "mistral", "qwen3", "gemma3", "gpt_oss")


def attached(family: str, task: str) -> interpret.AttachedModel:
    built = zoo.build(family, task)
    return interpret.attach(built.model, built.tokenizer)


@pytest.mark.parametrize("family", DECODERS)
def test_the_steps_are_the_finished_text(family: str) -> None:
    lm = attached(family, "causal-lm")
    before = state_of(lm.handle.model)
    sites = ["resid_post.1", "attn_pattern.0", "z.0"]
    n_new = 5
    options: dict[str, Any] = {"max_new_tokens": n_new, "generation": {"min_new_tokens": n_new}}
    whole = lm.capture_generated(PROMPTS, sites, **options)
    live = lm.capture_generated(PROMPTS, sites, live=True, **options)
    same_state(before, state_of(lm.handle.model))
    assert whole.encoded is not None
    assert whole.n_prompt is not None
    assert live.n_forwards == n_new
    assert set(live.step) == set(range(n_new))
    window = getattr(lm.handle.config, "sliding_window", None)
    for row, (example, step) in enumerate(zip(live.example, live.step, strict=True)):
        n_prompt = whole.n_prompt[example]
        real = live.mask[row].nonzero()[:, 0].tolist()
        assert len(real) == (n_prompt if step == 0 else 1)
        for place, position in enumerate(real):
            at = place if step == 0 else n_prompt + step - 1
            assert live.tokens[row][position] == whole.tokens[example][at]
            for key in ("resid_post.1", "z.0"):
                assert (live[key][row, position] - whole[key][example, at]).abs().max() < PADDING_TOLERANCE
            pattern, finished = live["attn_pattern", 0][row, :, position], whole["attn_pattern", 0][example, :, at]
            seen = ~pattern.isnan().any(0)
            known = finished[:, : at + 1]
            # A cache with a sliding window has dropped what is out of sight.
            kept = min(int(seen.sum()), at + 1)
            assert kept == at + 1 or (window is not None and kept >= min(window - 1, at + 1))
            ours = pattern[:, seen][:, -kept:] if step else pattern[:, seen][:, : at + 1]
            assert (ours - known[:, -ours.shape[1] :]).abs().max() < PADDING_TOLERANCE


@pytest.mark.parametrize("family", ["t5", "bart", "mbart", "m2m_100", "marian", "pegasus"])
def test_encoder_decoders_are_replayed_and_their_steps_captured(family: str) -> None:
    lm = attached(family, "seq2seq-lm")
    sites = ["decoder.resid_post.1", "cross.attn_pattern.0"]
    options: dict[str, Any] = {"max_new_tokens": 4, "generation": {"min_new_tokens": 4}}
    whole = lm.capture_generated(PROMPTS, [*sites, "encoder.resid_post.1", "logits"], **options)
    live = lm.capture_generated(PROMPTS, sites, live=True, **options)
    for row, (example, step) in enumerate(zip(live.example, live.step, strict=True)):
        found = live["decoder.resid_post.1"][row, 0]
        assert (found - whole["decoder.resid_post.1"][example, step]).abs().max() < PADDING_TOLERANCE
        n = int(whole.mask_of("encoder.embed")[example].sum())
        pattern = live["cross.attn_pattern.0"][row, :, 0, :n]
        assert (pattern - whole["cross.attn_pattern.0"][example, :, step, :n]).abs().max() < PADDING_TOLERANCE
    with pytest.raises(UsageError, match="the encoder did not run"):
        lm.capture_generated(PROMPTS, ["encoder.resid_post.1", "decoder.resid_post.1"], live=True, **options)
    frame = whole.to_frame("cross.attn_pattern.0")
    assert set(frame.key_token) <= {token for row in whole.tokens_of("encoder.embed") for token in row}
    with pytest.raises(UsageError, match="give targets="):
        lm.capture(PROMPTS, ["decoder.resid_post"])
    given = lm.capture(PROMPTS, ["decoder.resid_post", "logits"], targets=["a good film", "bad", "very sad"])
    assert given["logits"].ndim == 3
    assert lm.capture(PROMPTS, ["encoder.resid_post"]).mask.shape[0] == 3
    with pytest.raises(UsageError, match="give one target for each text"):
        lm.capture(PROMPTS, ["decoder.resid_post"], targets=["a"])


def test_a_prompt_is_continued_as_it_is_alone_and_its_characters_are_known() -> None:
    lm = attached("llama", "causal-lm")
    model: Any = lm.handle.model
    whole = lm.capture_generated(PROMPTS, "resid_post.0", max_new_tokens=6)
    assert whole.encoded is not None
    assert whole.n_prompt is not None
    for prompt, row, n_prompt in zip(PROMPTS, whole.encoded, whole.n_prompt, strict=True):
        ids = lm.handle.tokenizer(prompt, return_tensors="pt")  # type: ignore[misc]
        alone = model.generate(**ids, max_new_tokens=6, do_sample=False)[0].tolist()
        assert list(row.ids) == alone
        assert row.text.startswith(prompt)
        assert len(row.ids) == len(row.char_spans) == len(row.word_index)
        new = slice(n_prompt, None)
        every = zip(row.char_spans[new], row.tokens[new], row.special[new], strict=True)
        written = [(span, token) for span, token, special in every if not special]
        assert max((end for (_, end), _ in written), default=len(prompt)) == len(row.text)
        for (start, end), token in written:
            assert row.text[start:end] == token.strip("▁")


def test_drawing_words_is_seeded_and_leaves_the_random_stream_alone() -> None:
    lm = attached("gpt2", "causal-lm")
    options: dict[str, Any] = {"max_new_tokens": 8, "generation": {"do_sample": True, "temperature": 2.0}}
    before = torch.get_rng_state()
    texts = []
    for seed in (0, 0, 1):
        capture = lm.capture_generated(PROMPTS, "resid_post.0", seed=seed, **options)
        assert capture.encoded is not None
        texts.append([row.text for row in capture.encoded])
    assert torch.equal(before, torch.get_rng_state())
    assert texts[0] == texts[1] != texts[2]


def test_beams_are_replayed_and_refused_live() -> None:
    lm = attached("llama", "causal-lm")
    beams = {"num_beams": 3}
    replayed = lm.capture_generated(PROMPTS, "resid_post.0", max_new_tokens=4, generation=beams)
    assert len(replayed) == 3
    with pytest.raises(UsageError, match="runs each prompt 3 times and reorders"):
        lm.capture_generated(PROMPTS, "resid_post.0", live=True, generation=beams)
    model: Any = lm.handle.model
    batch = lm.handle.tokenizer(PROMPTS[:1], return_tensors="pt")  # type: ignore[misc]
    before = state_of(model)
    with pytest.raises(UsageError, match="beam search multiplies"), capturing(lm.handle, "resid_post"):
        model.generate(**batch, num_beams=2, max_new_tokens=3)
    same_state(before, state_of(model))


def test_what_does_not_write() -> None:
    model, tokenizer = tiny("bert")
    with pytest.raises(UsageError, match="does not go on from texts"):
        interpret.attach(model, tokenizer).capture_generated(PROMPTS)
    lm = attached("llama", "causal-lm")
    with pytest.raises(UsageError, match="num_return_sequences of generate is set here"):
        lm.capture_generated(PROMPTS, generation={"num_return_sequences": 2})
    with pytest.raises(UsageError, match="no texts"):
        lm.capture_generated([])
