from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, Qwen3Config, T5Config, T5ForConditionalGeneration

from interpret.errors import LoadError, ProofError
from interpret.models.families import BY_MODEL_TYPE, FAMILIES
from interpret.models.load import attach_handle
from interpret.models.resolve import prove, resolve, widths
from tests.tiny import DECODER_TASKS, TEXTS, tiny
from tests.tiny import FAMILIES as TINY

CASES = [(family, task) for family, tasks in TINY.items() for task in tasks]


@pytest.mark.parametrize(("family", "task"), CASES)
def test_every_role_is_found_in_every_block(family: str, task: str) -> None:
    model, tokenizer = tiny(family, task)
    handle = attach_handle(model, tokenizer)
    roles = handle.roles
    assert roles.family == family
    assert handle.task == task
    assert handle.is_decoder == (TINY[family] == DECODER_TASKS)
    for name in ("blocks", "attention", "attention_output", "q", "k", "v", "mid", "mlp", "mlp_act"):
        modules = getattr(roles, name)
        assert len(modules) == 2, name
        assert len(set(modules)) == 2, name
    assert roles.word_embeddings is model.get_input_embeddings()
    assert (roles.final_norm is not None) == handle.is_decoder
    n_kv_heads = 2 if family == "llama" else 4
    d_mlp = 128 if family == "gpt2" else 64
    assert prove(handle) == {"": (2, 4, n_kv_heads, 32, 8, d_mlp)}


@pytest.mark.parametrize(("family", "task"), CASES)
def test_embed_output_is_what_the_first_block_reads(family: str, task: str) -> None:
    # Read here with plain forwards of the modules, because hooks belong to the capture package.
    model, tokenizer = tiny(family, task)
    (roles,) = resolve(model)
    seen = {}
    for name, module in (("embed", roles.embed), ("mid", roles.mid[0]), ("block", roles.blocks[0])):
        original = module.forward

        def spy(*args: object, _name: str = name, _original: object = original, **kwargs: object) -> object:
            out = _original(*args, **kwargs)  # type: ignore[operator]
            seen[_name] = (args[0] if args else None, out)
            return out

        module.forward = spy  # type: ignore[method-assign]
    with torch.no_grad():
        model(**tokenizer(TEXTS[0], return_tensors="pt"))
    assert torch.equal(seen["embed"][1], seen["block"][0])
    side = seen["mid"][0] if roles.mid_side == "input" else seen["mid"][1]
    assert side.shape == seen["block"][0].shape


def test_a_model_type_without_a_row_is_resolved_by_its_structure() -> None:
    config = Qwen3Config(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
    )
    model = AutoModelForCausalLM.from_config(config)
    config.model_type = "newcomer"
    assert [roles.family for roles in resolve(model)] == ["llama"]


def test_an_unknown_structure_says_what_was_tried() -> None:
    model, _ = tiny("llama", "causal-lm")
    model.config.model_type = "newcomer"
    for block in model.model.layers:
        block.mixer = block.self_attn
        del block.self_attn
    with pytest.raises(LoadError) as caught:
        resolve(model)
    for family in FAMILIES:
        assert not family.children or f"{family.name} (no " in str(caught.value)
    assert "no attention with queries, keys and values in a block made of" in str(caught.value)
    assert "known model types are" in str(caught.value)


def test_a_known_family_that_lost_a_part_says_which() -> None:
    model, _ = tiny("bert")
    del model.bert.encoder.layer[1].attention.self.value
    with pytest.raises(LoadError, match=r"attention\.self\.value"):
        resolve(model)


def test_encoder_decoders_have_a_stack_for_each_half() -> None:
    config = T5Config(vocab_size=50, d_model=16, d_kv=4, d_ff=32, num_layers=1, num_decoder_layers=2, num_heads=4)
    model = T5ForConditionalGeneration(config)
    encoder, decoder = resolve(model)
    assert (encoder.prefix, encoder.n_layers, encoder.cross, encoder.is_causal) == ("encoder", 1, None, False)
    assert (decoder.prefix, decoder.n_layers, decoder.is_causal) == ("decoder", 2, True)
    assert decoder.cross is not None
    model.config.model_type = "newcomer"
    with pytest.raises(LoadError, match="encoder-decoders are read by their rows only"):
        resolve(model)


def test_a_module_that_is_no_transformers_model_is_refused() -> None:
    with pytest.raises(LoadError, match="no config"):
        resolve(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": 3}, "3 layers"),
        ({"num_attention_heads": 5, "num_key_value_heads": 5}, "maps 32 to 32"),
        ({"num_key_value_heads": 3}, "evenly"),
        ({"hidden_size": 48}, "stream of 48"),
    ],
)
def test_a_config_that_disagrees_with_the_weights_fails_the_proof(change: dict[str, int], words: str) -> None:
    model, tokenizer = tiny("llama")
    handle = attach_handle(model, tokenizer)
    for name, value in change.items():
        setattr(model.config, name, value)
    with pytest.raises(ProofError, match=words):
        prove(handle)


def test_a_narrow_mlp_fails_the_proof() -> None:
    model, tokenizer = tiny("distilbert")
    handle = attach_handle(model, tokenizer)
    broken = dataclasses.replace(handle.roles, mlp_act=(nn.Linear(64, 8), nn.Linear(64, 8)))
    with pytest.raises(ProofError, match="writes width 8"):
        prove(dataclasses.replace(handle, stacks=(broken,)))


def test_rows_do_not_share_model_types() -> None:
    assert len(BY_MODEL_TYPE) == sum(len(family.model_types) for family in FAMILIES)


def test_widths_see_through_adapters_and_conv1d() -> None:
    model, _ = tiny("gpt2")
    assert widths(model.transformer.h[0].attn.c_attn) == (32, 96)
    assert widths(nn.Linear(3, 5)) == (3, 5)
    assert widths(nn.GELU()) is None


def test_peft_wrapping_keeps_the_roles() -> None:
    peft = pytest.importorskip("peft")
    model, tokenizer = tiny("bert")
    settings = peft.LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS")
    wrapped = peft.get_peft_model(model, settings)
    handle = attach_handle(wrapped, tokenizer)
    assert handle.model is wrapped
    assert handle.core is model
    assert handle.task == "text-classification"
    assert handle.adapter == "default"
    assert hasattr(handle.roles.q[0], "lora_A")
    assert prove(handle)[""].d_mlp == 64
