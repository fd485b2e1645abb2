"""The tee: generation, caches, nesting, other implementations, and how a missing mask is read."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    DebertaV2Config,
    MistralConfig,
)
from transformers.cache_utils import StaticCache

from interpret.capture.attention import on_interface, patterns, resolve_mode
from interpret.capture.capture import capturing
from interpret.capture.masks import additive_mask
from interpret.errors import ProofError, UsageError
from tests.capture.support import DECODERS, attached, batch_of, eager_attentions, logits_of, nothing_global
from tests.tiny import TEXTS


def test_the_name_is_not_mistaken_for_a_kernel() -> None:
    handle = attached("bert")
    with capturing(handle, "attn_pattern.0"):
        key = handle.config._attn_implementation
    assert not [name for name in ("sdpa", "flash", "flex_attention") if name in key]
    assert handle.config._attn_implementation == "sdpa"


def test_only_the_layers_asked_for_are_formed() -> None:
    handle = attached("bert")
    seen: list[int] = []
    with patterns(handle.roles.base, {1: handle.roles.attention[1]}, lambda layer, _: seen.append(layer)) as mode:
        logits_of(handle, batch_of(handle))
    assert seen == [1]
    assert mode == "tee"


@pytest.mark.parametrize(("family", "task"), DECODERS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_generation_with_a_cache_is_the_same_and_every_step_is_causal(family: str, task: str, side: str) -> None:
    handle = attached(family, task)
    model: Any = handle.model
    batch = batch_of(handle, TEXTS[:2] if side == "left" else TEXTS[:1], side)
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "pad_token_id": handle.pad_id}
    plain = model.generate(**batch, **options)
    with capturing(handle, "attn_pattern", "resid_post.1", "logits") as capture:
        observed = model.generate(**batch, **options)
    assert torch.equal(plain, observed)
    n_examples, n_prompt = batch["input_ids"].shape
    assert capture.n_forwards == 5
    assert capture["attn_pattern", 0].shape == (5 * n_examples, handle.n_heads, n_prompt, n_prompt + 4)
    # The finished sequence, run once, attends as the steps did.
    full = {"input_ids": plain[:, :-1], "attention_mask": torch.ones_like(plain[:, :-1])}
    full["attention_mask"][:, :n_prompt] = batch["attention_mask"]
    if side == "right":
        last = eager_attentions(handle, full)[1][0, :, -1]
        step = capture["attn_pattern", 1][-1, :, 0]
        assert (step - last).abs().max() < 1e-5
    assert capture.tokens[-1] == (handle.tokenizer.convert_ids_to_tokens(int(plain[-1, -2])),)  # type: ignore[union-attr]
    nothing_global()


def test_a_static_cache_is_captured_without_its_empty_slots() -> None:
    handle = attached("llama", "causal-lm")
    model: Any = handle.model
    batch = batch_of(handle, TEXTS[:1])
    n = batch["input_ids"].shape[1]
    for masked in (True, False):
        inputs = batch if masked else {"input_ids": batch["input_ids"]}
        with torch.no_grad():
            plain = model(**inputs, past_key_values=StaticCache(config=handle.config, max_cache_len=n + 6)).logits
            with capturing(handle, "attn_pattern.0") as capture:
                cache = StaticCache(config=handle.config, max_cache_len=n + 6)
                observed = model(**inputs, past_key_values=cache).logits
        assert torch.equal(plain, observed)
        pattern = capture["attn_pattern", 0]
        assert pattern[..., n:].isnan().all()
        assert (pattern[..., :n] - eager_attentions(handle, batch)[0]).abs().max() < 1e-6


def test_generation_with_a_static_cache_is_the_same() -> None:
    handle = attached("llama", "causal-lm")
    model: Any = handle.model
    batch = batch_of(handle, TEXTS[:2], "left")
    options = {
        "max_new_tokens": 4,
        "do_sample": False,
        "cache_implementation": "static",
        "disable_compile": True,
    }
    plain = model.generate(**batch, **options)
    with capturing(handle, "attn_pattern") as capture:
        observed = model.generate(**batch, **options)
    assert torch.equal(plain, observed)
    sums = capture["attn_pattern", 0].nansum(-1).transpose(1, 2)[capture.mask]
    assert (sums - 1).abs().max() < 1e-5


def test_sliding_window() -> None:
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, sliding_window=4, max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    attention = dict(enumerate(layer.self_attn for layer in model.model.layers))
    ids = torch.arange(3, 15)[None]
    seen: dict[int, Tensor] = {}
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        with patterns(model.model, attention, seen.__setitem__):
            assert torch.equal(plain, model(input_ids=ids).logits)
    far = torch.ones(12, 12).tril(-4).bool()
    assert seen[0][..., far].sum() == 0
    assert (seen[0].sum(-1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize(("family", "task"), [("bert", "text-classification"), ("llama", "causal-lm")])
def test_eager_mode_is_the_eager_model_and_is_recorded(family: str, task: str) -> None:
    handle = attached(family, task)
    batch = batch_of(handle)
    with capturing(handle, "attn_pattern", mode="eager") as capture:
        logits_of(handle, batch)
    assert capture.mode == "eager"
    assert handle.config._attn_implementation == "sdpa"
    mask = capture.mask
    for layer, reference in enumerate(eager_attentions(handle, batch)):
        pairs = (mask[:, None, :, None] & mask[:, None, None, :]).expand_as(reference)
        assert torch.equal(capture["attn_pattern", layer][pairs], reference[pairs])


@pytest.mark.parametrize("training", [False, True])
def test_a_model_that_is_eager_already(training: bool) -> None:
    handle = attached("bert")
    model: Any = handle.model
    batch = batch_of(handle)
    with capturing(handle, "attn_pattern.0") as reference:
        logits_of(handle, batch)
    model.set_attn_implementation("eager")
    model.train(training)
    torch.manual_seed(3)
    plain = logits_of(handle, batch)
    torch.manual_seed(3)
    with capturing(handle, "attn_pattern.0") as capture:
        observed = logits_of(handle, batch)
    assert torch.equal(plain, observed)
    assert handle.config._attn_implementation == "eager"
    if not training:
        difference = (capture["attn_pattern", 0] - reference["attn_pattern", 0]).nan_to_num()
        assert difference.abs().max() < 1e-6
    sums = capture["attn_pattern", 0].nansum(-1).transpose(1, 2)[capture.mask]
    assert (sums - 1).abs().max() < 1e-5


def test_contexts_may_be_nested_and_closed_in_any_order() -> None:
    handle = attached("gpt2", "causal-lm")
    batch = batch_of(handle)
    plain = logits_of(handle, batch)
    outer = capturing(handle, "attn_pattern.0", "z.0")
    inner = capturing(handle, "attn_pattern")
    first, second = outer.__enter__(), inner.__enter__()
    assert torch.equal(plain, logits_of(handle, batch))
    outer.__exit__(None, None, None)
    assert torch.equal(plain, logits_of(handle, batch))
    inner.__exit__(None, None, None)
    assert handle.config._attn_implementation == "sdpa"
    nothing_global()
    assert (first.n_forwards, second.n_forwards) == (1, 2)
    a, b = first["attn_pattern", 0], second["attn_pattern", 0][: len(first)]
    assert torch.equal(a.nan_to_num(-1), b.nan_to_num(-1))
    with pytest.raises(UsageError, match="close that one first"):
        with capturing(handle, "attn_pattern"), capturing(handle, "attn_pattern", mode="eager"):
            pass
    assert handle.config._attn_implementation == "sdpa"


def test_an_implementation_chosen_meanwhile_stands() -> None:
    handle = attached("bert")
    model: Any = handle.model
    with capturing(handle, "attn_pattern"):
        model.set_attn_implementation("eager")
    assert handle.config._attn_implementation == "eager"
    nothing_global()


def test_an_implementation_of_the_users_own() -> None:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.modeling_utils import AttentionInterface

    handle = attached("bert")
    model: Any = handle.model
    AttentionInterface.register("users_own", sdpa_attention_forward)
    try:
        model.set_attn_implementation("users_own")
        batch = batch_of(handle, TEXTS[:1])
        plain = logits_of(handle, batch)
        with capturing(handle, "attn_pattern") as capture:
            assert torch.equal(plain, logits_of(handle, batch))
        assert handle.config._attn_implementation == "users_own"
        assert (capture["attn_pattern", 0] - eager_attentions(handle, batch)[0]).abs().max() < 1e-6
    finally:
        AttentionInterface._global_mapping.pop("users_own")


def test_nothing_holds_the_model() -> None:
    handle = attached("bert")
    with capturing(handle, "attn_pattern", "resid_post"):
        logits_of(handle, batch_of(handle))
    gone = weakref.ref(handle.model)
    del handle
    gc.collect()
    assert gone() is None


def deberta() -> tuple[Any, dict[int, nn.Module]]:
    config = DebertaV2Config(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        relative_attention=True, pos_att_type=["p2c", "c2p"], max_position_embeddings=64,
    )  # fmt: skip
    model = AutoModelForSequenceClassification.from_config(config).eval()
    return model, dict(enumerate(layer.attention.self for layer in model.deberta.encoder.layer))


def test_a_family_off_the_interface_is_read_natively() -> None:
    model, attention = deberta()
    ids = torch.arange(3, 12)[None]
    assert not on_interface(attention[0])
    seen: dict[int, Tensor] = {}
    with torch.no_grad():
        plain = model(input_ids=ids)
        with patterns(model.deberta, attention, seen.__setitem__) as mode:
            observed = model(input_ids=ids)
            asked = model(input_ids=ids, output_attentions=True)
    assert mode == "native"
    assert torch.equal(plain.logits, observed.logits)
    assert observed.attentions is None
    assert all(torch.equal(seen[layer], asked.attentions[layer]) for layer in attention)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in attention.values())
    with pytest.raises(UsageError, match="does not use transformers' attention interface"):
        resolve_mode(attention, "tee")
    with pytest.raises(UsageError, match="the modes are"):
        resolve_mode(attention, "sdpa")  # type: ignore[arg-type]


def test_eager_weights_that_contradict_the_mask_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = attached("gpt2", "causal-lm")
    import transformers.models.gpt2.modeling_gpt2 as modeling

    honest = modeling.eager_attention_forward

    def forgetful(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
        return honest(module, query, key, value, None, **kwargs)

    monkeypatch.setattr(modeling, "eager_attention_forward", forgetful)
    with pytest.raises(ProofError, match="positions that the model masks"), capturing(handle, "attn_pattern"):
        logits_of(handle, batch_of(handle, TEXTS[:1]))
    assert handle.config._attn_implementation == "sdpa"


class TestMask:
    query = torch.zeros(2, 4, 3, 8)
    key = torch.zeros(2, 2, 5, 8)

    def allowed(self, mask: Any, **options: Any) -> list[list[int]]:
        found = additive_mask(mask, self.query, self.key, **{"causal": True, "sdpa": False, **options})
        assert found is not None
        return (found[0, 0] == 0).int().tolist()

    def test_triangle_behind_a_cache(self) -> None:
        assert self.allowed(None) == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]

    def test_sdpa_aligns_with_the_first_key(self) -> None:
        assert self.allowed(None, sdpa=True) == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]

    def test_padding_and_window(self) -> None:
        padding = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
        assert self.allowed(padding) == [[0, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 1]]
        assert self.allowed(None, window=2) == [[0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 1]]

    def test_bool_becomes_additive_and_float_stays(self) -> None:
        mask = torch.ones(2, 1, 3, 7, dtype=torch.bool)
        mask[..., 4:] = False
        assert self.allowed(mask) == [[1, 1, 1, 1, 0]] * 3
        given = torch.randn(2, 1, 3, 5)
        assert torch.equal(additive_mask(given, self.query, self.key, causal=True, sdpa=True), given)  # type: ignore[arg-type]

    def test_no_mask(self) -> None:
        assert additive_mask(None, self.query, self.key, causal=False, sdpa=True) is None
        one = self.query[:, :, :1]
        assert additive_mask(None, one, self.key, causal=True, sdpa=True) is None

    def test_block_mask(self) -> None:
        class Block:
            @staticmethod
            def mask_mod(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
                return k <= q

        assert self.allowed(Block()) == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]

    def test_unknown(self) -> None:
        with pytest.raises(UsageError, match="mode='eager'"):
            self.allowed("mask")
