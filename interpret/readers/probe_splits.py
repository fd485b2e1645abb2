"""Which sentences a probe is trained, tuned and tested on, and what stands on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from interpret.errors import UsageError
from interpret.readers.probe_data import ProbeData

if TYPE_CHECKING:
    import numpy.typing as npt

    IntArray = npt.NDArray[np.int64]


def cluster_numbers(data: ProbeData) -> IntArray:
    """[sentence] a number for each set of sentences that must stay together: identical, or of one group.

    Numbers count up from 0 in the order of the first sentence of each.
    """
    parent = list(range(len(data)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, Any], int] = {}
    for i in range(len(data)):
        keys: list[tuple[str, Any]] = [("same", data.identity(i))]
        if data.groups and data.groups[i]:
            keys.append(("group", data.groups[i]))
        for key in keys:
            a, b = root(first.setdefault(key, i)), root(i)
            parent[max(a, b)] = min(a, b)
    numbers: dict[int, int] = {}
    return np.asarray([numbers.setdefault(root(i), len(numbers)) for i in range(len(data))], dtype=np.int64)


class Split(NamedTuple):
    """Sentence indices of one part each; identical sentences, and those of one group, stand in the same part."""

    train: IntArray
    validation: IntArray
    test: IntArray


def split_sentences(data: ProbeData, shares: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0) -> Split:
    """Shuffle clusters of sentences and cut them by `shares` of sentences; indices come back ascending."""
    clusters: dict[int, list[int]] = {}
    for i, number in enumerate(cluster_numbers(data).tolist()):
        clusters.setdefault(number, []).append(i)
    members = list(clusters.values())
    order = np.random.default_rng(seed).permutation(len(members))
    cuts = np.cumsum(np.asarray(shares) / sum(shares)) * len(data)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    placed = 0
    for index in order.tolist():
        # A cluster goes where its middle falls, so that a large one does not shift all the others.
        middle = placed + len(members[index]) / 2
        parts[min(int(np.searchsorted(cuts, middle)), 2)].extend(members[index])
        placed += len(members[index])
    return Split(*(np.sort(np.asarray(part, dtype=np.int64)) for part in parts))


def n_duplicates(data: ProbeData) -> int:
    """Sentences that repeat an earlier one."""
    return len(data) - len({data.identity(i) for i in range(len(data))})


def shared_sentences(train: ProbeData, test: ProbeData) -> list[int]:
    """The sentences of `test` that also stand in `train`."""
    known = {train.identity(i) for i in range(len(train))}
    return [i for i in range(len(test)) if test.identity(i) in known]


def n_shared(train: ProbeData, test: ProbeData) -> int:
    """How many sentences of `test` also stand in `train`."""
    return len(shared_sentences(train, test))


def shared_groups(train: ProbeData, test: ProbeData) -> list[str]:
    """The groups that stand in both, in the order of `test`."""
    known = set(train.groups) - {""}
    return list(dict.fromkeys(group for group in test.groups if group in known))


def arranged(train: ProbeData, test: ProbeData | None) -> tuple[ProbeData, ProbeData | None]:
    """Training (and validation) and test data, as the column of splits says where there is one.

    Raises:
        UsageError: test data stands in one file with the training data and also by itself, or nowhere.
    """
    if test is not None and "train" in test.splits:
        raise UsageError(
            f"{test.name} was given to test on, and its split column has rows for train; give the rows for test only"
        )
    if not train.splits:
        return train, test
    rows: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for i, part in enumerate(train.splits):
        rows[part].append(i)
    if test is not None and rows["test"]:
        raise UsageError(
            f"the split column of {train.name} has {len(rows['test'])} rows for test, and {test.name} was given to "
            "test on too; leave out one of the two"
        )
    if not rows["train"] or (test is None and not rows["test"]):
        found = ", ".join(f"{len(of)} for {part}" for part, of in rows.items())
        raise UsageError(
            f"the split column of {train.name} has {found} rows; rows for train are needed, and rows for test or a "
            "file given with --test (test=)"
        )
    kept = train.take(sorted(rows["train"] + rows["validation"]))
    return kept, train.take(rows["test"]) if test is None else test
