"""Attached tiny models and padded batches for the tests of this folder and the contract tests."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from interpret.models.handle import Handle
from interpret.models.load import attach_handle
from tests.tiny import FAMILIES, TEXTS, tiny

CASES: Final = [(family, task) for family, tasks in FAMILIES.items() for task in tasks]
DECODERS: Final = [("gpt2", "causal-lm"), ("llama", "causal-lm")]

#: The tee against the model's own eager run: the inputs of the second layer already differ by rounding.
PATTERN_TOLERANCE: Final = 1e-6
#: Alone against padded, fp32.
PADDING_TOLERANCE: Final = 1e-4


def attached(family: str, task: str = "text-classification", *, padding: bool = True) -> Handle:
    """A tiny model of one family; GPT-2 gets a padding token, because without one it cannot batch."""
    model, tokenizer = tiny(family, task)
    if padding and tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id
    return attach_handle(model, tokenizer)


def batch_of(handle: Handle, texts: list[str] | tuple[str, ...] = TEXTS[:4], side: str = "right") -> dict[str, Tensor]:
    assert handle.tokenizer is not None
    handle.tokenizer.padding_side = side
    return dict(handle.tokenizer(list(texts), return_tensors="pt", padding=True))


def logits_of(handle: Handle, batch: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        found: Tensor = handle.model(**batch).logits
    return found


def eager_attentions(handle: Handle, batch: dict[str, Any]) -> tuple[Tensor, ...]:
    """The patterns of a second, eager model with the same weights: the model under test is not switched."""
    model: Any = type(handle.model)._from_config(
        handle.config.__class__(**handle.config.to_dict()), attn_implementation="eager"
    )
    model.load_state_dict(handle.model.state_dict())
    with torch.no_grad():
        found: tuple[Tensor, ...] = model.eval()(**batch, output_attentions=True).attentions
    return found


def state_of(model: nn.Module) -> dict[str, Any]:
    """Everything observing must leave alone, comparable with `same_state`."""
    return {
        "weights": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "training": [module.training for module in model.modules()],
        "config": model.config.to_json_string(use_diff=False),
        "attention": [m.config._attn_implementation for m in model.modules() if hasattr(m, "config")],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "hooks": [_hook_ids(module) for module in model.modules()],
        "rng": torch.get_rng_state(),
    }


def same_state(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name in ("training", "config", "attention", "requires_grad", "hooks"):
        assert before[name] == after[name], name
    assert torch.equal(before["rng"], after["rng"])
    assert before["weights"].keys() == after["weights"].keys()
    for name, tensor in before["weights"].items():
        assert torch.equal(tensor, after["weights"][name]), name


def nothing_global() -> None:
    """No registration of ours is left in transformers."""
    from transformers.masking_utils import AttentionMaskInterface
    from transformers.modeling_utils import AttentionInterface

    for interface in (AttentionInterface, AttentionMaskInterface):
        assert not [key for key in interface._global_mapping if "interpret" in key]


def _hook_ids(module: nn.Module) -> tuple[tuple[int, ...], ...]:
    return (
        tuple(module._forward_hooks),
        tuple(module._forward_pre_hooks),
        tuple(module._forward_hooks_with_kwargs),
        tuple(module._forward_pre_hooks_with_kwargs),
        tuple(module._backward_hooks),
    )
