"""Forwards of altered texts without what nobody reads, and without what is computed over and over.

    short = Shortened(handle)
    with short.for_rows(rows):                         # many rows of a few texts
        logits(handle, rows)                           # the same logits, within rounding

- The head of an encoder that classifies texts mostly reads the first position alone. Of the last block only keys and
  values are then wanted at the others: queries, output projection, norms and mlp are 5/6 of its matrix products.
- Before the first attention a token at a place is the same in every row, and altered copies of a text are made of few
  such tokens. Their queries, keys and values are computed once and handed to every row.

That a model reads the first position alone is shown, not assumed, with two rows against their ordinary forward; that
tokens are the same is compared at every forward. Where a hook of somebody else is in the model, forwards stay whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from interpret.capture.threads import here
from interpret.models.batching import Row, out_of_memory, run_batches
from interpret.models.handle import Handle
from interpret.models.prefixes import TOLERANCE, is_watched

#: Rows below which the proof, two forwards of two rows, costs more than what it saves.
_FEWEST: Final = 32
#: Different tokens that a row must have to prove something: in one of like tokens all positions may be alike.
_DIFFERENT: Final = 4
#: Of the tokens of a batch, the share that may be different ones for it to pay to compute each once.
_WORTH: Final = 0.5


class Shortened:
    """Shortens forwards of one model as it is now: keep it no longer than outputs of the model are kept."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self._reads_first: bool | None = None

    @contextmanager
    def for_rows(self, rows: Sequence[Row]) -> Iterator[None]:
        """Inside, forwards of these rows are shortened where that leaves the logits of a text classifier as they are.

        Only logits may be read: hidden states of the last block are there at the first position only.
        """
        if len(rows) < _FEWEST or not _described(self.handle) or is_watched(self.handle.model):
            yield
            return
        if self._reads_first is None:
            self._reads_first = _reads_first(self.handle, rows)
        with ExitStack() as stack:
            if self._reads_first:
                _narrow_last(self.handle, stack)
            _Once(self.handle, stack)
            yield


def _described(handle: Handle) -> bool:
    """Whether models like this one may be read at their first position alone, by what they say of themselves."""
    if handle.task != "text-classification" or len(handle.stacks) > 1 or handle.is_decoder:
        return False
    roles = handle.roles
    spread = getattr(handle.core, "hf_device_map", None)
    return bool(roles.mid) and len(set(roles.blocks)) == roles.n_layers and not spread


def _narrow_last(handle: Handle, stack: ExitStack) -> None:
    """Let the last block go on after attention with the first position alone; `stack` ends it."""
    roles = handle.roles

    def narrow(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0][:, :1].contiguous(), *args[1:])

    # The residual is added by broadcasting in between, so that the stream is narrowed once more where it is read next.
    for module in (roles.attention_output[-1], roles.mid[-1]):
        stack.callback(module.register_forward_pre_hook(here(narrow)).remove)
    query = roles.q[-1]
    if handle.attn_implementation != "sdpa" or roles.used_again or query in (roles.k[-1], roles.v[-1]):
        return
    lengths: list[int] = []

    def of_first(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        lengths.append(args[0].shape[1])
        return (args[0][:, :1].contiguous(), *args[1:])

    def for_all(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor:
        return output.expand(-1, lengths.pop(), -1)

    stack.callback(query.register_forward_pre_hook(here(of_first)).remove)
    stack.callback(query.register_forward_hook(here(for_all)).remove)
    stack.enter_context(_OneQuery())


class _OneQuery(TorchFunctionMode):
    """Attention of queries that are one, seen from every position, is computed once: torch would do so for each."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        query = args[0] if func is nn.functional.scaled_dot_product_attention and len(args) == 3 else None
        if query is None or query.ndim != 4 or query.shape[2] < 2 or query.stride(2) or kwargs.get("is_causal"):
            return func(*args, **kwargs)
        mask = kwargs.get("attn_mask")
        of_first = {} if mask is None else {"attn_mask": mask[..., :1, :]}
        found: Tensor = func(query[:, :, :1], *args[1:], **{**kwargs, **of_first})
        return found.expand(-1, -1, query.shape[2], -1)


def _reads_first(handle: Handle, rows: Sequence[Row]) -> bool:
    """Whether two rows, one of them padded if any is, have the same logits where the last block is narrowed."""
    telling = max(rows, key=lambda row: (len(set(row.ids)), len(row.ids)))
    if len(set(telling.ids)) < _DIFFERENT:
        return False
    proving = [telling, min(rows, key=lambda row: len(row.ids))]

    def compare(batch: dict[str, Tensor], _: list[int]) -> bool:
        with torch.no_grad():
            plain = handle.model(**batch, **handle.without_cache).logits
            try:
                with ExitStack() as stack:
                    _narrow_last(handle, stack)
                    found = handle.model(**batch, **handle.without_cache).logits
            except Exception as err:
                # Whatever a model makes of a shorter stream, its rows can still run whole.
                if isinstance(err, RuntimeError) and out_of_memory(err):
                    raise
                return False
        if found.shape != plain.shape:
            return False
        error = (found.double() - plain.double()).abs().max() / plain.double().abs().max().clamp(min=1e-30)
        return bool(error <= TOLERANCE.get(handle.run_dtype, TOLERANCE["float32"]))

    return all(agrees for _, agrees in run_batches(handle, proving, compare))


class _Once:
    """Queries, keys and values of the first block, once for each different token and place; `stack` ends it."""

    def __init__(self, handle: Handle, stack: ExitStack) -> None:
        self.some: Tensor | None = None
        self.place: Tensor | None = None
        self.shape: tuple[int, ...] = ()
        self.seen: Tensor | None = None
        self.same = False
        roles = handle.roles
        stack.callback(roles.base.register_forward_pre_hook(here(self._begin), with_kwargs=True).remove)
        for module in {roles.q[0], roles.k[0], roles.v[0]}:
            before, after = self._around()
            stack.callback(module.register_forward_pre_hook(here(before)).remove)
            stack.callback(module.register_forward_hook(here(after)).remove)
        stack.callback(self._forget)

    def _forget(self) -> None:
        self.some = self.place = self.seen = None

    def _begin(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._forget()
        ids = kwargs.get("input_ids", args[0] if args else None)
        if not isinstance(ids, Tensor) or ids.ndim != 2:
            return
        # Kinds of tokens are not looked at: where they make a difference, the comparison finds it.
        keys = ids * ids.shape[1] + torch.arange(ids.shape[1], device=ids.device)
        different, place = torch.unique(keys.flatten(), return_inverse=True)
        if len(different) <= _WORTH * len(place):
            self.some = torch.empty_like(different).scatter_(0, place, torch.arange(len(place), device=ids.device))
            self.place, self.shape = place, tuple(ids.shape)

    def _around(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        shortened = False

        def before(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            nonlocal shortened
            # Code of others may name what it hands over; then there is nothing to take the place of.
            given = args[0] if args and self.some is not None else None
            shortened = given is not None and tuple(given.shape[:-1]) == self.shape and self._all_same(given)
            return (args[0].flatten(0, 1)[self.some][None], *args[1:]) if shortened else None

        def after(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor | None:
            return output[0][self.place].view(*self.shape, -1) if shortened else None

        return before, after

    def _all_same(self, hidden: Tensor) -> bool:
        if hidden is not self.seen:
            flat = hidden.flatten(0, 1)
            self.seen, self.same = hidden, torch.equal(flat[self.some][self.place], flat)
        return self.same
