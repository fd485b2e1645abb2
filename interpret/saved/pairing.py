"""Which rows of two audits are the same example."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from interpret.errors import InconclusiveError, UsageError
from interpret.results.audits import Audit
from interpret.results.examples import Answers
from interpret.results.record import Message
from interpret.statistics.intervals import MIN_BOOTSTRAP

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class Side(NamedTuple):
    """One audit and its table."""

    audit: Audit
    answers: Answers


class Pairs(NamedTuple):
    """Rows of the old and the new table that are the same example with the same label, in the old one's order."""

    old: IntArray
    new: IntArray
    same_class: BoolArray
    slices: tuple[str | None, ...]
    n_relabelled: int
    n_resliced: int
    forced: bool
    notes: tuple[Message, ...]


def side(audit: Audit, which: str) -> Side:
    """The audit with its table.

    Raises:
        UsageError: it has none.
    """
    if audit.examples is None:
        raise UsageError(
            f"the {which} audit ({audit.title}) holds no answers to single examples: it was saved by an older version; "
            "run that audit again"
        )
    return Side(audit, audit.examples)


def match(old: Side, new: Side, *, force: bool) -> Pairs:
    """Match examples by content; of several equal texts those with the same label are matched, in their order.

    Raises:
        UsageError: the digests cannot be matched, or the data differ and `force` is not given; it says how many
            examples are in common.
        InconclusiveError: fewer than five examples in common.
    """
    kinds = (old.answers.pairing, new.answers.pairing)
    if len(set(kinds)) > 1:
        raise UsageError(
            f"the old audit has {kinds[0]} content digests and the new one {kinds[1]} ones (config pairing), which "
            "cannot be matched; run one of them again with the other's"
        )
    i, j = _matched(old, new)
    labelled = old.answers.gold is not None and new.answers.gold is not None
    same_class = _same_class(old.audit, new.audit, old.answers, new.answers, i, j)
    relabelled = np.zeros(len(i), dtype=bool)
    if old.answers.gold is not None and new.answers.gold is not None:
        relabelled = ~_agree(_classes(old.audit), _classes(new.audit), old.answers.gold[i], new.answers.gold[j])
    whole = len(i) == len(old.answers) == len(new.answers) and not relabelled.any()
    if not whole and not force:
        raise UsageError(_difference(old, new, len(i), int(relabelled.sum()), kinds[0]))
    kept = ~relabelled
    if kept.sum() < MIN_BOOTSTRAP:
        raise InconclusiveError(
            f"asked to compare two audits, but they have {int(kept.sum())} examples with the same label in common; "
            f"at least {MIN_BOOTSTRAP} are needed" + (_KEYED if kinds[0] == "keyed" else "")
        )
    names = old.answers.slice_names(), new.answers.slice_names()
    was, now = ([of[k] for k in rows[kept].tolist()] for of, rows in zip(names, (i, j), strict=True))
    slices = now if new.answers.slices else was
    both = bool(old.answers.slices and new.answers.slices)
    notes = [] if labelled else [Message(code="diff.no_labels")]
    return Pairs(
        old=i[kept],
        new=j[kept],
        same_class=same_class[kept],
        slices=tuple(slices),
        n_relabelled=int(relabelled.sum()),
        n_resliced=sum(a != b for a, b in zip(was, now, strict=True)) if both else 0,
        forced=not whole,
        notes=tuple(notes),
    )


_KEYED = "; their digests are keyed by the whole file (config pairing), so that rows of different files never match"


def _difference(old: Side, new: Side, common: int, relabelled: int, kind: str) -> str:
    relabel = f", {relabelled:,} of them with another label" if relabelled else ""
    return (
        f"the audits are of different data: {common:,} examples are in common{relabel}, out of {len(old.answers):,} in "
        f"the old audit ({old.audit.data.name}) and {len(new.answers):,} in the new one ({new.audit.data.name}); audit "
        "the same rows, or compare what is in common with --force (force=True)" + (_KEYED if kind == "keyed" else "")
    )


def _matched(old: Side, new: Side) -> tuple[IntArray, IntArray]:
    """Pairs in the old one's order: same text and label first, then what is left of the same text."""
    names = [[digest.tobytes() for digest in found.answers.content] for found in (old, new)]
    labels = _labels(old, new)
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for keys in (zip(names, labels, strict=True), ((digests, [0] * len(digests)) for digests in names)):
        was, now = ([*zip(*of, strict=True)] for of in keys)
        places: dict[tuple[bytes, int], list[int]] = defaultdict(list)
        for j, key in reversed(list(enumerate(now))):
            if j not in taken:
                places[key].append(j)
        for i, key in enumerate(was):
            if i not in pairs and places.get(key):
                pairs[i] = places[key].pop()
                taken.add(pairs[i])
    found = np.array(sorted(pairs.items()), dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _labels(old: Side, new: Side) -> tuple[list[int], list[int]]:
    """The label of each example, equal where the two models' classes are the same; all alike without labels."""
    if old.answers.gold is None or new.answers.gold is None:
        return [0] * len(old.answers), [0] * len(new.answers)
    of_old = _classes(old.audit)
    same = {j: next((i for i, o in enumerate(of_old) if o & n), -1 - j) for j, n in enumerate(_classes(new.audit))}
    return old.answers.gold.tolist(), [same.get(j, j) for j in new.answers.gold.tolist()]


def _classes(audit: Audit) -> tuple[frozenset[str], ...]:
    """What each class is called: by the labels of the data that mean it, else by the model's own name."""
    pairs: Mapping[str, int] = audit.data.mapping.pairs
    named = [frozenset(raw for raw, index in pairs.items() if index == i) for i in range(len(audit.identity.labels))]
    return tuple(raw or frozenset({label}) for raw, label in zip(named, audit.identity.labels, strict=True))


def _agree(a: Sequence[frozenset[str]], b: Sequence[frozenset[str]], i: IntArray, j: IntArray) -> BoolArray:
    """Whether class `i` of one model is class `j` of the other; models without classes answer by index."""
    if not a or not b:
        found: BoolArray = i == j
        return found
    same = np.array([[bool(x & y) for y in b] for x in a])
    matched: BoolArray = same[i, j]
    return matched


def _same_class(old: Audit, new: Audit, a: Answers, b: Answers, i: IntArray, j: IntArray) -> BoolArray:
    return _agree(_classes(old), _classes(new), a.predicted[i], b.predicted[j])
