"""How differently each head distributes its attention: Jensen-Shannon divergence over keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpret.analyzers.comparison.pair import Pair, captured, lockstep
from interpret.capture.capture import Capture
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.results.comparisons import ComparisonRow
from interpret.statistics.intervals import MIN_BOOTSTRAP, bootstrap, resamples

#: Patterns of both models that are held at once.
_PATTERN_BYTES: Final = 256 << 20


def js_bits(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence over the last axis, in bits: 0 for the same distribution, 1 for disjoint ones."""
    middle = (p + q) / 2
    terms = torch.xlogy(p, p) + torch.xlogy(q, q) - torch.xlogy(p + q, middle)
    # Rounding may leave less than nothing.
    divergence: Tensor = (terms.sum(-1) / (2 * np.log(2))).clamp(min=0)
    return divergence


def attention_rows(
    pair: Pair,
    rows: Sequence[Row],
    *,
    seed: int,
    n_bootstrap: int = 1000,
    progress: str | None = None,
) -> list[ComparisonRow]:
    """`js_bits` of every head: the mean over query positions, then over examples, with 95% intervals over examples.

    Where heads look is compared, not what they do with it. Needs the same tokens, depth and number of heads.
    """
    n_layers, n_heads = pair.tuned.n_layers, pair.tuned.n_heads
    longest = max(len(row.ids) for row in rows)
    one = 8 * n_heads * longest**2
    n_at_once = min(n_layers, max(1, _PATTERN_BYTES // one))
    max_batch = max(1, _PATTERN_BYTES // (one * n_at_once))
    found = np.zeros((len(rows), n_layers, n_heads))
    for first in range(0, n_layers, n_at_once):
        layers = range(first, min(n_layers, first + n_at_once))
        for indices, values in lockstep(
            pair, rows, _patterns(layers), _divergences(layers), max_batch=max_batch, progress=progress
        ):
            found[indices, first : first + len(layers)] = values
    draws = resamples(len(rows), n_bootstrap, (seed, 62))
    out = []
    for layer in range(n_layers):
        for head in range(n_heads):
            values = found[:, layer, head]
            ends = bootstrap(values, draws) if len(rows) >= MIN_BOOTSTRAP else None
            low, high = (None, None) if ends is None else (ends.low, ends.high)
            out.append(
                ComparisonRow(
                    part="attention",
                    name="js_bits",
                    value=float(values.mean()),
                    ci_low=low,
                    ci_high=high,
                    n=len(rows),
                    layer=layer,
                    head=head,
                )
            )
    return out


def _patterns(layers: range) -> Callable[[Handle, dict[str, Tensor]], Capture]:
    sites = [f"attn_pattern.{layer}" for layer in layers]

    def run(handle: Handle, batch: dict[str, Tensor]) -> Capture:
        return captured(handle, batch, sites)

    return run


def _divergences(layers: range) -> Callable[[Capture, Capture, list[int]], npt.NDArray[np.float64]]:
    def join(base: Capture, tuned: Capture, _: list[int]) -> npt.NDArray[np.float64]:
        mask = tuned.mask.bool().cpu()
        count = mask.sum(1).clamp(min=1)[:, None]
        values = []
        for layer in layers:
            # In double precision: weights near 0 would have a mean that is 0 in their own.
            p, q = (one["attn_pattern", layer].double().cpu().nan_to_num() for one in (base, tuned))
            at_queries = js_bits(p, q)
            values.append((at_queries * mask[:, None]).sum(-1) / count)
        return np.asarray(torch.stack(values, 1).numpy())

    return join
