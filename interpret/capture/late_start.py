"""A forward that begins in the middle: the first blocks are passed over, and the stream after them is given.

    with from_layer(handle, 3, stream):            # stream: what resid_post.2 held, [row or 1, position, d_model]
        model(**batch)                             # embeddings, then blocks 3, 4, ..., then the norm and the head

What comes after the blocks is the model's own code, so with all blocks passed over the same reads the stream of any
layer by the model's own head. Hooks on a block that is passed over still run: an edit of "resid_post.2" changes the
given stream.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from interpret.capture.threads import here
from interpret.models.batching import Row, collate
from interpret.models.handle import Handle
from interpret.models.state import untouched

_ABSENT = object()


@contextmanager
def from_layer(handle: Handle, n_skipped: int, stream: Tensor) -> Iterator[None]:
    """Pass over the first `n_skipped` blocks of a model with one stack, and go on with `stream` after them.

    The blocks' `forward` is set aside on the instances and put back as it was, also after an exception.

    Args:
        handle: a model for which `refusal` has nothing to say.
        n_skipped: blocks to pass over, 0 to all of them.
        stream: `resid_post` of the last of them, [row, position, d_model]; one row serves all rows of a batch.
    """
    with ExitStack() as stack:
        for number, block in enumerate(handle.roles.blocks[:n_skipped]):
            given = stream if number == n_skipped - 1 else None
            stack.callback(_restore, block, vars(block).get("forward", _ABSENT))
            block.forward = _passing(given, block.forward)
        yield


def _passing(given: Tensor | None, whole: Callable[..., Any]) -> Callable[..., Any]:
    thread = threading.get_ident()

    def forward(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != thread:
            return whole(*args, **kwargs)
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        if given is None:
            return hidden
        return given.to(hidden).expand(len(hidden), *given.shape[1:]).contiguous()

    return forward


def _restore(block: nn.Module, before: Any) -> None:
    if before is _ABSENT:
        del block.forward
    else:
        block.forward = before


def refusal(handle: Handle, row: Row, stream: Tensor) -> str | None:
    """Why a forward of this model cannot begin in the middle; None if it can, which is proven on one row.

    Args:
        handle: the attached model.
        row: what the model reads.
        stream: `resid_post` of all layers of a plain forward of this row, [layer, position, d_model].
    """
    blocks = handle.roles.blocks
    if len(handle.stacks) > 1:
        return "it has several stacks, and one reads what another has made"
    if len(set(blocks)) < len(blocks):
        return "one block serves several of its layers"
    if getattr(handle.core, "hf_device_map", None):
        return "its layers are spread over devices"
    kinds: list[bool] = []
    with untouched(handle.model, handle.tokenizer), torch.no_grad(), ExitStack() as stack:
        batch = collate(handle, [row])
        for block in blocks:
            stack.callback(block.register_forward_hook(here(lambda *a: kinds.append(isinstance(a[2], Tensor)))).remove)
        plain = _logits(handle.model(**batch, **handle.without_cache))
        stack.close()
        if len(kinds) != len(blocks) or not all(kinds):
            return "its blocks hand on more than the stream"
        for n_skipped in sorted({1, len(blocks) // 2, len(blocks)} - {0}):
            with from_layer(handle, n_skipped, stream[n_skipped - 1][None]):
                found = _logits(handle.model(**batch, **handle.without_cache))
            # The same row in the same batch: the same numbers to the last bit.
            if not all(map(torch.equal, found, plain)):
                return f"begun after {n_skipped} of its blocks it gives other logits than from the start"
    return None


def _logits(outputs: Any) -> list[Tensor]:
    """What the heads give; those of a span model give two."""
    return [outputs[name] for name in ("logits", "start_logits", "end_logits") if name in outputs]
