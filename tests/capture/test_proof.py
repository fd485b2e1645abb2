"""The proof must fail on a model whose sites are not what they are called."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import BertConfig, BertModel, GptOssConfig, GptOssForCausalLM

from interpret.capture.capture import capture_texts, capturing
from interpret.capture.proof import TOLERANCE, prove
from interpret.errors import ProofError
from interpret.models.inputs import encode
from interpret.models.load import attach_handle
from tests.capture.support import attached, batch_of, logits_of, nothing_global, same_state, state_of
from tests.tiny import TEXTS, tiny


def altered(handle: Any, **roles: Any) -> Any:
    return dataclasses.replace(handle, stacks=(dataclasses.replace(handle.roles, **roles),))


def test_values_that_are_keys() -> None:
    handle = attached("bert")
    before = state_of(handle.model)
    with pytest.raises(ProofError, match="attn_pattern @ v should be z"):
        prove(altered(handle, v=handle.roles.k))
    same_state(before, state_of(handle.model))


def test_a_site_that_leads_nowhere() -> None:
    handle = attached("bert")

    def forget(_: nn.Module, args: Any, output: Any) -> Any:
        output.pooler_output = torch.ones_like(output.pooler_output)
        output.last_hidden_state = torch.ones_like(output.last_hidden_state)
        return output

    handle.roles.base.register_forward_hook(forget)
    with pytest.raises(ProofError, match=r"overwriting z\.0 .* left the output as it was"):
        prove(handle)


def test_a_block_that_nothing_reads() -> None:
    handle = attached("bert")
    unused = nn.Identity()
    handle.roles.blocks[0].register_forward_hook(lambda _, args, output: (unused(output), output)[1])
    with pytest.raises(ProofError, match="resid_mid should be the stream before it and what is added, normed"):
        prove(altered(handle, blocks=(unused, handle.roles.blocks[1])))


def test_an_mlp_that_is_another() -> None:
    handle = attached("llama")
    with pytest.raises(ProofError, match="resid_post should be the stream before it and what is added"):
        prove(altered(handle, mlp=handle.roles.mlp[::-1]))


def test_another_width() -> None:
    handle = attached("bert")
    with pytest.raises(ProofError, match=r"mlp_out\.0 .* should have shape \(2, 9, 32\), but has \(2, 9, 64\)"):
        prove(altered(handle, mlp=tuple(block.intermediate for block in handle.roles.blocks)))


def test_a_model_that_notices() -> None:
    handle = attached("bert")
    calls: list[int] = []

    def drift(_: nn.Module, args: Any, output: Tensor) -> Tensor:
        calls.append(1)
        return output + 1e-6 * len(calls)

    handle.roles.embed.register_forward_hook(drift)
    with pytest.raises(ProofError, match="which must be exactly 0"):
        prove(handle)


def test_an_output_that_is_not_finite() -> None:
    handle = attached("bert")
    with torch.no_grad():
        handle.roles.word_embeddings.weight.fill_(float("inf"))
    with pytest.raises(ProofError, match="is not finite"):
        prove(handle)


def test_a_causal_model_that_looks_ahead() -> None:
    handle = attached("bert")
    with pytest.raises(ProofError, match="the future"):
        prove(altered(handle, layout=handle.roles.layout._replace(causal=True)))
    assert handle.config._attn_implementation == "sdpa"
    nothing_global()


def test_random_streams_and_training_mode_are_kept_also_when_it_fails() -> None:
    handle = attached("bert")
    handle.model.train()
    before = state_of(handle.model)
    assert prove(handle).n_tokens == 15
    same_state(before, state_of(handle.model))
    with pytest.raises(ProofError):
        prove(altered(handle, v=handle.roles.k))
    same_state(before, state_of(handle.model))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_other_dtypes(family: str, dtype: torch.dtype) -> None:
    model, tokenizer = tiny(family)
    proof = prove(attach_handle(model.to(dtype), tokenizer))
    assert proof.tolerance == TOLERANCE[str(dtype).removeprefix("torch.")]


def test_without_tokenizer_head_or_padding() -> None:
    bare = BertModel(BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=4))
    handle = attach_handle(bare, None)
    assert handle.task == "none"
    assert "logits" not in prove(handle).sites
    model, _ = tiny("gpt2")
    assert model.config.pad_token_id is None
    assert prove(attach_handle(model, None)).n_tokens == 9


def test_attention_sinks() -> None:
    torch.manual_seed(0)
    config = GptOssConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8,
        intermediate_size=32, num_local_experts=2, num_experts_per_tok=1, max_position_embeddings=64,
        initializer_range=0.3,
    )  # fmt: skip
    model = GptOssForCausalLM(config).eval()
    handle = attach_handle(model, None)
    proof = prove(handle)
    assert proof.row_sum_error is None
    assert "mlp_act" not in proof.sites
    with capturing(handle, "attn_pattern.0") as capture, torch.no_grad():
        model(input_ids=torch.arange(3, 12)[None])
    sums = capture["attn_pattern", 0].sum(-1)
    assert (sums > 0).all()
    assert (sums < 0.999).any()


@pytest.mark.parametrize("task", ["text-classification", "causal-lm"])
def test_adapters(task: str) -> None:
    model, tokenizer = tiny("llama", task)
    kind = {"text-classification": "SEQ_CLS", "causal-lm": "CAUSAL_LM"}[task]
    adapted = get_peft_model(
        model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type=kind, init_lora_weights=False)
    )
    handle = attach_handle(adapted.eval(), tokenizer)
    assert prove(handle).z_error < 1e-5
    batch = batch_of(handle)
    plain = logits_of(handle, batch)
    with capturing(handle, "q.0", "logits", "attn_pattern") as capture:
        assert torch.equal(plain, logits_of(handle, batch))
    with capturing(handle, "q.0") as without, adapted.disable_adapter():
        logits_of(handle, batch)
    assert not torch.equal(capture["q", 0].nan_to_num(), without["q", 0].nan_to_num())


def test_an_adapter_around_a_model_without_head() -> None:
    config = BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=4)
    adapted = get_peft_model(BertModel(config), LoraConfig(r=2, target_modules=["query"]))
    handle = attach_handle(adapted.eval(), None)
    with capturing(handle, "resid_post", "attn_pattern") as capture, torch.no_grad():
        adapted(input_ids=torch.arange(3, 9)[None])
    assert len(capture) == 1
    prove(handle)


def test_captured_twice_is_the_same() -> None:
    handle = attached("roberta")
    encoded = encode(handle, list(TEXTS))
    one, two = (capture_texts(handle, encoded, ["resid_post.1", "attn_pattern.1"]) for _ in range(2))
    for key in one:
        assert torch.equal(one[key].nan_to_num(), two[key].nan_to_num())
