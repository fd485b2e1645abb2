"""SHA-256 digests that say which model, config and tokenizer it was, and whether they are still the same."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import nn

from interpret.models.handle import Handle
from interpret.models.sentencepieces import models_sha256

#: What a config holds besides the model: where it was read from, and who wrote it.
_PRIVATE = ("_name_or_path", "_commit_hash", "transformers_version")


def weights_sha256(model: nn.Module) -> str:
    """Digest over names, shapes, types and bytes of all weights and saved buffers, in name order.

    A weight under two names is counted under both. Where the weights stand in memory, and on which device, is
    not part of it.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        header = [name, list(tensor.shape), str(tensor.dtype)]
        digest.update(json.dumps(header, ensure_ascii=True).encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def config_sha256(handle: Handle) -> str:
    """Digest over the model's config and its attention implementation, without paths and library versions.

    With adapter layers also over how strongly they act and which of them do: that stands in no weight.
    """
    settings = {key: value for key, value in handle.config.to_dict().items() if key not in _PRIVATE}
    adapters = _adapters(handle.model)
    return _digest([settings, handle.attn_implementation, *([adapters] if adapters else [])])


def _adapters(model: nn.Module) -> dict[str, Any]:
    """Of each adapter layer whether it is switched off, which adapters are active, and by what they are scaled."""
    return {
        name: [bool(module._disable_adapters), module.active_adapters, getattr(module, "scaling", None)]
        for name, module in model.named_modules()
        if hasattr(module, "_disable_adapters") and hasattr(module, "active_adapters")
    }


def tokenizer_sha256(handle: Handle) -> str:
    """Digest over the tokenizer's rules and vocabulary, without padding and truncation of the last call."""
    tokenizer: Any = handle.tokenizer
    if tokenizer is None:
        return _digest(None)
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    if getattr(tokenizer, "is_fast", False):
        rules = json.loads(tokenizer.backend_tokenizer.to_str())
        rules.pop("truncation", None)
        rules.pop("padding", None)
        return _digest([special, rules])
    # How texts are cut into the entries of the vocabulary stands in the SentencePiece models.
    return _digest([special, tokenizer.get_vocab(), *models_sha256(tokenizer)])


def _digest(value: Any) -> str:
    written = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)
    return hashlib.sha256(written.encode()).hexdigest()
