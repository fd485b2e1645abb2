"""Layers run on their clean input with the value of one token zero: how far the outputs move.

One forward for each token serves all layers: the altered output of a layer is read, and the next layer is given the
clean stream again. What is zero is the value alone; queries and keys, and so the attention, stay as they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from interpret.analyzers.attribution.encoder_decoder import writes_beside_a_reader
from interpret.capture.hooks import hooks
from interpret.capture.points import Key
from interpret.models.batching import Row, plan_batches, run_batches
from interpret.models.handle import Handle
from interpret.models.parts import argument_names
from interpret.results.explanations import FloatArray


class _Mixing(NamedTuple):
    """One kind of attention: whose value is zero, the stack whose output moves, and the ids that are its keys."""

    prefix: str
    stack: str
    keys: Literal["ids", "decoder_ids"]


class _Run(NamedTuple):
    """One altered run: of which row, and the token of its `keys` whose value is zero."""

    row: int
    keys: Literal["ids", "decoder_ids"]
    token: int


#: What reads a token of the text is one run: what it moves in the encoder stays there, the decoder's input is clean.
_ONE: Final = (_Mixing("", "", "ids"),)
_BOTH: Final = (
    _Mixing("encoder", "encoder", "ids"),
    _Mixing("decoder", "decoder", "decoder_ids"),
    _Mixing("cross", "decoder", "ids"),
)


def sites_read(handle: Handle) -> tuple[str, ...]:
    """The sites that a model must have for this, the values first."""
    mixings = _mixings(handle)
    stacks = dict.fromkeys(mixing.stack for mixing in mixings)
    return (
        *(_site(mixing.prefix, "v") for mixing in mixings),
        *(_site(stack, site) for stack in stacks for site in ("resid_pre", "resid_post")),
    )


def distances(handle: Handle, rows: Sequence[Row]) -> Iterator[tuple[int, dict[str, FloatArray]]]:
    """Cosine distances between the layers' clean outputs and those with the value of one token zero.

    Yields:
        The index of each row, in any order, with an array `[layer, query, key]`, float64, without padding: how far the
        output at `query` moves when the value at `key` is zero. Its name is "" in a model of one stack; in an
        encoder-decoder there are those of "encoder", "decoder" and "cross", the output of the last two being that of
        the decoder's layer.
    """
    mixings = _mixings(handle)
    runs = [
        _Run(i, keys, token)
        for i, row in enumerate(rows)
        for keys in dict.fromkeys(mixing.keys for mixing in mixings)
        for token in range(len(getattr(row, keys) or ()))
    ]
    awaited = Counter(run.row for run in runs)

    def step(batch: dict[str, Tensor], indices: list[int]) -> dict[str, FloatArray]:
        return _moved(handle, batch, [runs[r] for r in indices])

    # What a decoder reads may be longer than the text.
    longest = [max(len(row.ids), len(row.decoder_ids or ())) for row in rows]
    planned = plan_batches(handle, [longest[run.row] for run in runs])
    # Columns of rows that are not complete yet; the runs of a row come one after another.
    begun: dict[int, dict[str, dict[int, FloatArray]]] = {}
    for indices, found in run_batches(handle, [rows[run.row] for run in runs], step, batches=planned):
        for line, r in enumerate(indices):
            i, keys, token = runs[r]
            of_row = begun.setdefault(i, {mixing.prefix: {} for mixing in mixings})
            for mixing in mixings:
                if mixing.keys == keys:
                    queries = rows[i].decoder_ids if mixing.stack == "decoder" else rows[i].ids
                    of_row[mixing.prefix][token] = found[mixing.stack][line, :, : len(queries or ())]
            awaited[i] -= 1
            if not awaited[i]:
                yield i, {prefix: _by_key(columns) for prefix, columns in begun.pop(i).items()}


def _by_key(columns: dict[int, FloatArray]) -> FloatArray:
    return np.stack([columns[token] for token in range(len(columns))], axis=-1)


def _mixings(handle: Handle) -> tuple[_Mixing, ...]:
    return _BOTH if writes_beside_a_reader(handle) else _ONE


def _site(prefix: str, site: str) -> str:
    return f"{prefix}.{site}" if prefix else site


def _moved(handle: Handle, batch: dict[str, Tensor], runs: Sequence[_Run]) -> dict[str, FloatArray]:
    """How far each layer's output is from the clean one, by stack; row r as `runs[r]` has it.

    Returns:
        `[row, layer, position]`, float64.
    """
    n_rows, device = len(runs), batch["input_ids"].device
    of_rows = [run.row for run in runs]
    distinct = list(dict.fromkeys(of_rows))
    # Behind the rows stands each text once more, where nothing is zeroed: the clean run of the same batch.
    copied = torch.tensor([*range(n_rows), *(of_rows.index(i) for i in distinct)], device=device)
    clean = torch.tensor([n_rows + distinct.index(i) for i in (*of_rows, *distinct)], device=device)
    inputs: dict[str, Any] = {name: tensor[copied] for name, tensor in batch.items()}
    mixings, counts = _mixings(handle), handle.layers
    found: dict[str, list[Tensor]] = {mixing.stack: [] for mixing in mixings}

    def cleaned(tensor: Tensor) -> Tensor:
        return tensor[clean.to(tensor.device)]

    def comparing(stack: str) -> Callable[[Tensor], None]:
        return lambda stream: found[stack].append(_cosine_distance(stream[:n_rows], cleaned(stream)[:n_rows]).cpu())

    def zeroing(mixing: _Mixing) -> Callable[[Tensor], Tensor]:
        zeroed = torch.zeros(
            inputs["input_ids" if mixing.keys == "ids" else "decoder_input_ids"].shape, dtype=torch.bool
        )
        for r, run in enumerate(runs):
            if run.keys == mixing.keys:
                zeroed[r, run.token] = True
        zeroed = zeroed[:, None, :, None].to(device)

        def zero(value: Tensor) -> Tensor:
            # What the encoder's altered layers make of the text is put right first.
            before = cleaned(value) if mixing.prefix == "cross" else value
            return before.masked_fill(zeroed.to(value.device), 0.0)

        return zero

    edits: dict[Key, Callable[[Tensor], Tensor]] = {}
    for mixing in mixings:
        for layer in range(counts[mixing.stack]):
            edits[_site(mixing.prefix, "v"), layer] = zeroing(mixing)
            if mixing.prefix == "cross":
                edits["cross.k", layer] = cleaned
            elif layer:
                edits[_site(mixing.stack, "resid_pre"), layer] = cleaned
    reads: dict[Key, Callable[[Tensor], None]] = {
        (_site(stack, "resid_post"), layer): comparing(stack) for stack in found for layer in range(counts[stack])
    }
    base = handle.roles.base
    without_cache = {"use_cache": False} if "use_cache" in argument_names(base) else {}
    with torch.no_grad(), hooks(handle, reads, edits):
        # Without the head, which would have to be told how to tell apart rows without padding.
        base(**inputs, **without_cache)
    return {stack: torch.stack(layers, dim=1).double().numpy() for stack, layers in found.items()}


def _cosine_distance(one: Tensor, other: Tensor) -> Tensor:
    """1 - cos along the last axis, as half the squared distance of unit vectors: small ones do not cancel."""
    wide = torch.promote_types(one.dtype, torch.float32)
    unit, unit_other = (torch.nn.functional.normalize(x.to(wide), dim=-1) for x in (one, other))
    return (unit - unit_other).square().sum(-1) / 2
