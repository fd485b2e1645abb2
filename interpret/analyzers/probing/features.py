"""Which tokens make up each item, and their mean at every site, kept within a memory limit."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections import Counter
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
from interpret.capture.capture import stream
from interpret.capture.points import sites_of
from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, encode, encode_words
from interpret.readers.probe_data import ProbeData
from interpret.sites import Key, axes_of, expand_sites

IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

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
    #: Items with a token that also stands for characters of another word.
    n_sharing_tokens: int = 0

    def __len__(self) -> int:
        return len(self.label)


def make_items(handle: Handle, data: ProbeData) -> Items:
    """Encode and align.

    Words cut off by the model's length limit, wholly or in part, and words for which the tokenizer makes no token
    are left out and counted, never filled in.
    """
    words = data.level == "word"
    encoded = _encode(handle, data)
    sentence: list[int] = []
    place: list[int] = []
    label: list[str] = []
    form: list[str] = []
    segments: list[Segment] = []
    n_truncated = n_without = n_shared = 0
    for s, row in enumerate(encoded):
        if words:
            groups = word_positions(row, data.sentences[s])
            held = Counter(p for positions in groups.values() for p in positions)
            shared = {w for w, positions in groups.items() if any(held[p] > 1 for p in positions)}
        else:
            groups, shared = {0: [p for p, special in enumerate(row.special) if not special]}, set()
        position: list[int] = []
        item: list[int] = []
        for w, name in enumerate(data.labels[s]):
            if name is None:
                continue
            if w in row.words_cut:
                n_truncated += 1
            elif not groups.get(w):
                n_without += 1
            else:
                n_shared += w in shared
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
        n_shared,
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


def word_positions(row: Encoded, words: Sequence[str]) -> dict[int, list[int]]:
    """Token positions of each word; a token that reaches into further words stands with each of them.

    Each token is with the word of its first character. Tokens of several words come from tokenizers that let a token
    run over a space.
    """
    groups: dict[int, list[int]] = {}
    # The text is the words joined by single spaces.
    starts = np.cumsum([0, *(len(word) + 1 for word in words)]).tolist()
    for position, word in enumerate(row.word_index):
        reached = word
        while reached >= 0 and (reached == word or row.char_spans[position][1] > starts[reached]):
            groups.setdefault(reached, []).append(position)
            reached = reached + 1 if reached + 1 < len(words) else -1
    return groups


def probe_keys(handle: Handle, sites: Sequence[str] | str) -> list[Key]:
    """The (site, layer) pairs asked for.

    Raises:
        UsageError: a site that has no single vector per token.
    """
    keys = expand_sites(sites, handle.layers)
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
    """Features [item, d] by (site, layer) in float32: in memory up to a limit, in temporary files beyond it."""

    def __init__(self, n_items: int, n_keys: int, max_bytes: int | None = None) -> None:
        self.n_items = n_items
        self.n_keys = n_keys
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
        """Forget the features of `key`."""
        self.arrays.pop(key, None)


def fill(
    store: FeatureStore, handle: Handle, items: Items, sites: Sequence[str] | str, progress: str | None = None
) -> None:
    """Run the model over the sentences that hold items and store the mean over each item's tokens."""
    used = [s for s, segment in enumerate(items.segments) if len(segment.item)]
    encoded = [items.encoded[s] for s in used]
    for indices, tensors, _ in stream(handle, encoded, sites, progress=progress):
        segments = [items.segments[used[i]] for i in indices]
        batch = np.concatenate([np.full(len(s.item), b) for b, s in enumerate(segments)])
        position = torch.from_numpy(np.concatenate([s.position for s in segments]))
        rows, local = np.unique(np.concatenate([s.item for s in segments]), return_inverse=True)
        row_of = torch.from_numpy(local.reshape(-1))
        count = torch.bincount(row_of, minlength=len(rows))[:, None]
        for (site, layer), tensor in tensors.items():
            aligned = tensor.movedim(axes_of(site).index("position"), 1)
            tokens = aligned[torch.from_numpy(batch), position].flatten(1).float()
            sums = torch.zeros(len(rows), math.prod(tokens.shape[1:])).index_add_(0, row_of, tokens)
            store.write((site, layer), rows, (sums / count).numpy())
