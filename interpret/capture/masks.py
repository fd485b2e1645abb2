"""What a model's attention was told not to look at, as a mask to add to scores, and whether weights kept to it."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from interpret.capture.reduction import Rows, take_rows
from interpret.errors import ProofError, UsageError

#: What is added to a score at least where it is not to count.
MASKED: Final = -1e4


def additive_mask(
    mask: Any, query: Tensor, key: Tensor, *, causal: bool, sdpa: bool, window: int | None = None, rows: Rows = None
) -> Tensor | None:
    """Say what the model's own implementation was told, as a float mask to add to the scores.

    Args:
        mask: the mask the model passed: None, bool or float `[example, 1, query, key]`, flash's `[example,
            key]`, or a flex block mask.
        query: `[example, head, query, d_head]`.
        key: `[example, kv_head, key, d_head]`.
        causal: whether a missing mask means "no attention to the future".
        sdpa: whether the model runs sdpa, which aligns the triangle with the first key; the others align it
            with the last.
        window: width of a sliding window, where only the kernel knows it.
        rows: the query positions to say it for; None for all.

    """
    n_query, n_key = query.shape[2], key.shape[2]
    device = query.device
    allowed: Tensor
    if isinstance(mask, Tensor) and mask.ndim == 4:
        allowed = mask[..., :n_key]
        if rows is not None and allowed.shape[2] > 1:
            allowed = take_rows(allowed, rows)
        if allowed.dtype != torch.bool:
            return allowed
    elif mask is None or isinstance(mask, Tensor):
        if mask is None and (not causal or n_query == 1) and window is None:
            return None
        # sdpa gets no mask only when queries and keys start together; an empty static cache is longer.
        offset = 0 if sdpa and n_query > 1 else n_key - n_query
        at = torch.arange(n_query, device=device).view(1, 1, -1, 1)
        at = at if rows is None else take_rows(at, rows)
        distance = at + offset - torch.arange(n_key, device=device)
        allowed = distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)
        if window is not None and not sdpa:
            allowed = allowed & (distance.abs() < window if causal else distance.abs() <= window)
        if mask is not None:
            allowed = allowed & mask.bool()[:, None, None, -n_key:]
    elif hasattr(mask, "mask_mod"):
        from torch.nn.attention.flex_attention import create_mask

        allowed = create_mask(mask.mask_mod, query.shape[0], None, n_query, n_key, device=device)
        allowed = allowed if rows is None else take_rows(allowed, rows)
    else:
        raise UsageError(
            f"cannot read an attention mask of type {type(mask).__name__}; ask for the patterns with mode='eager'"
        )
    low = torch.finfo(query.dtype).min
    return torch.where(allowed, torch.zeros((), dtype=query.dtype, device=device), low)


def assert_mask_kept(weights: Tensor, mask: Tensor, module: nn.Module) -> None:
    """No mass where the model was told not to look; a row that may look nowhere (a pad) is left out."""
    forbidden = mask <= MASKED
    # An unmasked causal pattern still sums to 1, so only this comparison can see it.
    checked = forbidden & ~forbidden.all(-1, keepdim=True)
    # The largest over heads first: the mask is the same for all of them, and this reads the weights only once.
    leaked = weights.detach().amax(1, keepdim=True).masked_fill(~checked, 0).max().item()
    if leaked > 0:
        raise ProofError(
            f"the eager attention of {type(module).__name__} put {leaked:.3g} of its mass on positions that "
            "the model masks; attention patterns of this model cannot be trusted, ask for other sites"
        )
