"""Model types without a row: read by the names of their parts and proven, or refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as t

from interpret.capture.proof import prove
from interpret.errors import LoadError, ProofError
from interpret.models.families import BY_MODEL_TYPE
from interpret.models.load import attach_handle
from tests.tiny import seeded

SIZES: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 64,
}  # fmt: skip
GROUPED = {**SIZES, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
IMAGES = {**{name: size for name, size in SIZES.items() if "vocab" not in name and "position" not in name},
          "image_size": 12, "patch_size": 4}  # fmt: skip

#: Read by structure and proven.
PROVEN: dict[str, Any] = {
    "phi3": lambda: t.AutoModelForCausalLM.from_config(t.Phi3Config(**GROUPED)),
    "olmo": lambda: t.AutoModelForCausalLM.from_config(t.OlmoConfig(**GROUPED)),
    "starcoder2": lambda: t.AutoModelForCausalLM.from_config(t.Starcoder2Config(**GROUPED)),
    "stablelm": lambda: t.AutoModelForCausalLM.from_config(t.StableLmConfig(**GROUPED)),
    "gemma": lambda: t.AutoModelForCausalLM.from_config(t.GemmaConfig(**GROUPED, head_dim=8)),
    "mixtral": lambda: t.AutoModelForCausalLM.from_config(t.MixtralConfig(**GROUPED, num_local_experts=2)),
    "deit": lambda: t.DeiTForImageClassification(t.DeiTConfig(**IMAGES)),
    "hubert": lambda: t.AutoModelForCTC.from_config(
        t.HubertConfig(**{**SIZES, "conv_dim": (8,), "conv_kernel": (10,), "conv_stride": (5,),
                          "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2})
    ),
}  # fmt: skip
#: Refused, and a word of the reason.
REFUSED: dict[str, tuple[Any, str]] = {
    # Adds a fraction of what its parts write.
    "granite": (
        lambda: t.AutoModelForCausalLM.from_config(t.GraniteConfig(**GROUPED, residual_multiplier=0.3)),
        "should be the stream before it and what is added",
    ),
    # Its mlp sees all tokens of a batch in one row.
    "opt": (
        lambda: t.AutoModelForCausalLM.from_config(
            t.OPTConfig(vocab_size=60, hidden_size=32, word_embed_proj_dim=32, num_hidden_layers=2, ffn_dim=64,
                        num_attention_heads=4, max_position_embeddings=64)
        ),
        r"mlp_act\.0 of OPTForCausalLM should have axes example, position, d_mlp, but has shape \(\d+, 64\)",
    ),
    "swin": (
        lambda: t.AutoModelForImageClassification.from_config(
            t.SwinConfig(image_size=16, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=2)
        ),
        "of no known family",
    ),
    "mamba": (
        lambda: t.AutoModelForCausalLM.from_config(t.MambaConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2)),
        "of no known family",
    ),
    "blenderbot": (
        lambda: t.AutoModelForSeq2SeqLM.from_config(
            t.BlenderbotConfig(vocab_size=60, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
                            decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64)
        ),
        "encoder-decoders are read by their rows only",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROVEN)
def test_a_guess_is_proven(name: str) -> None:
    model = seeded(PROVEN[name], 0).eval()
    assert model.config.model_type not in BY_MODEL_TYPE
    handle = attach_handle(model, None)
    proof = prove(handle)
    assert proof.z_error < 1e-5
    assert proof.stream_error < 1e-5
    assert "attn_pattern" in proof.sites


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_as_it_looks_is_refused_with_the_reason(name: str) -> None:
    make, says = REFUSED[name]
    model = seeded(make, 0).eval()
    with pytest.raises((LoadError, ProofError), match=says):
        prove(attach_handle(model, None))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.is_grad_enabled()
