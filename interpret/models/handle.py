"""A model with what the package needs to know about it; the model stays the user's own object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, get_args

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from interpret.models.families import Fused, Layout, Side
from interpret.models.openings import Opening, opening_of
from interpret.models.parts import argument_names

Task = Literal[
    "text-classification",
    "token-classification",
    "question-answering",
    "masked-lm",
    "causal-lm",
    "seq2seq-lm",
    "image-classification",
    "audio-classification",
    "ctc",
    "none",
]
TASKS: Final[tuple[Task, ...]] = get_args(Task)
#: Tasks with one row of logits for each example; those of the others stand at every position.
CLASSIFYING: Final[frozenset[Task]] = frozenset({"text-classification", "image-classification", "audio-classification"})

#: Tasks whose outputs can be explained.
ATTRIBUTED: Final[tuple[Task, ...]] = (
    "text-classification", "token-classification", "question-answering", "masked-lm", "causal-lm", "seq2seq-lm",
)  # fmt: skip
#: Tasks whose outputs audits can count: one row of logits for each text.
EXPLAINED: Final[tuple[Task, ...]] = ("text-classification", "causal-lm", "masked-lm")

Modules = tuple[nn.Module, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionRoles:
    """The modules around one attention, one for each block.

    `attention_output` is the output projection, whose input is `z`; `attn_out` is the module whose output is added to
    the stream. `mid` is where the stream after this attention can be read, at its input or output (`mid_side`), and
    empty where attention and mlp run in parallel. With `fused` the modules of `q`, `k` and `v` are one and the same;
    with `used_again` they see the text first and then something else.
    """

    attention: Modules
    attention_output: Modules
    attn_out: Modules
    q: Modules
    k: Modules
    v: Modules
    mid: Modules
    mid_side: Side
    fused: Fused | None
    used_again: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Roles(AttentionRoles):
    """The modules of one stack of blocks; per-layer roles are tuples with one module for each layer.

    A block that serves several layers (ALBERT) stands in them several times. `prefix` is written before the stack's
    sites, "" where the model is one stack; `base` is the model without its head; `stack` the module that is called
    with the inputs and the mask of this stack. `embed` is None where no module's output is just what enters the
    first block. `mlp` is the module whose output is `mlp_out`; `mlp_act` is the mlp's output projection, whose input
    is `mlp_act` (empty where experts share the work); `post_norm` closes a block (empty unless the sum is normed).
    """

    family: str
    prefix: str
    layout: Layout
    config: Any
    base: nn.Module
    stack: nn.Module
    word_embeddings: nn.Embedding | None
    embed: nn.Module | None
    blocks: Modules
    mlp: Modules
    mlp_act: Modules
    post_norm: Modules
    final_norm: nn.Module | None
    cross: AttentionRoles | None

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def n_heads(self) -> int:
        return int(getattr(self.config, self.layout.n_heads))

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
    def is_causal(self) -> bool:
        """Whether attention within this stack only looks back."""
        return self.layout.causal or bool(not self.prefix and getattr(self.config, "is_decoder", False))

    def of(self, cross: bool) -> AttentionRoles:
        """Attention within the stack, or from it to the encoder."""
        if not cross:
            return self
        assert self.cross is not None
        return self.cross


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
    computed in. `roles` are those of the stack that makes the output (the decoder of an encoder-decoder, the text
    tower of CLIP), `stacks` all of them, in the order they run in.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase | None
    #: What turns images or sound into inputs.
    processor: Any
    task: Task
    stacks: tuple[Roles, ...]
    name: str
    revision: str | None
    adapter: str | None
    remote_code: bool
    saved_dtype: str
    run_dtype: str
    max_length: int
    source: str | None

    @property
    def roles(self) -> Roles:
        """The stack that makes the output."""
        return self.stacks[-1]

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
        """Where inputs go: with a device map the first module of the model says, for its weights may be elsewhere."""
        hook = getattr(self.core, "_hf_hook", None)
        execution = getattr(hook, "execution_device", None)
        if getattr(self.core, "hf_device_map", None) and execution is not None:
            return torch.device("cuda", execution) if isinstance(execution, int) else torch.device(execution)
        return next(self.stacks[0].base.parameters()).device

    @cached_property
    def without_cache(self) -> dict[str, bool]:
        """What a forward is told so that it fills no cache of keys and values; nothing where it has none."""
        return {"use_cache": False} if "use_cache" in argument_names(self.core) else {}

    @property
    def run_torch_dtype(self) -> torch.dtype:
        """What activations are computed in."""
        found: torch.dtype = getattr(torch, self.run_dtype)
        return found

    def stack(self, prefix: str) -> Roles | None:
        """The stack that sites with this prefix belong to; None where the model has none such."""
        wanted = "decoder" if prefix == "cross" else prefix
        found = next((stack for stack in self.stacks if stack.prefix == wanted), None)
        return None if found is None or (prefix == "cross" and found.cross is None) else found

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What is written before the sites of each stack; `cross` stands after the decoder."""
        names: list[str] = []
        for stack in self.stacks:
            names += [stack.prefix] if stack.cross is None else [stack.prefix, "cross"]
        return tuple(names)

    @property
    def layers(self) -> dict[str, int]:
        """Number of layers for each prefix."""
        return {prefix: stack.n_layers for prefix in self.prefixes if (stack := self.stack(prefix)) is not None}

    @property
    def n_layers(self) -> int:
        return self.roles.n_layers

    @property
    def n_heads(self) -> int:
        return self.roles.n_heads

    @property
    def n_kv_heads(self) -> int:
        return self.roles.n_kv_heads

    @property
    def d_model(self) -> int:
        return self.roles.d_model

    @property
    def d_head(self) -> int:
        return self.roles.d_head

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits; empty for models that do not classify whole examples."""
        if self.task not in CLASSIFYING:
            return ()
        names = self.config.id2label
        return tuple(str(names[index]) for index in range(len(names)))

    @property
    def label2id(self) -> dict[str, int]:
        return {label: index for index, label in enumerate(self.labels)}

    @property
    def vocab_size(self) -> int:
        words = self.roles.word_embeddings
        return 0 if words is None else int(words.num_embeddings)

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
        return self.roles.is_causal

    @property
    def pad_id(self) -> int | None:
        """The padding id the model itself uses, else the tokenizer's, else None."""
        return _first(getattr(self.config, "pad_token_id", None), getattr(self.tokenizer, "pad_token_id", None))

    @property
    def end_id(self) -> int | None:
        """The token at the last of which an encoder-decoder reads off the class of a text; None for other models.

        T5, BART and their kin refuse a batch whose rows do not all hold the same number of them.
        """
        if self.task != "text-classification" or len(self.stacks) < 2:
            return None
        found = getattr(self.config, "eos_token_id", None)
        return found if isinstance(found, int) else None

    @property
    def opening(self) -> Opening:
        """What the decoder of an encoder-decoder begins with; asked again each time, for the language may be set."""
        return opening_of(self.core, self.tokenizer, self.pad_id)

    @property
    def decoder_start_id(self) -> int:
        """The token that the decoder of an encoder-decoder is given first."""
        return self.opening.start

    @property
    def decoder_positions(self) -> int | None:
        """How many tokens the decoder of an encoder-decoder reads; None where the model counts positions relatively."""
        config = getattr(self.config, "decoder", None) or self.config
        names = ("max_decoder_position_embeddings", "max_position_embeddings")
        found = _first(*(getattr(config, name, None) for name in names))
        if found is None or found < 1:
            return None
        return found - (_first(config.pad_token_id, 1) or 0) - 1 if self.roles.layout.positions_after_padding else found

    def n_forced(self, written: Sequence[int]) -> int:
        """How many of the first tokens written were no choice of the model, such as the language of a translation.

        One of two tokens at least is its own.
        """
        return int(self.task == "seq2seq-lm" and len(written) > 1 and written[0] == self.opening.forced)

    @property
    def mask_id(self) -> int | None:
        return _first(getattr(self.tokenizer, "mask_token_id", None))


def _first(*candidates: Any) -> int | None:
    return next((int(candidate) for candidate in candidates if candidate is not None), None)
