"""A small input that a model can run on, made without its tokenizer or processor: ordinary, fixed, never drawn."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from interpret.models.batching import Row, collate
from interpret.models.handle import Handle, Roles

_N_TOKENS: Final = 9
_N_EXAMPLES: Final = 2


def specimen(handle: Handle) -> dict[str, Any]:
    """Arguments of one forward of two examples; of texts the second is shorter where the model can take padding."""
    batch: dict[str, Any] = {}
    for roles in handle.stacks:
        match roles.layout.modality:
            case "image":
                batch["pixel_values"] = _image(roles)
            case "audio":
                name, value = _sound(handle, roles)
                batch[name] = value
            case "text":
                batch |= _text(handle, roles)
    batch = {name: value.to(handle.device) for name, value in batch.items()}
    for name in ("pixel_values", "input_values", "input_features"):
        if name in batch:
            batch[name] = batch[name].to(handle.run_torch_dtype)
    return batch | handle.without_cache


def _text(handle: Handle, roles: Roles) -> dict[str, Tensor]:
    reads_text = handle.stacks[0].layout.modality == "text"
    if roles.prefix == "decoder" and reads_text and handle.task != "seq2seq-lm" and handle.task != "none":
        # The head of a classifier gives the decoder the text itself.
        return {}
    ids = _ids(handle, roles)
    rows = [Row(ids)]
    causal = roles.prefix == "" and roles.is_causal
    if not (handle.task == "text-classification" and causal and handle.config.pad_token_id is None):
        rows.append(Row((*ids[-2::-1][: max(1, len(ids) - 4)], ids[-1])))
    else:
        rows = rows[:1]
    batch = collate(handle, rows)
    if roles.prefix != "decoder":
        return batch
    return {"decoder_input_ids": batch["input_ids"], "decoder_attention_mask": batch["attention_mask"]}


def _ids(handle: Handle, roles: Roles) -> tuple[int, ...]:
    config = roles.config
    named = [getattr(config, f"{name}_token_id", None) for name in ("pad", "bos", "eos", "sep", "cls")]
    special = {i for item in named for i in (item if isinstance(item, list) else [item])}
    special |= set(getattr(handle.tokenizer, "all_special_ids", ()))
    assert roles.word_embeddings is not None
    # Spread over the vocabulary instead of drawn: nothing random is needed, and embeddings differ.
    n_tokens = max(2, min(_N_TOKENS, handle.max_length))
    n_words = int(roles.word_embeddings.num_embeddings)
    ordinary = [i for i in range(n_words) if i not in special] or [0]
    ids = [ordinary[(index * 2 + 1) * len(ordinary) // (2 * n_tokens)] for index in range(n_tokens)]
    eos = getattr(config, "eos_token_id", None)
    if roles.prefix == "encoder" and isinstance(eos, int) and eos < n_words:
        # Heads of encoder-decoders read the text where it ends.
        ids[-1] = eos
    return tuple(ids)


def _wave(*shape: int) -> Tensor:
    n = 1
    for size in shape:
        n *= size
    return torch.sin(torch.arange(n, dtype=torch.float32) * 0.37).view(shape)


def _image(roles: Roles) -> Tensor:
    size = roles.config.image_size
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    return _wave(_N_EXAMPLES, int(getattr(roles.config, "num_channels", 3)), height, width)


def _sound(handle: Handle, roles: Roles) -> tuple[str, Tensor]:
    name = str(getattr(handle.core, "main_input_name", "input_values"))
    config = roles.config
    if name == "input_features":
        return name, _wave(_N_EXAMPLES, int(config.num_mel_bins), 2 * int(config.max_source_positions))
    n_samples = 16
    while n_samples < 2**20 and _n_frames(handle, n_samples) < _N_TOKENS:
        n_samples *= 2
    return name, _wave(_N_EXAMPLES, n_samples)


def _n_frames(handle: Handle, n_samples: int) -> int:
    count: Any = getattr(handle.roles.base, "_get_feat_extract_output_lengths", None)
    return _N_TOKENS if count is None else int(count(n_samples))
