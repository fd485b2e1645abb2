"""What a probe has to beat: no features, no context, meaningless labels, and a model that learnt nothing."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from interpret.models.handle import Handle
from interpret.models.resolve import resolve
from interpret.models.state import untouched

IntArray = npt.NDArray[np.int64]


def majority(labels: IntArray, n_train: int) -> IntArray:
    """For every item the most frequent training label (the first of equals)."""
    return np.full(len(labels), int(np.bincount(labels[:n_train]).argmax()))


def most_frequent_of_type(forms: Sequence[str], labels: IntArray, n_train: int) -> IntArray:
    """For every word the most frequent training label of its form, for unseen forms the majority."""
    seen: dict[str, Counter[int]] = defaultdict(Counter)
    for form, label in zip(forms[:n_train], labels[:n_train].tolist(), strict=True):
        seen[form][label] += 1
    best = {form: min(counts, key=lambda k: (-counts[k], k)) for form, counts in seen.items()}
    predicted = majority(labels, n_train)
    for i, form in enumerate(forms):
        predicted[i] = best.get(form, predicted[i])
    return predicted


def control_labels(forms: Sequence[str], labels: IntArray, seeds: Sequence[Sequence[int]]) -> IntArray:
    """A control task per seed, [seed, item]: every word form keeps one label in all parts of the data.

    The label is drawn from the distribution of the labels over all items. A probe can be right on it only by
    remembering forms. Hewitt and Liang 2019 (arXiv:1909.03368), section 2.
    """
    types, form_of = np.unique(np.asarray(forms, dtype=object), return_inverse=True)
    share = np.bincount(labels) / len(labels)
    out = np.empty((len(seeds), len(labels)), dtype=np.int64)
    for i, seed in enumerate(seeds):
        drawn = np.random.default_rng(seed).choice(len(share), size=len(types), p=share)
        out[i] = drawn[form_of.reshape(-1)]
    return out


def control_items(forms: Sequence[str] | None, n_items: int, seeds: Sequence[Sequence[int]]) -> IntArray:
    """For control tasks whose labels are no classes, [seed, item]: the item whose label each item gets instead.

    Every form takes the label of one item that is drawn for it, in all parts of the data; without forms, labels are
    permuted.
    """
    if forms is None:
        return np.stack([np.random.default_rng(seed).permutation(n_items) for seed in seeds])
    types, form_of = np.unique(np.asarray(forms, dtype=object), return_inverse=True)
    drawn = [np.random.default_rng(seed).integers(n_items, size=len(types)) for seed in seeds]
    return np.stack([items[form_of.reshape(-1)] for items in drawn])


def permuted_labels(labels: IntArray, seeds: Sequence[Sequence[int]]) -> IntArray:
    """The labels in random order, [seed, item]: what is left to find is chance and the probe's capacity."""
    return np.stack([np.random.default_rng(seed).permutation(labels) for seed in seeds])


@contextmanager
def random_weights(handle: Handle, seed: int) -> Iterator[Handle]:
    """A model of the same class and config with fresh weights, for as long as the context lasts."""
    with untouched(handle.model, handle.tokenizer):
        torch.manual_seed(seed)
        config = copy.deepcopy(handle.config)
        model = type(handle.core)(config)
        model.to(device=handle.device, dtype=next(handle.core.parameters()).dtype)
        model.eval()
        yield replace(handle, model=model, stacks=resolve(model))
