"""Rows of a causal model that begin alike: what they share runs once, and each runs from where it differs.

    for indices, found in run_prefixed(handle, rows, first_read, step):
        ...                                     # step(batch, indices, start): the batch begins at token `start`

A token of a causal model is computed from those before it. So the keys and values of a common beginning are those of
every row that begins so: they are computed once, lent to all, and written by none. Where that saves too little, or a
model cannot do it, rows run whole; the first time a model does it, one row is held against its plain forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from interpret.models.batching import Row, collate, out_of_memory, run_batches, token_budget_of
from interpret.models.handle import Handle
from interpret.models.parts import argument_names

T = TypeVar("T")
#: Receives a batch, the indices of its rows, and how many tokens of each are left out at its beginning.
Step = Callable[[dict[str, Any], list[int], int], T]

#: Beginnings below so many tokens are not looked for: rows of different texts share as much by chance.
_LEAST: Final = 8
#: Rows that are worth a base.
_FEWEST: Final = 3
#: What one more forward costs, in tokens of a small model on this kind of device: 1 ms of 15 us on one CPU core.
_FORWARD_CPU: Final = 64
_FORWARD_GPU: Final = 2048
#: Rows run from where they differ if that costs at most this share of running them whole.
_WORTH: Final = 0.7
#: Keys and values of one layer are held for all tokens of a batch, also those that are left out: so many times its
#: tokens.
_HELD: Final = 4
#: How far the logits may be from those of a plain forward, relative to the largest, by run dtype.
TOLERANCE: Final[dict[str, float]] = {"float64": 1e-8, "float32": 1e-4, "float16": 2e-2, "bfloat16": 2e-2}
#: Rotary embeddings that turn by the length of the whole input: a beginning alone is turned otherwise.
_BY_LENGTH: Final = ("dynamic", "longrope")


class Lot(NamedTuple):
    """Rows that run together from token `start` on; what is before it they share with the row `base`."""

    base: int
    start: int
    rows: tuple[int, ...]


class Plan(NamedTuple):
    """`lots` run from where their rows differ, lots of one base one after another; `whole` rows run plainly."""

    lots: list[Lot]
    whole: list[int]


def run_prefixed(
    handle: Handle,
    rows: Sequence[Row],
    first_read: Sequence[int],
    step: Step[T],
    *,
    token_budget: int | None = None,
    max_batch: int | None = None,
    progress: str | None = None,
) -> Iterator[tuple[list[int], T]]:
    """As `run_batches`, but rows that begin alike share what they begin with, where the model can and it pays.

    Args:
        handle: the attached model.
        rows: the rows; distinct ones, or they are run as often as they stand there.
        first_read: the first position of each row whose output is read; before it nothing need be run.
        step: runs the model on one batch, which begins at token `start` of each row, 0 where it runs whole. It must
            pass on everything in the batch.
        token_budget: tokens per batch, pads included.
        max_batch: rows per batch.
        progress: label of a progress bar.
    """
    budget = token_budget_of(handle) if token_budget is None else token_budget
    forward = _FORWARD_CPU if handle.device.type == "cpu" else _FORWARD_GPU
    plan = Plan([], list(range(len(rows))))
    if _described(handle):
        plan = plan_lots(rows, first_read, budget, max_batch=max_batch, forward=forward)
        if plan.lots and (is_watched(handle.model) or not _proven(handle, rows, plan.lots)):
            plan = Plan([], list(range(len(rows))))
    whole = [rows[n] for n in plan.whole]

    def run_whole(batch: dict[str, Tensor], some: list[int]) -> T:
        return step(dict(batch), [plan.whole[n] for n in some], 0)

    for some, found in run_batches(
        handle, whole, run_whole, token_budget=token_budget, max_batch=max_batch, progress=progress
    ):
        yield [plan.whole[n] for n in some], found
    if not plan.lots:
        return
    of = {row: lot for lot in plan.lots for row in lot.rows}
    tails = [Row(row.ids[of[n].start :]) if n in of else row for n, row in enumerate(rows)]
    longest: dict[int, int] = {}
    for lot in plan.lots:
        longest[lot.base] = max(lot.start, longest.get(lot.base, 0))
    lent = _Lent(handle)

    def run_tails(batch: dict[str, Tensor], some: list[int]) -> T:
        lot = of[some[0]]
        lent.take(rows[lot.base].ids[: longest[lot.base]])
        return step(lent.before(batch, lot.start), some, lot.start)

    yield from run_batches(handle, tails, run_tails, batches=[lot.rows for lot in plan.lots], progress=progress)


def plan_lots(
    rows: Sequence[Row],
    first_read: Sequence[int],
    budget: int,
    *,
    max_batch: int | None = None,
    forward: int = _FORWARD_CPU,
) -> Plan:
    """Which rows share a beginning, and in which lots they run so that the fewest tokens are run.

    Rows whose first tokens are equal are one cluster. Its base follows, token by token, what most of the rows go on
    with (of texts with words removed that is the text itself); every row leaves it somewhere. Rows that leave it
    together and then have enough in common are a cluster of their own. The others are sorted by the place where they
    leave and cut into lots, each of which starts where its first row leaves; one more lot saves tokens and costs one
    more forward, `forward` tokens.
    """
    clusters: dict[tuple[int, ...], list[int]] = {}
    whole = []
    for n, row in enumerate(rows):
        plain = row.type_ids is None and row.decoder_ids is None and min(first_read[n], len(row.ids) - 1) >= _LEAST
        if plain:
            clusters.setdefault(row.ids[:_LEAST], []).append(n)
        else:
            whole.append(n)
    lots: list[Lot] = []
    waiting = list(clusters.values())
    while waiting:
        members = waiting.pop()
        if len(members) < _FEWEST:
            whole += members
            continue
        base, shared = _base([rows[n].ids for n in members])
        apart = _apart([rows[n].ids for n in members], shared, forward)
        waiting += [[members[k] for k in those] for those in apart]
        gone = {k for those in apart for k in those}
        left = [k for k in range(len(members)) if k not in gone]
        mine = [members[k] for k in left]
        found = _cut(rows, first_read, members[base], mine, shared[left], budget, max_batch, forward)
        if found is None:
            whole += mine
        else:
            lots += found
    return Plan(lots, sorted(whole))


def _apart(ids: Sequence[tuple[int, ...]], shared: npt.NDArray[np.int64], forward: int) -> list[list[int]]:
    """Rows that leave their base together, where a base of their own saves more than it costs."""
    together: dict[tuple[int, int], list[int]] = {}
    for k, (row, place) in enumerate(zip(ids, shared.tolist(), strict=True)):
        if place < len(row):
            together.setdefault((place, row[place]), []).append(k)
    found = []
    for (place, _), those in together.items():
        if len(those) < _FEWEST:
            continue
        further = _base([ids[k][place:] for k in those])[1]
        # Its base is run from the beginning, and at least one lot more.
        if int(further.sum()) > place + 2 * int(further.max()) + 2 * forward:
            found.append(those)
    return found


def _cut(
    rows: Sequence[Row],
    first_read: Sequence[int],
    base: int,
    members: list[int],
    shared: npt.NDArray[np.int64],
    budget: int,
    max_batch: int | None,
    forward: int,
) -> list[Lot] | None:
    """The lots of one cluster, whose rows share so many tokens with the base; None where they would not save enough."""
    sizes = np.array([len(rows[n].ids) for n in members])
    starts = np.minimum(shared, np.minimum([first_read[n] for n in members], sizes - 1))
    order = np.lexsort((np.arange(len(members)), starts))
    starts, sizes = starts[order], sizes[order]
    n = len(members)
    plain = sizes.sum() + forward * -(-int(sizes.sum()) // budget)
    if (sizes - starts).sum() + starts[-1] + 2 * forward > _WORTH * plain:
        # More than this no way to cut them saves.
        return None
    cost, since = np.zeros(n + 1), np.zeros(n + 1, dtype=np.int64)
    limit = min(max_batch or n, max(1, _HELD * budget // int(sizes.min())))
    for end in range(1, n + 1):
        first = max(0, end - limit)
        count = end - np.arange(first, end)
        size = np.maximum.accumulate(sizes[first:end][::-1])[::-1]
        tokens = count * (size - starts[first:end])
        total = cost[first:end] + tokens + forward
        # One row may be longer than the budget, as in any batch.
        total[((tokens > budget) | (count * size > _HELD * budget)) & (count > 1)] = np.inf
        # The larger lot where both cost the same.
        best = int(np.argmin(total))
        cost[end], since[end] = total[best], first + best
    if cost[n] + starts[-1] + forward > _WORTH * plain:
        return None
    found: list[Lot] = []
    end = n
    while end:
        start = int(since[end])
        found.append(Lot(base, int(starts[start]), tuple(members[k] for k in order[start:end])))
        end = start
    return found[::-1]


def _base(ids: Sequence[tuple[int, ...]]) -> tuple[int, npt.NDArray[np.int64]]:
    """The row that goes, token by token, where most rows go, and how many tokens each row shares with it."""
    longest = max(map(len, ids))
    table = np.full((len(ids), longest), -1, dtype=np.int64)
    for line, row in zip(table, ids, strict=True):
        line[: len(row)] = row
    shared = np.zeros(len(ids), dtype=np.int64)
    left, base = np.arange(len(ids)), 0
    until = _agreeing(table, 0)
    while True:
        place = int(until[left].min())
        leaving = left[until[left] == place]
        if place >= len(ids[base]):
            shared[left] = until[left]
            return base, shared
        tokens, counts = np.unique(table[leaving, place], return_counts=True)
        # A row that ends here goes nowhere.
        counts[tokens < 0] = 0
        best = int(np.argmax(counts))
        if counts[best] > len(left) - len(leaving):
            staying = leaving[table[leaving, place] == tokens[best]]
            shared[left] = place
            left, base = staying, int(staying[0])
            until = _agreeing(table, base)
        else:
            shared[leaving] = place
            left = left[until[left] > place]


def _agreeing(table: npt.NDArray[np.int64], row: int) -> npt.NDArray[np.int64]:
    """How many tokens each row begins with that one row begins with too."""
    differ = table != table[row]
    found: npt.NDArray[np.int64] = np.where(differ.any(axis=1), differ.argmax(axis=1), int((table[row] >= 0).sum()))
    return found


def is_watched(model: nn.Module) -> bool:
    """Whether somebody's hooks run in the model, or it is compiled: they would see other positions than they expect."""
    if torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks:
        return True
    return any(
        part._forward_hooks or part._forward_pre_hooks or vars(part).get("_compiled_call_impl") is not None
        for part in model.modules()
    )


class _LentLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer `[1, head, token, d]`, put before those of every row and changed by none."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        def joined(before: Any, new: Tensor) -> Tensor:
            return torch.cat([before.expand(len(new), -1, -1, -1), new], dim=-2)

        return joined(self.keys, key_states), joined(self.values, value_states)


class _Lent:
    """The keys and values of one beginning at a time."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.ids: tuple[int, ...] = ()
        self.layers: list[tuple[Tensor, Tensor]] = []

    def take(self, ids: tuple[int, ...]) -> None:
        if ids == self.ids:
            return
        self.layers = []
        # A cache of plain layers also for those that look through a window: a row may need what is behind the window of
        # another, and the mask sees to what each may look at.
        cache = DynamicCache()
        with torch.no_grad():
            self.handle.roles.base(**collate(self.handle, [Row(ids)]), past_key_values=cache, use_cache=True)
        self.layers = [(layer.keys, layer.values) for layer in cache.layers]
        self.ids = ids

    def before(self, batch: dict[str, Tensor], start: int) -> dict[str, Any]:
        """The batch with the first `start` tokens before each of its rows."""
        layers: list[Any] = [_LentLayer(k[..., :start, :], v[..., :start, :]) for k, v in self.layers]
        mask = torch.nn.functional.pad(batch["attention_mask"], (start, 0), value=1)
        return {**batch, "attention_mask": mask, "past_key_values": Cache(layers=layers)}


def _described(handle: Handle) -> bool:
    """Whether models like this one can be lent keys and values, by what they say of themselves."""
    core, config = handle.core, handle.config
    if len(handle.stacks) > 1 or not handle.roles.is_causal or handle.task not in ("causal-lm", "text-classification"):
        return False
    if handle.task == "text-classification" and config.pad_token_id is None:
        return False
    if any("past_key_values" not in argument_names(module) for module in (core, handle.roles.base)):
        return False
    adapters: dict[str, Any] = getattr(handle.model, "peft_config", None) or {}
    prompted = any(getattr(adapter, "is_prompt_learning", False) for adapter in adapters.values())
    return not (prompted or getattr(core, "_is_stateful", False) or _turns_by_length(handle.roles.config))


def _turns_by_length(config: Any) -> bool:
    found: list[Any] = [getattr(config, name, None) for name in ("rope_parameters", "rope_scaling")]
    while found:
        item = found.pop()
        if isinstance(item, dict):
            if item.get("rope_type", item.get("type")) in _BY_LENGTH:
                return True
            found += list(item.values())
    return False


#: Models that were held against their plain forward: by attention and by whether the rows go beyond a window.
_verdicts: WeakKeyDictionary[nn.Module, dict[tuple[str, bool], bool]] = WeakKeyDictionary()


def _proven(handle: Handle, rows: Sequence[Row], lots: Sequence[Lot]) -> bool:
    """Whether one row gives the same logits from the middle on as from its beginning; asked of each model once."""
    lot = max(lots, key=lambda lot: (len(rows[lot.rows[0]].ids), lot.start))
    row, start = rows[lot.rows[0]], lot.start
    windows = [getattr(handle.roles.config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    beyond = any(isinstance(window, int) and len(row.ids) > window for window in windows)
    key = (handle.attn_implementation, beyond)
    known = _verdicts.setdefault(handle.core, {})
    if key not in known:
        known[key] = _agrees(handle, row, rows[lot.base], start)
    return known[key]


def _agrees(handle: Handle, row: Row, base: Row, start: int) -> bool:
    def logits(batch: dict[str, Any]) -> Tensor:
        with torch.no_grad():
            found: Tensor = handle.model(**batch, **handle.without_cache).logits
        return found

    def compare(batch: dict[str, Tensor], _: list[int]) -> bool:
        plain = logits(batch)
        lent = _Lent(handle)
        try:
            lent.take(base.ids[:start])
            found = logits(lent.before(collate(handle, [Row(row.ids[start:])]), start))
        except Exception as err:
            # Whatever a model makes of a cache it was not made for, its rows can still run whole.
            if isinstance(err, RuntimeError) and out_of_memory(err):
                raise
            return False
        plain = plain if plain.ndim == 2 else plain[:, start:]
        if found.shape != plain.shape:
            return False
        error = (found.double() - plain.double()).abs().max() / plain.double().abs().max().clamp(min=1e-30)
        return bool(error <= TOLERANCE.get(handle.run_dtype, TOLERANCE["float32"]))

    return all(agrees for _, agrees in run_batches(handle, [row], compare))
