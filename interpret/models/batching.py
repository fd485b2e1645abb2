"""The only loop over batches: rows of like length together, under a budget, halved when memory is out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from interpret.errors import RunError, UsageError
from interpret.models import memory
from interpret.models.handle import EXPLAINED, Handle
from interpret.models.parts import argument_names
from interpret.models.state import untouched

T = TypeVar("T")

#: The most padded tokens in one batch; four thousand keep two CPU cores busy with the narrowest models.
CPU_TOKENS: Final = 4096
#: In wider ones fewer do, down to a thousand: activations then stay in the caches, and rows of like length fill a batch
#: with less padding. Numbers in the stream of one batch.
_CPU_STREAM: Final = 384 * 1024
_CPU_LEAST: Final = 1024
GPU_TOKENS: Final = 32768
#: Logits of one batch over a vocabulary: 256 MB in fp32.
_VOCABULARY_LOGITS: Final = 2**26


class Row(NamedTuple):
    """What one forward pass reads for one example."""

    ids: tuple[int, ...]
    type_ids: tuple[int, ...] | None = None
    #: What the decoder of an encoder-decoder reads.
    decoder_ids: tuple[int, ...] | None = None


def collate(handle: Handle, rows: Sequence[Row], *, side: Literal["right", "left"] = "right") -> dict[str, Tensor]:
    """Pad rows into one batch on the model's device.

    `input_ids` and `attention_mask` are [example, position]; `token_type_ids` are there if the rows
    have them. Decoders are padded on the right too: positions then need no correction, and causal attention
    never reaches a pad. Only to generate from prompts of different lengths must the pads stand on the left.
    """
    if not rows or not all(row.ids for row in rows):
        raise UsageError("a batch needs at least one row, and every row at least one token")
    ids, mask = _padded(handle, [row.ids for row in rows], side=side)
    batch = {"input_ids": ids, "attention_mask": mask}
    if rows[0].type_ids is not None:
        batch["token_type_ids"] = _padded(handle, [row.type_ids or () for row in rows], fill=0, side=side)[0]
    if rows[0].decoder_ids is not None:
        ids, mask = _padded(handle, [row.decoder_ids or () for row in rows])
        batch |= {"decoder_input_ids": ids, "decoder_attention_mask": mask}
    return {name: tensor.to(handle.device) for name, tensor in batch.items()}


def _padded(
    handle: Handle,
    rows: Sequence[Sequence[int]],
    *,
    fill: int | None = None,
    side: Literal["right", "left"] = "right",
) -> tuple[Tensor, Tensor]:
    """Ids and mask `[example, position]`."""
    # Without a padding id any id will do, since the mask hides it.
    value = (handle.pad_id or 0) if fill is None else fill
    ids = torch.full((len(rows), max(map(len, rows))), value, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        at = slice(0, len(row)) if side == "right" else slice(ids.shape[1] - len(row), None)
        ids[index, at] = torch.tensor(row, dtype=torch.long)
        mask[index, at] = 1
    return ids, mask


@dataclass
class Halving:
    """The bounds that running out of memory has set so far; None where it has set none.

    Pass one to `run_batches` to see them, or to go on under the bounds of an earlier run.
    """

    max_rows: int | None = None
    max_tokens: int | None = None


def token_budget_of(handle: Handle) -> int:
    """Padded tokens in one batch unless a caller says otherwise."""
    if handle.device.type != "cpu":
        return GPU_TOKENS
    return min(CPU_TOKENS, max(_CPU_LEAST, _CPU_STREAM // handle.d_model))


def head_budget_of(handle: Handle) -> int:
    """The same where the output is read: the logits of a batch over a vocabulary must fit as well."""
    if handle.task not in ("causal-lm", "masked-lm", "seq2seq-lm"):
        return token_budget_of(handle)
    return min(token_budget_of(handle), max(1, _VOCABULARY_LOGITS // max(1, handle.vocab_size)))


def plan_batches(
    handle: Handle, lengths: Sequence[int], *, token_budget: int | None = None, max_batch: int | None = None
) -> list[list[int]]:
    """Compose batches of rows of like length, the longest rows first; a pure function of its arguments.

    A batch holds at most `token_budget` tokens, pads included, and at most `max_batch` rows; a row longer than
    the budget is a batch of its own. Of the model it matters on which kind of device it is, and whether it can
    pad: decoder classifiers whose config has no padding id run one row at a time, because they could not tell
    the last token from padding.
    """
    budget = token_budget_of(handle) if token_budget is None else token_budget
    limit = max_batch or len(lengths)
    if handle.task == "text-classification" and handle.is_decoder and handle.config.pad_token_id is None:
        limit = 1
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches, done = [], 0
    while done < len(order):
        size = max(1, min(limit, budget // max(1, lengths[order[done]])))
        batches.append(order[done : done + size])
        done += size
    return batches


def run_batches(
    handle: Handle,
    rows: Sequence[Row],
    step: Callable[[dict[str, Tensor], list[int]], T],
    *,
    token_budget: int | None = None,
    max_batch: int | None = None,
    batches: Iterable[Sequence[int]] | None = None,
    even: bool = False,
    halving: Halving | None = None,
    progress: str | None = None,
) -> Iterator[tuple[list[int], T]]:
    """Yield (row indices, what `step` returned) for the batches of `plan_batches`, in its order.

    Inside `step` the model is in evaluation mode, and afterwards as it was; between batches it is as the
    caller left it. A batch that runs out of memory is halved, and so are all after it; the rows keep their
    order. `progress` names the bar shown on a terminal. Models that want the same number of end tokens in all rows of
    a batch (`Handle.end_id`) get them.

    Args:
        handle: the attached model.
        rows: the rows; each is asked for when its batch is made.
        step: runs the model on one batch.
        token_budget: tokens per batch, pads included.
        max_batch: rows per batch.
        batches: run these instead of planning; `token_budget` and `max_batch` are then not used.
        even: only rows of one length in a batch, so that none of them is padded.
        halving: bounds of an earlier run to go on under; afterwards it holds those of this one.
        progress: label of a progress bar.

    Raises:
        RunError: one row alone runs out of memory.
    """
    if batches is None:
        batches = []
        for group in _groups(handle, rows, even):
            lengths = [len(rows[index].ids) for index in group]
            planned_here = plan_batches(handle, lengths, token_budget=token_budget, max_batch=max_batch)
            batches += [[group[place] for place in batch] for batch in planned_here]
    planned = [list(batch) for batch in batches]
    bounds = Halving() if halving is None else halving
    silent = progress is None or not sys.stderr.isatty()
    total = sum(map(len, planned))
    with tqdm(total=total, desc=progress, unit="row", disable=silent, file=sys.stderr) as bar:
        for wanted in planned:
            made = {index: rows[index] for index in wanted}
            left = wanted
            while left:
                longest = max(1, *(len(made[index].ids) for index in left))
                size = min(len(left), bounds.max_rows or len(left))
                if bounds.max_tokens is not None:
                    size = max(1, min(size, bounds.max_tokens // longest))
                indices = left[:size]
                batch = None
                try:
                    with untouched(handle.model, handle.tokenizer):
                        batch = collate(handle, [made[index] for index in indices])
                        result = step(batch, indices)
                except RuntimeError as err:
                    if not out_of_memory(err):
                        raise
                    if len(indices) == 1:
                        raise RunError(
                            f"one row of {longest} tokens does not fit into the memory of {handle.device}; "
                            "shorten the text or use another device"
                        ) from err
                    failed = True
                else:
                    failed = False
                if failed:
                    # Outside the handler, so that the traceback no longer holds the batch's tensors.
                    bounds.max_rows = len(indices) // 2
                    bounds.max_tokens = max(longest, len(indices) * longest // 2)
                    del batch
                    if handle.device.type == "cuda":
                        torch.cuda.empty_cache()
                    continue
                left = left[size:]
                bar.update(len(indices))
                yield indices, result
                if handle.device.type == "cpu":
                    memory.ran()


def _groups(handle: Handle, rows: Sequence[Row], even: bool) -> list[list[int]]:
    """Rows that may stand in one batch: all; or by their lengths, the decoder's too, or end tokens; the longest first.

    Where the padding token is the end token a pad would be read as an end, so such a model gets even rows.
    """
    end = handle.end_id
    if end is None and not even:
        return [list(range(len(rows)))]
    even = even or end == handle.pad_id
    groups: dict[tuple[int, int, int], list[int]] = {}
    for index, row in enumerate(rows):
        lengths = (len(row.ids), len(row.decoder_ids or ())) if even else (0, 0)
        groups.setdefault((*lengths, 0 if end is None else row.ids.count(end)), []).append(index)
    return [groups[shape] for shape in sorted(groups, reverse=True)]


def logits(
    handle: Handle,
    rows: Sequence[Row],
    *,
    positions: Sequence[int] | None = None,
    token_budget: int | None = None,
    progress: str | None = None,
) -> npt.NDArray[np.float64]:
    """Logits of every row, [row, label] for classifiers and [row, vocabulary] for language models.

    Causal models: what follows token `positions[row]`, by default the last one. Masked models: at
    `positions[row]`, by default the first mask token.

    Raises:
        UsageError: the model has no head, or a row has no mask token.
    """
    if handle.task == "none":
        raise UsageError(f"{handle.name} ({handle.architecture}) has no head, so it has no logits")
    if handle.task not in EXPLAINED:
        raise UsageError(
            f"{handle.name} is a {handle.task} model; one row of logits for each text is there for "
            f"{', '.join(EXPLAINED)}, those of other tasks are captured as the site logits"
        )
    at = None if handle.task == "text-classification" else _positions(handle, rows, positions)
    if at is not None and token_budget is None:
        token_budget = head_budget_of(handle)
    parameters = argument_names(handle.core)

    def step(batch: dict[str, Tensor], indices: list[int]) -> npt.NDArray[np.float64]:
        extra: dict[str, object] = {**handle.without_cache}
        columns = None if at is None else torch.tensor([at[index] for index in indices], device=handle.device)
        if columns is not None and "logits_to_keep" in parameters:
            # The head is the larger part of a small model; only the columns wanted go through it.
            kept, columns = torch.unique(columns, return_inverse=True)
            extra["logits_to_keep"] = kept
        with torch.no_grad():
            out: Tensor = handle.model(**batch, **extra).logits
        if columns is not None:
            out = out[torch.arange(len(indices), device=out.device), columns.to(out.device)]
        found: npt.NDArray[np.float64] = out.detach().double().cpu().numpy()
        return found

    found: npt.NDArray[np.float64] | None = None
    for indices, values in run_batches(handle, rows, step, token_budget=token_budget, progress=progress):
        if found is None:
            found = np.empty((len(rows), values.shape[1]), dtype=np.float64)
        found[indices] = values
    return np.empty((0, len(handle.labels) or handle.vocab_size)) if found is None else found


def _positions(handle: Handle, rows: Sequence[Row], given: Sequence[int] | None) -> list[int]:
    if given is not None:
        for row, position in zip(rows, given, strict=True):
            if not 0 <= position < len(row.ids):
                raise UsageError(f"asked for position {position} of a row of {len(row.ids)} tokens")
        return list(given)
    if handle.task == "causal-lm":
        return [len(row.ids) - 1 for row in rows]
    mask = handle.mask_id
    for number, row in enumerate(rows):
        if mask is None or mask not in row.ids:
            raise UsageError(f"row {number} has no mask token; write the mask token into the text or give positions=")
    return [row.ids.index(mask) for row in rows if mask is not None]


def out_of_memory(err: RuntimeError) -> bool:
    """Whether a device, or the machine, had no memory left, which a smaller batch mends."""
    return isinstance(err, torch.OutOfMemoryError) or "out of memory" in str(err).lower()
