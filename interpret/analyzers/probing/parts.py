"""What a probe is trained, tuned and tested on: items of three parts, their labels and their control labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.baselines import control_items, control_labels, permuted_labels
from interpret.analyzers.probing.features import Items, make_items
from interpret.analyzers.probing.stored import Stored
from interpret.errors import InconclusiveError, UsageError
from interpret.models.handle import Handle
from interpret.readers.probe_data import Kind, ProbeData, label_number, label_set
from interpret.readers.probe_splits import cluster_numbers, split_sentences

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Probe = Literal["ridge", "logistic", "mlp"]
#: Whose description length is measured: of nothing, of the task at each cell, or of controls and random weights too.
Codes = Literal["none", "task", "all"]

#: Fewer items than this, in training or in test, decide nothing; nor do fewer test sentences than the second number.
MIN_ITEMS: Final = 50
MIN_SENTENCES: Final = 10
#: Shares of train and validation where the caller brings the test data.
_WITH_TEST: Final = (0.8, 0.2, 0.0)
_WITHOUT_TEST: Final = (0.6, 0.2, 0.2)


@dataclass(frozen=True)
class Parts:
    """Items in the order train, validation, test, the sentences of training and of validation shuffled.

    `labels` is [task, item]: the task itself, then the controls; of labels that are not one class `values` are.
    """

    items: Items
    labels: IntArray
    classes: tuple[str, ...]
    cluster: IntArray
    n_train: int
    n_fit: int
    kind: Kind = "class"
    #: Of labels that are not one class, [task, item, column]: 0 or 1 for each label (`classes`), or the number.
    values: FloatArray | None = None

    @property
    def test(self) -> slice:
        return slice(self.n_fit, len(self.items))

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which test items have a label that was seen in training or validation."""
        return np.isin(self.labels[0, self.test], np.unique(self.labels[0, : self.n_fit]))

    def code_labels(self, task: int) -> tuple[IntArray, int]:
        """Labels of training and validation, counted without gaps, and how many there are."""
        seen, codes = np.unique(self.labels[task, : self.n_fit], return_inverse=True)
        return codes.reshape(-1).astype(np.int64), len(seen)


def check_request(train: ProbeData, test: ProbeData | None, probes: Sequence[str], n_control: int, codes: str) -> None:
    """Refuse what cannot be probed before any work is done."""
    unknown = sorted(set(probes) - set(get_args(Probe)))
    if unknown or not probes:
        raise UsageError(f"cannot fit probes={list(probes)}; available are {', '.join(get_args(Probe))}")
    if codes not in get_args(Codes):
        raise UsageError(f"codes is {codes!r}; available are {', '.join(get_args(Codes))}")
    if n_control < 1:
        raise UsageError(f"n_control is {n_control}; selectivity needs at least one control task")
    if test is not None and test.level != train.level:
        raise UsageError(
            f"{train.name} is labelled by {train.level} and {test.name} by {test.level}; bring data of one level"
        )
    if train.kind != "class" and "mlp" in probes:
        raise UsageError(
            f"the labels {train.task} of {train.name} are of kind {train.kind!r}, and probes with a hidden layer are "
            f"fitted to one class for each item; leave mlp out of probes={list(probes)}"
        )
    if train.kind == "regression" and "ridge" not in probes:
        raise UsageError(
            f"{train.task} is a number to be predicted, and asked was for probes={list(probes)}; logistic probes tell "
            "classes apart, so numbers are predicted by ridge alone"
        )


def check_kind(train: ProbeData, kinds: Sequence[Kind] = ("class",)) -> None:
    """Refuse labels of another kind than those the caller can work with."""
    if train.kind not in kinds:
        raise UsageError(
            f"the labels {train.task} of {train.name} are of kind {train.kind!r}, and this works on one class for each "
            "item; probe them with interpret.probe (interpret probe run), or bring classes"
        )


def make_parts(
    handle: Handle | Stored,
    train: ProbeData,
    test: ProbeData | None,
    seed: int,
    n_control: int,
    kinds: Sequence[Kind] = ("class",),
) -> Parts:
    """Split, encode and align; identical sentences stand in one part, and each part has enough to say something.

    Control tasks are drawn by form where items have forms (`ProbeData.has_forms`); else labels are permuted.

    Raises:
        UsageError: labels of another kind than those the caller can work with.
        InconclusiveError: too few items, sentences or labels in a part.
    """
    check_kind(train, kinds)
    for_training, for_validation, for_test = sentence_order(train, test, seed)
    held_out = train.take(for_test) if test is None else test
    parts = (train.take(for_training), train.take(for_validation), held_out)
    joined = joined_parts(parts)
    items = make_items(handle, joined)
    ends = np.searchsorted(items.sentence, np.cumsum([len(part) for part in parts]))
    n_train, n_fit = int(ends[0]), int(ends[1])
    sizes = {"training": n_train, "validation": n_fit - n_train, "test": len(items) - n_fit}
    what = {"word": "words", "sentence": "texts", "span": "spans", "pair": "pairs"}[train.level]
    for name, size in sizes.items():
        floor = MIN_ITEMS if name != "validation" else MIN_ITEMS // 5
        if size < floor:
            raise InconclusiveError(
                f"probing {train.task} on {train.name} leaves {size} labelled {what} for {name}; "
                f"at least {floor} are needed to say anything, so bring more data",
                code="thin_data",
            )
    classes, codes = np.unique(np.asarray(items.label, dtype=object), return_inverse=True)
    codes = codes.reshape(-1).astype(np.int64)
    for name, part in (("training", slice(0, n_train)), ("test", slice(n_fit, None))):
        present = np.unique(codes[part])
        if len(present) < 2:
            of = train if test is None or name == "training" else test
            raise InconclusiveError(
                f"every labelled item for {name} in {of.name} has {train.task} = {classes[present[0]]!r}; "
                "a probe needs at least two labels to tell apart",
                code="one_class",
            )
    cluster = cluster_numbers(joined)[items.sentence]
    n_clusters = len(np.unique(cluster[n_fit:]))
    if n_clusters < MIN_SENTENCES:
        unit = "groups" if held_out.groups else "different sentences"
        raise InconclusiveError(
            f"the test part of {train.name} has {n_clusters} {unit} with a label; at least "
            f"{MIN_SENTENCES} are needed for an interval, so bring more data",
            code="thin_data",
        )
    seeds = [(seed, i) for i in range(n_control)]
    if train.kind != "class":
        names, values = column_values(items.label, train.kind)
        for name, held in (("training", values[:n_train]), ("test", values[n_fit:])):
            if (held == held[0]).all():
                raise InconclusiveError(
                    f"every labelled item for {name} in {train.name} has the same {train.task}; a probe needs at least "
                    "two values to tell apart",
                    code="one_class",
                )
        drawn = control_items(items.form if train.has_forms else None, len(items), seeds)
        unused = np.zeros((1 + n_control, len(items)), dtype=np.int64)
        every = np.concatenate([values[None], values[drawn]])
        return Parts(items, unused, names, cluster, n_train, n_fit, train.kind, every)
    if train.has_forms:
        controls = control_labels(items.form, codes, seeds)
    else:
        controls = permuted_labels(codes, seeds)
    labels = np.concatenate([codes[None], controls])
    return Parts(items, labels, tuple(str(c) for c in classes), cluster, n_train, n_fit)


def column_values(labels: Sequence[str], kind: Kind) -> tuple[tuple[str, ...], FloatArray]:
    """Labels of items as columns [item, column]: of sets one of 0 and 1 for each name, of numbers one, not named."""
    if kind == "regression":
        return (), np.asarray([[label_number(label)] for label in labels], dtype=np.float64)
    sets = [label_set(label) for label in labels]
    names = tuple(sorted(set().union(*sets)))
    return names, np.asarray([[float(name in held) for name in names] for held in sets], dtype=np.float64)


def sentence_order(train: ProbeData, test: ProbeData | None, seed: int) -> tuple[IntArray, IntArray, IntArray]:
    """Numbers of the sentences of `train` for training, validation and test, in the order of the items of `Parts`.

    Those for test are none where `test` is given.
    """
    split = split_sentences(train, _WITHOUT_TEST if test is None else _WITH_TEST, seed)
    if test is not None and "validation" in train.splits:
        held = np.asarray([part == "validation" for part in train.splits])
        split = split._replace(train=np.flatnonzero(~held), validation=np.flatnonzero(held))
    # The split is random, so training then validation, each shuffled, is the random order that online codes need.
    shuffle = np.random.default_rng([seed, 1]).permutation
    return shuffle(split.train), shuffle(split.validation), split.test


def joined_parts(parts: Sequence[ProbeData]) -> ProbeData:
    """The sentences of all parts, under the name of the first."""
    return ProbeData.joined(parts)
