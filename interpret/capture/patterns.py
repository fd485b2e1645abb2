"""Captured attention of one text as a record of plain arrays, without pads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from interpret.errors import UsageError
from interpret.results.attention import AttentionPatterns
from interpret.sites import split_site

if TYPE_CHECKING:
    from interpret.capture.tensors import Capture


def patterns_of(capture: Capture, example: int, site: str) -> AttentionPatterns:
    """The whole patterns of one example in all captured layers of a site; see `Capture.patterns`."""
    layers = sorted(layer for name, layer in capture.keys if name == site and layer is not None)
    stack, part = split_site(site)
    if part != "attn_pattern" or not layers or capture.reduction is not None:
        raise UsageError(
            f"a view of attention needs whole patterns of {site!r}, and this is {capture!r}; capture them with "
            f'lm.capture(texts, ["{site}"]), without heads=, queries= or summary='
        )
    if not 0 <= example < len(capture):
        raise UsageError(f"asked for example {example}; the capture has examples 0 to {len(capture) - 1}")
    looked_at = "encoder.embed" if stack == "cross" else site
    queries, keys = capture.mask_of(site)[example].cpu(), capture.mask_of(looked_at)[example].cpu()
    weights = [
        capture[site, layer][example].detach().cpu()[:, : len(queries), : len(keys)][:, queries][:, :, keys]
        for layer in layers
    ]
    return AttentionPatterns(
        weights=np.asarray(torch.stack(weights).double().numpy()),
        queries=_real(capture.tokens_of(site)[example], queries),
        keys=_real(capture.tokens_of(looked_at)[example], keys),
        layers=tuple(layers),
        model=capture.model,
    )


def _real(tokens: tuple[str, ...], mask: torch.Tensor) -> tuple[str, ...]:
    return tuple(token for token, real in zip(tokens, mask.tolist(), strict=False) if real)
