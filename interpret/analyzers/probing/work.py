"""The tasks of one run: which cells are missing, one pass over the texts for all of them, and the cells themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np

from interpret.analyzers.probing.cells import digest_of_parts
from interpret.analyzers.probing.features import MAX_BYTES_IN_MEMORY, FeatureStore, Target, fill_together
from interpret.analyzers.probing.kept import KeptCells, cell_name
from interpret.analyzers.probing.parts import Parts
from interpret.analyzers.probing.rows import Rows
from interpret.analyzers.probing.stored import Stored
from interpret.analyzers.probing.uncertainty import ClusterBootstrap
from interpret.models.handle import Handle
from interpret.readers.probe_data import ProbeData
from interpret.results.record import Message
from interpret.sites import Key

#: Changes when a cell means something else than before; old cells are then measured anew.
_FORMAT: Final = 1


@dataclass
class TaskRun:
    """One task on its way: its data, its parts, and what has been measured."""

    train: ProbeData
    test: ProbeData | None
    plan: Parts
    bootstrap: ClusterBootstrap
    rows: Rows
    notes: list[Message] = field(default_factory=list)
    random_weights: bool = False

    @cached_property
    def digest(self) -> str:
        """Of the items, their labels and controls, and the parts they are in."""
        return digest_of_parts(self.plan)


@dataclass(frozen=True)
class Request:
    """All that cells depend on besides the items: `facts` of model and options, and where cells are kept."""

    facts: Mapping[str, Any]
    kept: KeptCells

    def name(self, task: TaskRun, variant: str, key: Key) -> str:
        """Name of one cell; `variant` is of the model: trained or not."""
        return cell_name(
            {
                "format": _FORMAT,
                "facts": dict(self.facts),
                "task": task.train.task,
                "items": task.digest,
                "variant": variant,
                "place": list(key),
            }
        )


Measure = Callable[[TaskRun, Rows, Key, FeatureStore], None]


def measure_each(
    opened: AbstractContextManager[Handle | Stored],
    tasks: Sequence[TaskRun],
    keys: Sequence[Key],
    measure: Measure,
    request: Request,
    variant: str,
    progress: str | None,
) -> None:
    """Every cell of every task, in order, into the task's rows: from the folder where it is kept, else measured.

    The model is opened only where something is missing, and reads each text once for all tasks.
    """
    found: list[dict[Key, Rows | None]] = []
    names: list[dict[Key, str]] = []
    for task in tasks:
        keeps = request.kept.folder is not None
        names.append({key: request.name(task, variant, key) if keeps else "" for key in keys})
        found.append({key: request.kept.read(names[-1][key], task.rows) if keeps else None for key in keys})
    missing = [[key for key in keys if cells[key] is None] for cells in found]
    with ExitStack() as stack:
        stores: list[FeatureStore | None] = [None] * len(tasks)
        if any(missing):
            handle = stack.enter_context(opened)
            stores = stack.enter_context(_filled(handle, tasks, missing, progress))
        for task, cells, store, named in zip(tasks, found, stores, names, strict=True):
            for key in keys:
                cell = cells[key]
                if cell is None and store is not None:
                    cell = task.rows.fresh()
                    measure(task, cell, key, store)
                    store.drop(key)
                    request.kept.write(named[key], cell)
                if cell is not None:
                    task.rows.join(cell)


@contextmanager
def _filled(
    handle: Handle | Stored, tasks: Sequence[TaskRun], missing: Sequence[Sequence[Key]], progress: str | None
) -> Iterator[list[FeatureStore | None]]:
    """A store of features for each task, None where it needs none; tasks on the same items share theirs."""
    shared: list[list[int]] = []
    for number, keys in enumerate(missing):
        if not keys:
            continue
        for group in shared:
            if list(missing[group[0]]) == list(keys) and _same_items(tasks[group[0]].plan, tasks[number].plan):
                group.append(number)
                break
        else:
            shared.append([number])
    stores: list[FeatureStore | None] = [None] * len(tasks)
    with ExitStack() as stack:
        targets = []
        for group in shared:
            plan, keys = tasks[group[0]].plan, missing[group[0]]
            room = None if len(shared) == 1 else MAX_BYTES_IN_MEMORY // len(shared)
            store = stack.enter_context(FeatureStore(len(plan.items), len(keys), room, n_users=len(group)))
            targets.append(Target(store, plan.items, keys))
            for number in group:
                stores[number] = store
        fill_together(targets, handle, progress)
        yield stores


def _same_items(one: Parts, other: Parts) -> bool:
    """Whether two tasks label the same words or texts, in the same order and parts."""
    a, b = one.items, other.items
    return (
        (one.n_train, one.n_fit, len(a), a.layout) == (other.n_train, other.n_fit, len(b), b.layout)
        and [row.ids for row in a.encoded] == [row.ids for row in b.encoded]
        and all(
            np.array_equal(x.position, y.position) and np.array_equal(x.item, y.item)
            for x, y in zip(a.segments, b.segments, strict=True)
        )
    )
