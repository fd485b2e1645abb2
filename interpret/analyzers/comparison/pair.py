"""Two models, or one with its adapter off and on, run side by side on the same batches.

pair = Pair(base, tuned)                      # or Pair(tuned, tuned, switched=True): one copy in memory
for indices, found in lockstep(pair, rows, step): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from interpret.capture.capture import Capture, capturing
from interpret.models.adapters import without_adapter
from interpret.models.batching import Row, run_batches
from interpret.models.handle import Handle
from interpret.models.state import untouched

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Pair:
    """The model before and after fine-tuning; `switched` where both are one model whose adapter is turned off."""

    base: Handle
    tuned: Handle
    switched: bool = False

    @contextmanager
    def as_base(self) -> Iterator[Handle]:
        """The base while the context is open; afterwards, and after an exception, the adapter is as it was."""
        if not self.switched:
            yield self.base
            return
        with without_adapter(self.tuned.model):
            yield self.tuned

    @property
    def base_name(self) -> str:
        return self.base.name

    @property
    def tuned_name(self) -> str:
        """The tuned model's name; with its adapter's, which is what tells it from the base."""
        return self.tuned.name if self.tuned.adapter is None else f"{self.tuned.name} + {self.tuned.adapter}"


def lockstep(
    pair: Pair,
    rows: Sequence[Row],
    run: Callable[[Handle, dict[str, Tensor]], T],
    join: Callable[[T, T, list[int]], Any],
    *,
    token_budget: int | None = None,
    max_batch: int | None = None,
    progress: str | None = None,
) -> Iterator[tuple[list[int], Any]]:
    """Run both models on each batch and hand what `run` made of them to `join(base, tuned, indices)`.

    Both see the very same batch, so that models which are the same give the same to the last bit, and a batch that
    runs out of memory is halved for both.
    """

    def step(batch: dict[str, Tensor], indices: list[int]) -> Any:
        tuned = run(pair.tuned, batch)
        with pair.as_base() as base, untouched(base.model, base.tokenizer):
            here = {name: tensor.to(base.device) for name, tensor in batch.items()}
            before = run(base, here)
        return join(before, tuned, indices)

    yield from run_batches(pair.tuned, rows, step, token_budget=token_budget, max_batch=max_batch, progress=progress)


def captured(handle: Handle, batch: dict[str, Tensor], sites: Sequence[str], *, stop: bool = True) -> Capture:
    """One forward with these sites; it ends after the last of them unless `stop` is off."""
    with torch.no_grad(), capturing(handle, *sites, stop=stop) as capture:
        handle.model(**batch, **handle.without_cache)
    return capture
