"""Where attention goes, head by head, summed up while it streams past: no T x T map is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from interpret.capture.attention import resolve_mode
from interpret.capture.capture import stream
from interpret.results.audits import AttentionSummary, HeadRow
from interpret.statistics.intervals import expanded_tail, resamples

if TYPE_CHECKING:
    from interpret.models.handle import Handle
    from interpret.models.inputs import Encoded

FloatArray = npt.NDArray[np.float64]


def attention_summary(handle: Handle, encoded: Sequence[Encoded], *, seed: int, n_bootstrap: int) -> AttentionSummary:
    """Entropy, distance and mass on special tokens of every head, averaged over real queries, then over examples."""
    # [layer, head, example, quantity]: one number an example, so that the bootstrap respects examples.
    per_example = np.zeros((handle.n_layers, handle.n_heads, len(encoded), 3))
    for indices, tensors, mask in stream(handle, encoded, ["attn_pattern"]):
        for (_, layer), pattern in tensors.items():
            if layer is None:
                continue
            for row, example in enumerate(indices):
                real = mask[row].bool()
                special = torch.tensor(encoded[example].special, dtype=torch.float64)
                per_example[layer, :, example] = _quantities(pattern[row][:, real][:, :, real], special)
    resampled = resamples(len(encoded), n_bootstrap, (seed, 100))
    tail = expanded_tail(len(encoded))
    weights = np.apply_along_axis(np.bincount, 1, resampled, minlength=len(encoded)) / len(encoded)
    heads = []
    for layer in range(handle.n_layers):
        for head in range(handle.n_heads):
            values = per_example[layer, head]
            low, high = np.quantile(weights @ values[:, 0], [tail, 1 - tail])
            entropy, distance, to_special = values.mean(axis=0).tolist()
            heads.append(
                HeadRow(
                    layer=layer,
                    head=head,
                    entropy_nats=entropy,
                    entropy_ci_low=float(low),
                    entropy_ci_high=float(high),
                    distance_tokens=distance,
                    to_special=to_special,
                )
            )
    return AttentionSummary(
        heads=tuple(heads), n=len(encoded), mode=resolve_mode(dict(enumerate(handle.roles.attention)), "auto")
    )


def _quantities(pattern: torch.Tensor, special: torch.Tensor) -> FloatArray:
    """Mean entropy, distance and special mass of one example's pattern [head, query, key] -> [head, 3]."""
    p = pattern.to(torch.float64)
    n = p.shape[-1]
    entropy = -torch.xlogy(p, p).sum(-1).mean(-1)
    position = torch.arange(n, dtype=torch.float64)
    distance = (p * (position[:, None] - position[None, :]).abs()).sum(-1).mean(-1)
    to_special = (p @ special).mean(-1)
    return torch.stack([entropy, distance, to_special], dim=-1).numpy()
