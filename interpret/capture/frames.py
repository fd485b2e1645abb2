"""Captured tensors and the sites of a model as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from interpret.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


def frame(
    tensor: Tensor,
    axes: Sequence[str],
    mask: Tensor,
    tokens: tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]],
    name: str,
    pool: str | None,
) -> pd.DataFrame:
    """One captured site as a table; see `Capture.to_frame`. `tokens` are those of the positions and of the keys."""
    import pandas as pd

    if pool not in (None, "mean", "cls"):
        raise UsageError(f'unknown pool {pool!r} for {name}; it is None, "mean" or "cls"')
    # numpy has no bfloat16.
    tensor = tensor.cpu().to(torch.float64 if tensor.dtype == torch.float64 else torch.float32)
    if "query" in axes or "position" not in axes:
        if pool is not None:
            raise UsageError(f"{name} has axes {', '.join(axes)} and cannot be pooled over positions; leave out pool")
        if axes == ("example", "head", "query", "key"):
            return _pairs(tensor, *tokens)
        if "query" in axes:
            return _cells(tensor, axes)
        return _table(pd.RangeIndex(len(tensor)).to_frame(index=False, name="example"), tensor)
    mask = mask.cpu()
    # Heads and widths of one position side by side: [example, position, d].
    flat = tensor.movedim(axes.index("position"), 1).flatten(2)
    examples = pd.RangeIndex(len(flat)).to_frame(index=False, name="example")
    if pool == "mean":
        total = flat.masked_fill(~mask[..., None], 0.0).sum(1)
        return _table(examples, total / mask.sum(1, keepdim=True))
    if pool == "cls":
        first = mask.int().argmax(1)
        return _table(examples, flat[torch.arange(len(flat)), first])
    where = mask.nonzero()
    rows = pd.DataFrame(
        {
            "example": where[:, 0].numpy(),
            "position": where[:, 1].numpy(),
            "token": [tokens[0][example][position] for example, position in where.tolist()],
        }
    )
    return _table(rows, flat[mask])


def _table(rows: pd.DataFrame, values: Tensor) -> pd.DataFrame:
    import pandas as pd

    wide = pd.DataFrame(values.numpy(), columns=[f"d{index}" for index in range(values.shape[1])])
    return pd.concat([rows, wide], axis=1)


def _pairs(pattern: Tensor, tokens: Sequence[Sequence[str]], looked_at: Sequence[Sequence[str]]) -> pd.DataFrame:
    import pandas as pd

    weights = pattern.numpy()
    where = np.argwhere(~np.isnan(weights))
    # A query of a cached step looks at keys of earlier steps, whose tokens that step does not know.
    known = looked_at is not tokens or weights.shape[2] == weights.shape[3]
    frame = pd.DataFrame(where, columns=["example", "head", "query", "key"])
    frame["query_token"] = [_token(tokens[e], q) for e, _, q, _ in where.tolist()]
    frame["key_token"] = [_token(looked_at[e], k) if known else "" for e, _, _, k in where.tolist()]
    frame["value"] = weights[tuple(where.T)]
    return frame


def _cells(values: Tensor, axes: Sequence[str]) -> pd.DataFrame:
    """One row for each number of a reduced pattern, pads left out."""
    import pandas as pd

    array = values.numpy()
    where = np.argwhere(~np.isnan(array))
    return pd.DataFrame(where, columns=list(axes)).assign(value=array[tuple(where.T)])


def _token(tokens: Sequence[str], position: int) -> str:
    return tokens[position] if position < len(tokens) else ""
