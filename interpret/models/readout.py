"""The scalar that is read off a model's output, for every task with a head, in one form.

readout = (Term(index=1), Term(index=0, weight=-1.0))          # class 1 rather than class 0
read(handle, model(**batch), rows, [readout] * len(rows))       # tensors [row], gradients included
readouts(handle, rows, [readout] * len(rows))                   # the same for any number of rows, in batches

A user's own function of the output may stand in place of the terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interpret.errors import InterpretError, UsageError
from interpret.models.batching import Row, head_budget_of, out_of_memory, run_batches
from interpret.models.handle import Handle
from interpret.models.parts import argument_names
from interpret.models.prefixes import is_watched, run_prefixed

#: Where the logits stand in the output: those of a span model have two rows of them.
Output = Literal["logits", "start_logits", "end_logits"]


@dataclass(frozen=True, slots=True)
class Term:
    """`weight` times the logit of class, token or position `index`, or its log probability.

    `position` is where the logits are read: None where a text has one row of them; negative ones count from the
    end of what the head reads (the text, or what the decoder of an encoder-decoder was given).
    """

    index: int
    position: int | None = None
    weight: float = 1.0
    output: Output = "logits"
    log_probability: bool = False


@dataclass(frozen=True, slots=True)
class OutputFunction:
    """A user's own scalar of the output: `function` is given what the model returns and gives one number per row."""

    function: Callable[[Any], Any]
    name: str

    def of(self, outputs: Any, n_rows: int) -> Tensor:
        """Its values [row].

        Raises:
            UsageError: it fails, gives something else than one finite number per row, or, where the outputs carry
                gradients, none that leads back to them.
        """
        try:
            found = self.function(outputs)
        except Exception as err:
            if isinstance(err, InterpretError) or (isinstance(err, RuntimeError) and out_of_memory(err)):
                raise
            raise UsageError(
                f"the target function {self.name} failed on the model's output ({type(err).__name__}: {err}); it is "
                f"given {described(outputs)}"
            ) from err
        if not isinstance(found, Tensor) or tuple(found.shape) != (n_rows,):
            what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise UsageError(
                f"the target function {self.name} returned {what} for {n_rows} rows, expected a tensor [row] with one "
                f"number for each, such as output.logits[:, 0]; it is given {described(outputs)}"
            )
        if found.is_complex() or not bool(torch.isfinite(found).all()):
            raise UsageError(
                f"the target function {self.name} returned NaN, infinity or complex numbers, which cannot be "
                "explained; take logarithms of probabilities by log_softmax, not by log"
            )
        if torch.is_grad_enabled() and not found.requires_grad and any(t.requires_grad for t in tensors_of(outputs)):
            raise UsageError(
                f"the target function {self.name} returned numbers without a gradient: it is constant, or detaches, "
                "rounds, takes an argmax or leaves torch; use a method without gradients, such as "
                "method='leave_one_out' or 'shap'"
            )
        return found if found.is_floating_point() else found.to(torch.get_default_dtype())


#: A scalar as the sum of its terms, or as a function of the output.
Readout = tuple[Term, ...] | OutputFunction


def tensors_of(outputs: Any) -> Iterator[Tensor]:
    """All tensors in what a model returned."""
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, Mapping):
        for value in outputs.values():
            yield from tensors_of(value)
    elif isinstance(outputs, tuple | list):
        for value in outputs:
            yield from tensors_of(value)


def described(outputs: Any) -> str:
    """What a model returned, in a few words: its class, and the shapes of its tensors."""
    fields = outputs.items() if isinstance(outputs, Mapping) else ()
    shapes = [f"{name} {list(value.shape)}" for name, value in fields if isinstance(value, Tensor)]
    return f"a {type(outputs).__name__}" + (f" with {', '.join(shapes)}" if shapes else "")


class Read(NamedTuple):
    """`value` is the scalar, `log_probability` the sum over its positive terms of the log of their share; [row].

    A function of the output explains nothing that has a probability; both are then its value.
    """

    value: Tensor
    log_probability: Tensor


def read(
    handle: Handle,
    outputs: Any,
    rows: Sequence[Row],
    wanted: Sequence[Readout],
    kept: Tensor | None,
    of: Sequence[int] | None = None,
) -> Read:
    """Read one scalar per row off the output of a forward of those rows.

    Args:
        handle: the model, for what its logits mean.
        outputs: what the model returned.
        rows: the rows that ran, for where they end.
        wanted: the scalar of each row.
        kept: the positions that the head was asked for, ascending; None if it ran at all of them.
        of: which line of the output each row is read off; None where each has its own.
    """
    first = wanted[0]
    if isinstance(first, OutputFunction):
        values = first.of(outputs, len(rows))
        return Read(values, values)
    order = [(r, term) for r, terms in enumerate(wanted) for term in _terms(terms)]
    names: set[Output] = {term.output for _, term in order}
    logits: Tensor = getattr(outputs, next(iter(names)))
    value, log_probability = logits.new_zeros(len(rows)), logits.new_zeros(len(rows))
    for name in sorted(names):
        logits = getattr(outputs, name)
        mine = [(r, term) for r, term in order if term.output == name]
        device = logits.device
        at = torch.tensor([r for r, _ in mine], device=device)
        of_line = at if of is None else torch.tensor([of[r] for r, _ in mine], device=device)
        index = torch.tensor([term.index for _, term in mine], device=device)
        weight = torch.tensor([term.weight for _, term in mine], device=device, dtype=logits.dtype)
        as_log = torch.tensor([term.log_probability for _, term in mine], device=device)
        if logits.ndim == 3:
            positions = torch.tensor([_place(rows[r], term) for r, term in mine], device=device)
            if kept is not None:
                positions = torch.searchsorted(kept.to(device), positions)
            line = logits[of_line, positions]
        else:
            line = logits[of_line]
        if name != "logits":
            # The head of a span model runs at pads too, which would take a share of the probability.
            lengths = torch.tensor([_length(rows[r]) for r, _ in mine], device=device)
            pads = torch.arange(line.shape[1], device=device) >= lengths[:, None]
            line = line.masked_fill(pads, float("-inf"))
        one = torch.arange(len(mine), device=device)
        plain, logs = line[one, index], log_shares(handle, line)[one, index]
        value = value.index_add(0, at, weight * torch.where(as_log, logs, plain))
        log_probability = log_probability.index_add(0, at, torch.where(weight > 0, logs, torch.zeros_like(logs)))
    return Read(value, log_probability)


def readouts(
    handle: Handle, rows: Sequence[Row], wanted: Sequence[Readout], *, progress: str | None = None
) -> npt.NDArray[np.float64]:
    """[row, 2]: the scalar of each row, and the log probability of what it explains (of a function its value).

    Where what is read at a position depends only on what stands before it, a row that is the beginning of another is
    read off that one, and rows that begin alike share what they begin with (`run_prefixed`). A function of the output
    may read anything in it, so it is given whole rows.
    """
    if of_output(wanted):
        return _of_whole(handle, rows, wanted, progress)
    placed, host = [_terms(terms) for terms in wanted], _hosts(handle, rows)
    if host is None:
        host = list(range(len(rows)))
    else:
        # Counted from the front, since the row that is run may be longer.
        placed = [
            _shifted(terms, [_place(row, term) for term in terms]) for row, terms in zip(rows, placed, strict=True)
        ]
    members: dict[int, list[int]] = {}
    for n, run in enumerate(host):
        members.setdefault(run, []).append(n)
    ordered = list(members)
    shares = handle.task == "causal-lm"
    first = [min((t.position or 0 for n in members[run] for t in placed[n]), default=0) * shares for run in ordered]

    def step(batch: dict[str, Any], indices: list[int], start: int) -> tuple[list[int], npt.NDArray[np.float64]]:
        lines = [(line, n) for line, i in enumerate(indices) for n in members[ordered[i]]]
        these = [n for _, n in lines]
        some = [_tail(rows[host[n]], start) for n in these]
        their = [placed[n] for n in these]
        if start:
            their = [_shifted(terms, [(term.position or 0) - start for term in terms]) for terms in their]
        extra, kept = narrowed(handle, some, their)
        with torch.no_grad():
            found = read(handle, handle.model(**batch, **extra), some, their, kept, [line for line, _ in lines])
        return these, torch.stack([found.value, found.log_probability], dim=1).double().cpu().numpy()

    out = np.empty((len(rows), 2), dtype=np.float64)
    hosts = [rows[run] for run in ordered]
    for _, (these, values) in run_prefixed(
        handle, hosts, first, step, token_budget=head_budget_of(handle), progress=progress
    ):
        out[these] = values
    return out


def _of_whole(
    handle: Handle, rows: Sequence[Row], wanted: Sequence[Readout], progress: str | None
) -> npt.NDArray[np.float64]:
    """`readouts` off plain forwards: each row runs whole, beside rows of its length, and so without padding."""

    def step(batch: dict[str, Tensor], indices: list[int]) -> npt.NDArray[np.float64]:
        with torch.no_grad():
            outputs = handle.model(**batch, **handle.without_cache)
            found = read(handle, outputs, [rows[i] for i in indices], [wanted[i] for i in indices], None)
        return torch.stack([found.value, found.log_probability], dim=1).double().cpu().numpy()

    out = np.empty((len(rows), 2), dtype=np.float64)
    budget = head_budget_of(handle)
    for indices, values in run_batches(handle, rows, step, token_budget=budget, even=True, progress=progress):
        out[indices] = values
    return out


def _hosts(handle: Handle, rows: Sequence[Row]) -> list[int] | None:
    """For each row the row that it is read off: the longest one that begins with it; None where that is not the same.

    Of an encoder-decoder both give the encoder the same text.
    """
    if handle.task not in ("causal-lm", "seq2seq-lm") or not handle.roles.is_causal or is_watched(handle.model):
        return None

    def written(n: int) -> tuple[int, ...]:
        return rows[n].ids if rows[n].decoder_ids is None else rows[n].decoder_ids or ()

    # In this order a row that another begins with stands right before one of them.
    order = sorted(range(len(rows)), key=lambda n: (rows[n].ids if rows[n].decoder_ids is not None else (), written(n)))
    host = list(range(len(rows)))
    for n, following in zip(reversed(order[:-1]), reversed(order[1:]), strict=True):
        own, other = rows[n], rows[following]
        same = own.type_ids == other.type_ids and (own.decoder_ids is None) == (other.decoder_ids is None)
        same = same and (own.decoder_ids is None or own.ids == other.ids)
        if same and written(following)[: len(written(n))] == written(n):
            host[n] = host[following]
    return host


def _shifted(terms: Sequence[Term], places: Sequence[int]) -> tuple[Term, ...]:
    return tuple(
        Term(term.index, place, term.weight, term.output, term.log_probability)
        for term, place in zip(terms, places, strict=True)
    )


def _tail(row: Row, start: int) -> Row:
    return Row(row.ids[start:]) if start else row


def logits_of(
    handle: Handle, rows: Sequence[Row], output: Output = "logits", positions: Sequence[int] | None = None
) -> list[npt.NDArray[np.float64]]:
    """Logits of each row as the head gives them, `[label]` or `[position, label]`, without padding.

    `positions` keeps those at one position of each row (negative from the end), `[label]`.
    """
    found: list[npt.NDArray[np.float64]] = [np.zeros(0)] * len(rows)

    def step(batch: dict[str, Any], indices: list[int], start: int) -> list[npt.NDArray[np.float64]]:
        some = [_tail(rows[i], start) for i in indices]
        terms = [] if positions is None else [Term(0, positions[i], output=output) for i in indices]
        extra, kept = narrowed(handle, some, [(term,) for term in terms])
        with torch.no_grad():
            logits: Tensor = getattr(handle.model(**batch, **extra), output)
        if positions is None:
            lengths = [_length(row) for row in some]
            per_text = logits.shape[1:] == (len(handle.labels),) and output == "logits" and logits.ndim == 2
            parts = list(logits) if per_text else [line[:n] for line, n in zip(logits, lengths, strict=True)]
        else:
            places = [_place(row, term) for row, term in zip(some, terms, strict=True)]
            if kept is not None:
                places = torch.searchsorted(kept, torch.tensor(places, device=kept.device)).tolist()
            parts = [line[place] for line, place in zip(logits, places, strict=True)]
        return [part.double().cpu().numpy() for part in parts]

    first = [0] * len(rows)
    if positions is None and handle.task == "text-classification" and handle.is_decoder:
        first = [_last_read(handle, row) for row in rows]
    for indices, parts in run_prefixed(handle, rows, first, step, token_budget=head_budget_of(handle)):
        for i, part in zip(indices, parts, strict=True):
            found[i] = part
    return found


def _last_read(handle: Handle, row: Row) -> int:
    """Where a decoder that classifies texts is read: the last token that is not the padding one."""
    pad = handle.config.pad_token_id
    return max((place for place, token in enumerate(row.ids) if token != pad), default=0)


def narrowed(handle: Handle, rows: Sequence[Row], wanted: Sequence[Readout]) -> tuple[dict[str, object], Tensor | None]:
    """What a forward is told so that it fills no cache and its head runs only where it is read, and where that is.

    The head over a vocabulary is the larger part of a small model, and its logits most of the memory.
    """
    extra: dict[str, object] = {**handle.without_cache}
    whole = handle.task != "causal-lm" or not wanted or of_output(wanted)
    if whole or "logits_to_keep" not in argument_names(handle.core):
        return extra, None
    positions = {_place(row, term) for row, terms in zip(rows, wanted, strict=True) for term in _terms(terms)}
    kept = torch.tensor(sorted(positions), device=handle.device)
    return {**extra, "logits_to_keep": kept}, kept


def of_output(wanted: Sequence[Readout]) -> bool:
    """Whether a function reads the output. Its rows run without padding, which it could not tell from text."""
    return any(isinstance(one, OutputFunction) for one in wanted)


def _terms(readout: Readout) -> tuple[Term, ...]:
    assert not isinstance(readout, OutputFunction), "functions and terms are not read together"
    return readout


def _place(row: Row, term: Term) -> int:
    n = _length(row)
    position = 0 if term.position is None else term.position
    place = position if position >= 0 else n + position
    if not 0 <= place < n:
        raise UsageError(f"an output was asked for at position {position} of {n} tokens")
    return place


def _length(row: Row) -> int:
    """Tokens that the head runs over: those of the text, or of what the decoder was given."""
    # A decoder that reads the text itself runs over as many.
    return len(row.ids if row.decoder_ids is None else row.decoder_ids)


def log_shares(handle: Handle, logits: Tensor) -> Tensor:
    """Log softmax over the last axis; for one output or independent labels the log sigmoid of each."""
    independent = getattr(handle.config, "problem_type", None) == "multi_label_classification"
    if handle.task == "text-classification" and (logits.shape[-1] == 1 or independent):
        return torch.nn.functional.logsigmoid(logits)
    return logits.log_softmax(-1)
