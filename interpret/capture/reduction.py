"""Keeping less than the whole attention pattern: some heads, some queries, or a summary of each row.

A pattern of a long text has as many numbers as the square of its tokens for every head and layer. What is kept is
taken while the pattern is formed, a portion of its rows at a time, so that the whole is never in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from interpret.errors import UsageError

#: Query positions: all (None), a run of them, or `[example, query]` positions chosen for each example.
Rows = slice | Tensor | None

Summary = Literal["entropy", "top_k", "mean"]
SUMMARIES: Final[tuple[Summary, ...]] = get_args(Summary)


@dataclass(frozen=True)
class Reduction:
    """What is kept of a pattern `[example, head, query, key]`.

    `heads` names the heads to keep. `summary` puts something smaller in the place of each row: its "entropy" in nats
    `[example, head, query]`, its `k` largest weights `[example, head, query, rank]` with the keys they belong to
    ("top_k"), or the "mean" over the heads kept `[example, query, key]`.
    """

    heads: tuple[int, ...] | None = None
    summary: Summary | None = None
    k: int = 8

    def __post_init__(self) -> None:
        if self.summary not in (None, *SUMMARIES):
            raise UsageError(f"unknown summary {self.summary!r} of attention; there are {', '.join(SUMMARIES)}")
        if self.k < 1:
            raise UsageError(f"asked for the {self.k} largest weights of attention; ask for 1 or more")

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes of what is kept of a pattern."""
        match self.summary:
            case "entropy":
                return ("example", "head", "query")
            case "top_k":
                return ("example", "head", "query", "rank")
            case "mean":
                return ("example", "query", "key")
        return ("example", "head", "query", "key")

    @property
    def query_axis(self) -> int:
        return self.axes.index("query")

    def check(self, n_heads: int) -> None:
        """Refuse heads that the model does not have.

        Raises:
            UsageError: a head that is not there, or no head.
        """
        wrong = [head for head in self.heads or () if not 0 <= head < n_heads]
        if wrong or self.heads == ():
            asked = ", ".join(map(str, wrong)) or "none"
            raise UsageError(f"asked for heads {asked} of attention, but there are {n_heads}: 0 to {n_heads - 1}")

    def heads_of(self, tensor: Tensor) -> Tensor:
        """The heads kept, of a tensor `[example, head, ...]`."""
        return tensor if self.heads is None else tensor[:, list(self.heads)]

    def apply(self, weights: Tensor) -> tuple[Tensor, Tensor | None]:
        """Reduce weights `[example, head, query, key]`.

        Returns:
            What is kept, with `axes`, and for "top_k" the key of each weight (int64; -1 where there are fewer keys
            than ranks).
        """
        kept = self.heads_of(weights)
        match self.summary:
            case "entropy":
                wide = kept if kept.dtype == torch.float64 else kept.float()
                return -torch.xlogy(wide, wide).sum(-1), None
            case "mean":
                return kept.mean(1), None
            case "top_k":
                n_ranks = min(self.k, kept.shape[-1])
                values, index = kept.topk(n_ranks, dim=-1)
                missing = (0, self.k - n_ranks)
                return (
                    torch.nn.functional.pad(values, missing, value=float("nan")),
                    torch.nn.functional.pad(index, missing, value=-1),
                )
        return kept, None


def take_rows(tensor: Tensor, rows: slice | Tensor) -> Tensor:
    """Some rows of the third axis; with `[example, query]` positions, other rows of each example."""
    if isinstance(rows, slice):
        return tensor[:, :, rows]
    return torch.take_along_dim(tensor, rows[:, None, :, None], dim=2)
