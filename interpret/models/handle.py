"""A model with what the package needs to know about it; the model stays the user's own object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

Task = Literal["text-classification", "causal-lm", "masked-lm", "none"]
TASKS: Final[tuple[Task, ...]] = get_args(Task)


@dataclass(frozen=True, eq=False)
class Roles:
    """The modules that sites are read at; per-layer roles are tuples with one module per block.

    `mid` is where the stream between attention and mlp can be read, at its input or its output (`mid_side`).
    `mlp` is the module whose output is `mlp_out`; `mlp_act` is the mlp's output projection, whose input is
    `mlp_act` (empty where experts share the work). With `fused_qkv` the modules of `q`, `k` and `v` are one
    and the same. `sinks`: attention rows sum to less than one.
    """

    family: str
    kind: Literal["encoder", "decoder"]
    base: nn.Module
    word_embeddings: nn.Embedding
    embed: nn.Module
    blocks: tuple[nn.Module, ...]
    attention: tuple[nn.Module, ...]
    attention_output: tuple[nn.Module, ...]
    q: tuple[nn.Module, ...]
    k: tuple[nn.Module, ...]
    v: tuple[nn.Module, ...]
    mid: tuple[nn.Module, ...]
    mid_side: Literal["input", "output"]
    mlp: tuple[nn.Module, ...]
    mlp_act: tuple[nn.Module, ...]
    final_norm: nn.Module | None
    fused_qkv: bool = False
    sinks: bool = False
    positions_after_padding: bool = False


def unwrapped(model: nn.Module) -> nn.Module:
    """The transformers model inside a PEFT wrapper, or the model itself."""
    inner = getattr(model, "get_base_model", None)
    if inner is None or not hasattr(model, "peft_config"):
        return model
    found: nn.Module = inner()
    return found


@dataclass(frozen=True, eq=False)
class Handle:
    """One model, its tokenizer and its resolved parts.

    `name` is a hub id or the last part of a path. `source` is what `load` was given: it may be private and
    belongs into no result. `saved_dtype` is what the weights are stored in, `run_dtype` what they are
    computed in.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase | None
    task: Task
    roles: Roles
    name: str
    revision: str | None
    adapter: str | None
    remote_code: bool
    saved_dtype: str
    run_dtype: str
    max_length: int
    source: str | None

    @property
    def core(self) -> nn.Module:
        """The transformers model without a PEFT wrapper."""
        return unwrapped(self.model)

    @property
    def config(self) -> Any:
        return self.core.config

    @property
    def architecture(self) -> str:
        return type(self.core).__name__

    @property
    def device(self) -> torch.device:
        device: torch.device = self.roles.word_embeddings.weight.device
        return device

    @property
    def n_layers(self) -> int:
        return len(self.roles.blocks)

    @property
    def n_heads(self) -> int:
        return int(self.config.num_attention_heads)

    @property
    def n_kv_heads(self) -> int:
        return int(getattr(self.config, "num_key_value_heads", None) or self.n_heads)

    @property
    def d_model(self) -> int:
        return int(self.config.hidden_size)

    @property
    def d_head(self) -> int:
        return int(getattr(self.config, "head_dim", None) or self.d_model // self.n_heads)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits; empty for models that do not classify."""
        if self.task != "text-classification":
            return ()
        names = self.config.id2label
        return tuple(str(names[index]) for index in range(len(names)))

    @property
    def label2id(self) -> dict[str, int]:
        return {label: index for index, label in enumerate(self.labels)}

    @property
    def vocab_size(self) -> int:
        return int(self.roles.word_embeddings.num_embeddings)

    @property
    def vocabulary(self) -> dict[str, int]:
        """Pieces of text to token ids; empty without a tokenizer."""
        return {} if self.tokenizer is None else dict(self.tokenizer.get_vocab())

    @property
    def n_parameters(self) -> int:
        """Parameters, shared ones once, adapters included."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def attn_implementation(self) -> str:
        return str(getattr(self.config, "_attn_implementation", None) or "eager")

    @property
    def is_decoder(self) -> bool:
        """Whether attention is causal."""
        return self.roles.kind == "decoder" or bool(getattr(self.config, "is_decoder", False))

    @property
    def pad_id(self) -> int | None:
        """The padding id the model itself uses, else the tokenizer's, else None."""
        return _first(self.config.pad_token_id, getattr(self.tokenizer, "pad_token_id", None))

    @property
    def mask_id(self) -> int | None:
        return _first(getattr(self.tokenizer, "mask_token_id", None))


def _first(*candidates: Any) -> int | None:
    return next((int(candidate) for candidate in candidates if candidate is not None), None)
