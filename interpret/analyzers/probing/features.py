"""Which tokens make up each item, and their mean at every site, kept within a memory limit."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch

from interpret.analyzers.probing.ridge import KEPT_BYTES, blocks, release
from interpret.analyzers.probing.stored import Stored
from interpret.capture.capture import stream
from interpret.capture.points import sites_of
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, encode, encode_words
from interpret.readers.probe_data import ProbeData
from interpret.sites import Key, axes_of, expand_sites

IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

DEFAULT_SITES: Final = ("embed", "resid_post")
#: Features of all sites together; beyond this they lie in temporary files.
MAX_BYTES_IN_MEMORY: Final = 256 * 1024**2
#: Share of the free disk that temporary files may take.
_DISK_SHARE: Final = 0.8
#: Sentences tokenised at once.
_AT_ONCE: Final = 512


class Segment(NamedTuple):
    """Tokens of one sentence that belong to items: `position` and `item` (a global row), one entry per token."""

    position: IntArray
    item: IntArray


@dataclass(frozen=True)
class Items:
    """What is classified: one row per labelled word or text that the model saw whole.

    `sentence`, `place` (which of the sentence's labels), `label` and `form` have one entry per item;
    `form` is the word, or empty at sentence level.
    """

    encoded: list[Encoded]
    segments: list[Segment]
    sentence: IntArray
    place: IntArray
    label: tuple[str, ...]
    form: tuple[str, ...]
    n_truncated_words: int
    n_without_tokens: int
    n_truncated_texts: int

    def __len__(self) -> int:
        return len(self.label)


def make_items(handle: Handle | Stored, data: ProbeData) -> Items:
    """Encode and align.

    Words cut off by the model's length limit, wholly or in part, and words for which the tokenizer makes no token
    are left out and counted, never filled in.
    """
    words = data.level == "word"
    encoded = handle.encoded(data) if isinstance(handle, Stored) else _encode(handle, data)
    sentence: list[int] = []
    place: list[int] = []
    label: list[str] = []
    form: list[str] = []
    segments: list[Segment] = []
    n_truncated = n_without = 0
    for s, row in enumerate(encoded):
        groups = word_positions(row) if words else {0: [p for p, sp in enumerate(row.special) if not sp]}
        whole = seen_whole(row, data.sentences[s]) if words else range(1)
        position: list[int] = []
        item: list[int] = []
        for w, name in enumerate(data.labels[s]):
            if name is None:
                continue
            if w not in whole:
                n_truncated += 1
            elif not groups.get(w):
                n_without += 1
            else:
                position += groups[w]
                item += [len(label)] * len(groups[w])
                sentence.append(s)
                place.append(w)
                label.append(name)
                form.append(data.sentences[s][w] if words else "")
        segments.append(Segment(np.asarray(position, dtype=np.int64), np.asarray(item, dtype=np.int64)))
    n_texts = sum(row.n_truncated > 0 for row in encoded)
    return Items(
        encoded,
        segments,
        np.asarray(sentence, dtype=np.int64),
        np.asarray(place, dtype=np.int64),
        tuple(label),
        tuple(form),
        n_truncated,
        n_without,
        0 if words else n_texts,
    )


def _encode(handle: Handle, data: ProbeData) -> list[Encoded]:
    """Encoded sentences, some at a time, with equal tokens and spans held once: most of them repeat."""
    tokens: dict[str, str] = {}
    spans: dict[tuple[int, int], tuple[int, int]] = {}
    ids: dict[int, int] = {}
    encoded = []
    for start in range(0, len(data), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        word_level = data.level == "word"
        for row in encode_words(handle, data.sentences[part]) if word_level else encode(handle, data.texts[part]):
            encoded.append(
                replace(
                    row,
                    ids=tuple(ids.setdefault(i, i) for i in row.ids),
                    tokens=tuple(tokens.setdefault(t, t) for t in row.tokens),
                    char_spans=tuple(spans.setdefault(s, s) for s in row.char_spans),
                )
            )
    return encoded


def word_positions(row: Encoded) -> dict[int, list[int]]:
    """Token positions of each word."""
    groups: dict[int, list[int]] = {}
    for position, word in enumerate(row.word_index):
        if word >= 0:
            groups.setdefault(word, []).append(position)
    return groups


def seen_whole(row: Encoded, words: Sequence[str]) -> range:
    """The words the model saw from their first to their last character; all of them where nothing was cut."""
    if row.n_truncated == 0:
        return range(len(words))
    groups = word_positions(row)
    if not groups:
        return range(0)
    first, last = min(groups), max(groups)
    # Without spans of their own, the text is the words joined by single spaces.
    starts = np.cumsum([0, *(len(word) + 1 for word in words)])
    spans = row.unit_spans or [(int(starts[w]), int(starts[w]) + len(word)) for w, word in enumerate(words)]
    if min(row.char_spans[p][0] for p in groups[first]) > spans[first][0]:
        first += 1
    if max(row.char_spans[p][1] for p in groups[last]) < spans[last][1]:
        last -= 1
    return range(first, last + 1)


def probe_keys(handle: Handle | Stored, sites: Sequence[str] | str | None) -> list[Key]:
    """The (site, layer) pairs asked for; None takes the default of a model, and everything of a store.

    Raises:
        UsageError: a site that has no single vector per token.
    """
    if isinstance(handle, Stored):
        return handle.keys(sites)
    keys = expand_sites(DEFAULT_SITES if sites is None else sites, handle.layers)
    possible = [site for site in sites_of(handle) if "position" in axes_of(site)]
    for site, _ in keys:
        if site not in possible:
            raise UsageError(
                f"cannot probe {site}, which has axes {', '.join(axes_of(site))} and no vector per token; "
                f"sites with one are {', '.join(possible)}"
            )
    if not keys:
        raise UsageError(f"no site was given to probe; sites with a vector per token are {', '.join(possible)}")
    return keys


class FeatureStore:
    """Features [item, d] by (site, layer) in float32: in memory up to a limit, in temporary files beyond it.

    Tasks on the same items share one: `n_users` of them.
    """

    def __init__(self, n_items: int, n_keys: int, max_bytes: int | None = None, n_users: int = 1) -> None:
        self.n_items = n_items
        self.n_keys = n_keys
        self.n_users = n_users
        self._n_drops: dict[Key, int] = {}
        self.max_bytes = MAX_BYTES_IN_MEMORY if max_bytes is None else max_bytes
        self.arrays: dict[Key, Float32Array] = {}
        self._stack = ExitStack()
        self._folder: Path | None = None
        self._touched = 0
        #: Mean and deviation [d] by which each standardised array was centred and divided.
        self.scaling: dict[Key, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.arrays.clear()
        self._stack.close()

    def write(self, key: Key, rows: IntArray, values: Float32Array) -> None:
        """Put `values` [row, d] at `rows`."""
        if key not in self.arrays:
            self.arrays[key] = self._new(key, values.shape[1])
        self.arrays[key][rows] = values
        self._touched += values.nbytes
        if self._touched >= KEPT_BYTES:
            self._touched = 0
            for array in self.arrays.values():
                release(array)

    def _new(self, key: Key, d: int) -> Float32Array:
        n_bytes = self.n_items * d * 4 * self.n_keys
        if n_bytes <= self.max_bytes:
            return np.zeros((self.n_items, d), dtype=np.float32)
        if self._folder is None:
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="interpret-probe-")))
            free = shutil.disk_usage(self._folder).free
            if n_bytes > _DISK_SHARE * free:
                raise UsageError(
                    f"the features of {self.n_items} items at {self.n_keys} sites take {n_bytes / 1e9:.1f} GB, and "
                    f"the temporary folder has {free / 1e9:.1f} GB free; probe fewer sites or fewer sentences"
                )
        path = self._folder / f"{key[0]}-{key[1]}.bin"
        return np.memmap(path, dtype=np.float32, mode="w+", shape=(self.n_items, d))

    def standardise(self, key: Key, n_train: int) -> Float32Array:
        """Features of `key` with mean 0 and deviation 1 on the first `n_train` rows; done in place, once.

        A feature that is constant on those rows is only centred.
        """
        X = self.arrays[key]
        if key in self.scaling:
            return X
        total = np.zeros(X.shape[1])
        for part in blocks(X, n_train):
            total += X[part].sum(axis=0, dtype=np.float64)
        mean = total / n_train
        squares = np.zeros(X.shape[1])
        for part in blocks(X, n_train):
            squares += ((X[part] - mean) ** 2).sum(axis=0)
        deviation = np.sqrt(squares / n_train)
        deviation[deviation <= 1e-7 * (1 + np.abs(mean))] = 1.0
        for part in blocks(X):
            X[part] = (X[part] - mean) / deviation
        self.scaling[key] = mean, deviation
        return X

    def drop(self, key: Key) -> None:
        """Forget the features of `key`, when the last user says so."""
        self._n_drops[key] = self._n_drops.get(key, 0) + 1
        if self._n_drops[key] >= self.n_users:
            self.arrays.pop(key, None)


class Target(NamedTuple):
    """Where features go: those of `items` at `keys`, into `store`."""

    store: FeatureStore
    items: Items
    keys: Sequence[Key]


def fill(
    store: FeatureStore, handle: Handle, items: Items, sites: Sequence[str] | str, progress: str | None = None
) -> None:
    """Run the model over the sentences that hold items and store the mean over each item's tokens."""
    fill_together([Target(store, items, expand_sites(sites, handle.layers))], handle, progress)


def fill_together(targets: Sequence[Target], handle: Handle | Stored, progress: str | None = None) -> None:
    """`fill` for several sets of items: the model reads every different input once."""
    if isinstance(handle, Stored):
        for target in targets:
            segments = target.items.segments
            positions, owners = [s.position for s in segments], [s.item for s in segments]
            for key in target.keys:
                for items, tokens in handle.tokens(key, target.items.encoded, positions, owners):
                    _store_means(target, key, items, tokens)
        return
    numbers: dict[tuple[tuple[int, ...], tuple[int, ...] | None], int] = {}
    encoded: list[Encoded] = []
    uses: list[list[list[Segment]]] = [[] for _ in targets]
    for target, used in zip(targets, uses, strict=True):
        for row, segment in zip(target.items.encoded, target.items.segments, strict=True):
            if not len(segment.item):
                continue
            number = numbers.setdefault((row.ids, row.type_ids), len(encoded))
            if number == len(encoded):
                encoded.append(row)
            used += [[] for _ in range(number + 1 - len(used))]
            used[number].append(segment)
    wanted = dict.fromkeys(key for target in targets for key in target.keys)
    sites = [site if layer is None else f"{site}.{layer}" for site, layer in wanted]
    for indices, tensors, _ in stream(handle, encoded, sites, progress=progress):
        for target, used in zip(targets, uses, strict=True):
            here = [(b, s) for b, i in enumerate(indices) if i < len(used) for s in used[i]]
            if not here:
                continue
            batch = torch.from_numpy(np.concatenate([np.full(len(s.item), b) for b, s in here]))
            position = torch.from_numpy(np.concatenate([s.position for _, s in here]))
            items = np.concatenate([s.item for _, s in here])
            for key in target.keys:
                aligned = tensors[key].movedim(axes_of(key[0]).index("position"), 1)
                _store_means(target, key, items, aligned[batch, position])


def _store_means(target: Target, key: Key, items: IntArray, tokens: torch.Tensor) -> None:
    """Means over the tokens [token, ...] of each item; `items` [token] says whose they are, all of them."""
    rows, local = np.unique(items, return_inverse=True)
    row_of = torch.from_numpy(local.reshape(-1))
    count = torch.bincount(row_of, minlength=len(rows))[:, None]
    flat = tokens.flatten(1).float()
    sums = torch.zeros(len(rows), math.prod(flat.shape[1:])).index_add_(0, row_of, flat)
    target.store.write(key, rows, (sums / count).numpy())
