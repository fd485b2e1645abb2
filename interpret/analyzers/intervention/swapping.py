"""Many runs of one text that differ from each other in what stands at one place: rows of the same batches.

    bench = Bench.of(handle, row, place)
    lines = bench.run([Swap("z", 3, None, (2,)), ...], {("z", 3): other})     # logits [swap, label]

A row begins at the layer of its swap, from the stream that all of them share until there, where the model allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpret.capture.hooks import hooks
from interpret.capture.late_start import from_layer, refusal
from interpret.capture.points import Key, axes_of_model, check_sites
from interpret.errors import UsageError
from interpret.models.batching import Row, head_budget_of, plan_batches, run_batches
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.models.prefixes import is_watched
from interpret.models.readout import Readout, Term, narrowed, read

FloatArray = npt.NDArray[np.float64]

#: What one more forward costs, in tokens through all layers of a small model.
_FORWARD_CPU: Final = 64
_FORWARD_GPU: Final = 2048


class Swap(NamedTuple):
    """A row with other values at a layer of a site: at some positions and heads, or (None) at all."""

    site: str
    layer: int
    positions: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None

    @property
    def start(self) -> int:
        """Blocks that run as without the swap."""
        return self.layer + (self.site == "resid_post")


def row_of(encoded: Encoded) -> Row:
    """What the model reads of a text."""
    return Row(encoded.ids, encoded.type_ids)


def swappable(handle: Handle, site: str, layers: Sequence[int] | None) -> list[Key]:
    """The layers of a site at which values can be swapped.

    Raises:
        UnknownSiteError: the model has no such site or layer.
        UsageError: the site has no layers, or no positions that hold values.
    """
    written = [site] if layers is None else [f"{site}.{layer}" for layer in layers]
    keys = check_sites(handle, written)
    axes = axes_of_model(handle, site) if keys else ()
    if any(key[1] is None for key in keys) or any(key[0] != site for key in keys) or "position" not in axes:
        raise UsageError(
            f"{site!r} cannot be swept: give one site with layers and positions, such as 'resid_post', 'attn_out', "
            "'mlp_out' or 'z'"
        )
    return keys


def captured(handle: Handle, row: Row, keys: Sequence[Key]) -> dict[Key, Tensor]:
    """What the sites hold for one row, without the axis of examples, on the model's device."""
    found: dict[Key, Tensor] = {}

    def keep(key: Key) -> Callable[[Tensor], None]:
        def read(value: Tensor) -> None:
            found[key] = value[0].clone()

        return read

    def step(batch: dict[str, Tensor], _: list[int]) -> None:
        with torch.no_grad(), hooks(handle, {key: keep(key) for key in keys}):
            handle.model(**batch, **handle.without_cache)

    for _ in run_batches(handle, [row], step):
        pass
    return found


@dataclass(frozen=True, eq=False)
class Bench:
    """One text to run again and again. `stream` is `resid_post` of every layer, None where rows run from the start."""

    handle: Handle
    row: Row
    place: int | None
    stream: Tensor | None

    @classmethod
    def of(cls, handle: Handle, row: Row, place: int | None, *, late: bool = True, prove: bool = True) -> Bench:
        """A bench for one text.

        Args:
            handle: the model.
            row: the text.
            place: the position at which logits are read; None where the text has one row of them.
            late: begin at the layer of a swap where that gives the same logits; False runs all layers.
            prove: False where the same model has just been proven on another text.
        """
        stream = None
        # Hooks of others would see a stream that did not come from the blocks before.
        if late and not is_watched(handle.model):
            stream = stream_of(handle, row)
            stream = None if prove and refusal(handle, row, stream) else stream
        return cls(handle, row, place, stream)

    def run(
        self,
        swaps: Sequence[Swap],
        others: Mapping[Key, Tensor],
        *,
        readout: Readout | None = None,
        progress: str | None = None,
    ) -> FloatArray:
        """Logits [swap, label] at the place that is read, one row for each swap; of a `readout` its scalar [swap, 1].

        Args:
            swaps: what stands otherwise in each row.
            others: what may be put in: for each (site, layer) values with the axes of the site but `example`.
            readout: what is read in place of the logits.
            progress: label of a progress bar.
        """
        handle, place = self.handle, self.place
        rows = [self.row] * len(swaps)
        masks = [_mask(handle, swap, others[swap.site, swap.layer]) for swap in swaps]

        def step(batch: dict[str, Tensor], indices: list[int]) -> FloatArray:
            edits: dict[Key, Callable[[Tensor], Tensor]] = {}
            for key in dict.fromkeys((swaps[i].site, swaps[i].layer) for i in indices):
                mine = [masks[i] if key == (swaps[i].site, swaps[i].layer) else None for i in indices]
                edits[key] = _edit(mine, others[key])
            extra, kept = narrowed(handle, [self.row], [readout or (Term(0, place),)])
            start = min(swaps[i].start for i in indices) if self.stream is not None else 0
            with ExitStack() as stack:
                stack.enter_context(torch.no_grad())
                stack.enter_context(hooks(handle, {}, edits))
                if start and self.stream is not None:
                    stack.enter_context(from_layer(handle, start, self.stream[start - 1][None]))
                outputs = handle.model(**batch, **extra)
            found: FloatArray
            if readout is not None:
                n = len(indices)
                found = read(handle, outputs, [self.row] * n, [readout] * n, kept).value[:, None].double().cpu().numpy()
                return found
            logits = outputs.logits
            if place is not None:
                logits = logits[:, 0 if "logits_to_keep" in extra else place]
            found = logits.double().cpu().numpy()
            return found

        out: FloatArray | None = None
        batches = self._batches(swaps)
        for indices, lines in run_batches(handle, rows, step, batches=batches, progress=progress):
            if out is None:
                out = np.empty((len(swaps), lines.shape[1]))
            out[indices] = lines
        return np.empty((0, 0)) if out is None else out

    def _batches(self, swaps: Sequence[Swap]) -> list[list[int]]:
        """Rows of one layer together, and of neighbouring layers where a forward costs more than what they share."""
        n_tokens, n_layers = len(self.row.ids), self.handle.n_layers
        forward = _FORWARD_CPU if self.handle.device.type == "cpu" else _FORWARD_GPU
        order = sorted(range(len(swaps)), key=lambda i: (swaps[i].start, i))
        groups: list[list[int]] = []
        for i in order:
            first = swaps[groups[-1][0]].start if groups else 0
            same = [j for j in order if swaps[j].start == swaps[i].start]
            joins = bool(groups) and (
                self.stream is None
                or swaps[i].start == swaps[groups[-1][-1]].start
                or len(same) * n_tokens * (swaps[i].start - first) <= forward * (n_layers - swaps[i].start + 1)
            )
            if joins:
                groups[-1].append(i)
            else:
                groups.append([i])
        budget = head_budget_of(self.handle)
        return [
            [group[at] for at in part]
            for group in groups
            for part in map(sorted, plan_batches(self.handle, [n_tokens] * len(group), token_budget=budget))
        ]


def stream_of(handle: Handle, row: Row) -> Tensor:
    """`resid_post` of every layer for one row, [layer, position, d_model]."""
    keys: list[Key] = [("resid_post", layer) for layer in range(handle.n_layers)]
    found = captured(handle, row, keys)
    return torch.stack([found[key] for key in keys])


def lines_of(handle: Handle, row: Row, place: int | None) -> FloatArray:
    """Logits [label] of a plain forward, at the place that is read."""
    extra, _ = narrowed(handle, [row], [(Term(0, place),)])

    def step(batch: dict[str, Any], _: list[int]) -> FloatArray:
        with torch.no_grad():
            logits = handle.model(**batch, **extra).logits[0]
        if place is not None:
            logits = logits[0 if "logits_to_keep" in extra else place]
        found: FloatArray = logits.double().cpu().numpy()
        return found

    ((_, line),) = run_batches(handle, [row], step)
    return line


def head_axis(handle: Handle, site: str) -> int | None:
    """Which axis of a site counts heads; None if none does."""
    axes = axes_of_model(handle, site)
    return next((at for at, axis in enumerate(axes) if axis in ("head", "kv_head")), None)


def _mask(handle: Handle, swap: Swap, other: Tensor) -> Tensor:
    """What of a row is changed: bool, with the axes of the site but `example`, broadcastable to them."""
    axes = axes_of_model(handle, swap.site)
    heads = head_axis(handle, swap.site)
    mask = torch.ones((1,) * other.ndim, dtype=torch.bool)
    for numbers, axis in ((swap.positions, axes.index("position")), (swap.heads, heads)):
        if axis is None:
            continue
        size = other.shape[axis - 1]
        flags = torch.ones(size, dtype=torch.bool)
        if numbers is not None:
            flags = torch.zeros(size, dtype=torch.bool)
            flags[list(numbers)] = True
        shape = [1] * other.ndim
        shape[axis - 1] = size
        mask = mask & flags.view(shape)
    return mask


def _edit(masks: Sequence[Tensor | None], other: Tensor) -> Callable[[Tensor], Tensor]:
    some = next(mask for mask in masks if mask is not None)
    stacked = torch.stack([torch.zeros_like(some) if mask is None else mask for mask in masks])

    def edit(value: Tensor) -> Tensor:
        return torch.where(stacked.to(value.device), other.to(value), value)

    return edit
