"""The logit lens: the stream after each layer, read by the model's own norm and head.

All blocks are passed over and the stream of a layer is put in their place, one token to a row. So what reads it is the
model's own code, whatever stands there: a final norm and an unembedding, a masked head's transform, a pooler and a
classifier. Reference: nostalgebraist 2020, "interpreting GPT: the logit lens".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from interpret.analyzers.intervention.metrics import check_metric, require
from interpret.analyzers.intervention.swapping import captured, row_of
from interpret.analyzers.target import entry_index, entry_names
from interpret.capture.late_start import from_layer, refusal
from interpret.errors import UsageError
from interpret.models.batching import Row, head_budget_of, run_batches
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.models.prefixes import TOLERANCE
from interpret.models.readout import log_shares, logits_of
from interpret.results.explanations import FloatArray, IntArray
from interpret.results.interventions import LensReading


class Read(NamedTuple):
    """`stream` [layer, position, d_model] from what enters the first block on, `final` the model's own logits.

    `final` is [position, label]; of a classifier of texts the same at every position. `place` is where a classifier
    reads.
    """

    stream: Tensor
    final: FloatArray
    place: int | None


def lens(handle: Handle, encoded: Encoded, target: int | str | None = None) -> LensReading:
    """Read every layer at every position of one text.

    Args:
        handle: a model with one stack, and logits at one place.
        encoded: the text.
        target: a label or token whose rank is followed; None takes what the model finally says at each position.

    Raises:
        UsageError: the head does not read one position, or the model cannot begin after its blocks; says why.
    """
    require(handle, "the logit lens")
    check_metric(handle, "kl")
    found = streams(handle, encoded)
    index = found.final.argmax(-1) if target is None else np.full(len(found.final), entry_index(handle, target))
    own = log_shares(handle, torch.from_numpy(found.final)).numpy()
    shape = found.stream.shape[:2]
    kl, entropy, log_probability = np.empty(shape), np.empty(shape), np.empty(shape)
    rank, top = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int64)

    def note(layer: IntArray, position: IntArray, logits: FloatArray) -> None:
        logs = log_shares(handle, torch.from_numpy(logits)).numpy()
        one, wanted = np.arange(len(logits)), index[position]
        expected = own[position]
        kl[layer, position] = np.maximum((np.exp(expected) * (expected - logs)).sum(-1), 0.0)
        entropy[layer, position] = -(np.exp(logs) * logs).sum(-1)
        log_probability[layer, position] = logs[one, wanted]
        rank[layer, position] = (logits > logits[one, wanted][:, None]).sum(-1)
        top[layer, position] = logits.argmax(-1)

    head_on(handle, encoded, found.stream, note)
    return LensReading(
        layers=("embed", *map(str, range(handle.n_layers))),
        tokens=encoded.tokens,
        kl=kl,
        entropy=entropy,
        log_probability=log_probability,
        rank=rank,
        top=tuple(entry_names(handle, row) for row in top.tolist()),
        targets=entry_names(handle, index.tolist()),
        given=target is not None,
        read=found.place,
        text=encoded.text,
        n_truncated=encoded.n_truncated,
        model=handle.name,
    )


def streams(handle: Handle, encoded: Encoded) -> Read:
    """The stream of one text at every layer, and where the head reads it.

    Raises:
        UsageError: the head does not read one position, or the model cannot begin after its blocks.
    """
    row = row_of(encoded)
    keys = [("resid_pre", 0), *(("resid_post", layer) for layer in range(handle.n_layers))]
    values = captured(handle, row, keys)
    stream = torch.stack([values[key] for key in keys])
    why = refusal(handle, row, stream[1:])
    if why is not None:
        raise UsageError(f"the head of {handle.name} cannot be given the stream of another layer: {why}")
    (final,) = logits_of(handle, [row])
    place = None
    if final.ndim == 1:
        final = np.repeat(final[None], len(row.ids), axis=0)
        place = _read_at(handle, row)
    alone = np.empty_like(final)

    def note(_: IntArray, position: IntArray, logits: FloatArray) -> None:
        alone[position] = logits

    head_on(handle, encoded, stream[-1:], note)
    at = slice(None) if place is None else place
    off = float(np.abs(alone[at] - final[at]).max() / max(float(np.abs(final).max()), 1e-30))
    if off > TOLERANCE.get(handle.run_dtype, TOLERANCE["float32"]):
        raise UsageError(
            f"the head of {handle.name} does not read one position of the last layer: given it alone, its logits are "
            f"off by {off:.1e} of the largest; capture() the stream and read it your own way"
        )
    return Read(stream, final, place)


def _read_at(handle: Handle, row: Row) -> int:
    """Where a classifier reads: the first token, or of a decoder the last one."""
    if not handle.is_decoder:
        return 0
    pad = handle.config.pad_token_id
    return max((place for place, token in enumerate(row.ids) if token != pad), default=0)


def head_on(
    handle: Handle, encoded: Encoded, stream: Tensor, note: Callable[[IntArray, IntArray, FloatArray], None]
) -> None:
    """Give the head every layer and position of a stream [layer, position, d_model], one token to a row.

    `note` is told layers, positions and logits [row, label] of one batch after another.
    """
    row = token_row(handle, encoded)
    flat = stream.flatten(0, 1)
    n_positions = stream.shape[1]

    def step(batch: dict[str, Tensor], indices: list[int]) -> FloatArray:
        own = flat[torch.tensor(indices, device=flat.device)][:, None]
        with torch.no_grad(), from_layer(handle, handle.n_layers, own):
            logits = handle.model(**batch, **handle.without_cache).logits
        found: FloatArray = logits.flatten(0, -2).double().cpu().numpy()
        return found

    rows = [row] * len(flat)
    for indices, logits in run_batches(handle, rows, step, token_budget=head_budget_of(handle)):
        layer, position = np.divmod(np.array(indices, dtype=np.int64), n_positions)
        note(layer, position, logits)


def token_row(handle: Handle, encoded: Encoded) -> Row:
    """A row of one token that is not taken for padding."""
    pad = handle.config.pad_token_id
    token = next((token for token in encoded.ids if token != pad), encoded.ids[0])
    return Row((token,), None if encoded.type_ids is None else (0,))
