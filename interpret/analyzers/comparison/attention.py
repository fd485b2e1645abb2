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

    Where heads look is compared, not what they do with it. Needs the same tokens, depth and number of heads. Of an
    encoder-decoder `item` names the stack; `cross` is where the decoder looks in the encoder.
    """
    out = []
    for prefix in pair.tuned.prefixes:
        found = _divergence(pair, rows, prefix, progress)
        draws = resamples(len(rows), n_bootstrap, (seed, 62))
        for layer in range(found.shape[1]):
            for head in range(found.shape[2]):
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
                        item=prefix or None,
                    )
                )
    return out


def _divergence(pair: Pair, rows: Sequence[Row], prefix: str, progress: str | None) -> npt.NDArray[np.float64]:
    """The mean over query positions [example, layer, head] of one stack, or of what a decoder reads of an encoder."""
    roles = pair.tuned.stack(prefix)
    assert roles is not None  # a prefix is that of a stack
    n_layers, n_heads = roles.n_layers, roles.n_heads
    longest = max(max(len(row.ids), len(row.decoder_ids or ())) for row in rows)
    one = 8 * n_heads * longest**2
    n_at_once = min(n_layers, max(1, _PATTERN_BYTES // one))
    max_batch = max(1, _PATTERN_BYTES // (one * n_at_once))
    found = np.zeros((len(rows), n_layers, n_heads))
    name = f"{prefix}.attn_pattern".lstrip(".")
    for first in range(0, n_layers, n_at_once):
        layers = range(first, min(n_layers, first + n_at_once))
        for indices, values in lockstep(
            pair, rows, _patterns(name, layers), _divergences(name, layers), max_batch=max_batch, progress=progress
        ):
            found[indices, first : first + len(layers)] = values
    return found


def _patterns(name: str, layers: range) -> Callable[[Handle, dict[str, Tensor]], Capture]:
    sites = [f"{name}.{layer}" for layer in layers]

    def run(handle: Handle, batch: dict[str, Tensor]) -> Capture:
        return captured(handle, batch, sites)

    return run


def _divergences(name: str, layers: range) -> Callable[[Capture, Capture, list[int]], npt.NDArray[np.float64]]:
    def join(base: Capture, tuned: Capture, _: list[int]) -> npt.NDArray[np.float64]:
        mask = tuned.last().stack_of(name).mask.bool().cpu()
        count = mask.sum(1).clamp(min=1)[:, None]
        values = []
        for layer in layers:
            # In double precision: weights near 0 would have a mean that is 0 in their own.
            p, q = (one[name, layer].double().cpu().nan_to_num() for one in (base, tuned))
            at_queries = js_bits(p, q)
            values.append((at_queries * mask[:, None]).sum(-1) / count)
        return np.asarray(torch.stack(values, 1).numpy())

    return join
