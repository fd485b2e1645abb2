"""What a store holds of one site: rows of tokens or examples, or attention patterns, read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from torch import Tensor

from interpret.errors import UsageError

IntArray = npt.NDArray[np.int64]

#: Separate stretches of one shard read one by one; with more of them the span they cover is read at once.
_MAX_STRETCHES: Final = 64


@dataclass(frozen=True)
class Index:
    """Where each example stands: in the order of the data, and in the files.

    `n_tokens` and `shard` are [example]. `row`, `token` and `pair` are the first row of each example in the
    file of its shard, in columns with one row per example, per token, and per pair of tokens.
    """

    n_tokens: IntArray
    shard: IntArray
    row: IntArray
    token: IntArray
    pair: IntArray
    starts: IntArray
    order: tuple[IntArray, ...]

    @classmethod
    def of(cls, n_tokens: IntArray, shards: Sequence[Sequence[int]]) -> Index:
        """Lay out examples of these lengths; `shards` lists the examples of each shard in its order."""
        shard, row, token, pair = (np.empty(len(n_tokens), dtype=np.int64) for _ in range(4))
        order = tuple(np.asarray(examples, dtype=np.int64) for examples in shards)
        for number, examples in enumerate(order):
            lengths = n_tokens[examples]
            shard[examples] = number
            row[examples] = np.arange(len(examples))
            token[examples] = np.cumsum(lengths) - lengths
            pair[examples] = np.cumsum(lengths**2) - lengths**2
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(n_tokens)])
        return cls(n_tokens, shard, row, token, pair, starts, order)


class Source(NamedTuple):
    """One column: its name in the files, what its rows are, and how to get at a file that is known to be sound."""

    name: str
    axes: tuple[str, ...]
    tail: tuple[int, ...]
    dtype: torch.dtype
    places: Index
    file: Callable[[int], Path]


class RowView:
    """Values of one site as rows `[token, d]`, or `[example, d]` where they were pooled or exist once per example.

    Rows stand in the order of the data: row i belongs to row i of `store.tokens` (or of `store.examples`).
    Nothing is read before it is asked for; a slice, integers or a mask give a torch tensor in the stored dtype:

        view[:100], view[-1], view[[5, 3]], view[mask], view[:100, :16], view.example(7)

    Iterating goes through the shards and gives (row numbers, values) of each: the fastest way through everything.

    Attributes:
        axes: names of the axes, "token" or "example" first.
        shape: rows first.
        dtype: of the values.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.axes = source.axes
        self.dtype = source.dtype
        index = source.places
        self._by_token = source.axes[0] == "token"
        self._starts = index.starts if self._by_token else np.arange(len(index.n_tokens) + 1)
        self._first = index.token if self._by_token else index.row
        self.shape = (int(self._starts[-1]), *source.tail)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"RowView({self._source.name} [{', '.join(self.axes)}], shape {self.shape}, {self.dtype})"

    def __getitem__(self, wanted: Any) -> Tensor:
        """Read rows; further indices apply to what was read.

        Raises:
            UsageError: a row that is not there, or an index that is none.
            StoreError: the file that holds a row is damaged.
        """
        rest: tuple[Any, ...] = ()
        if isinstance(wanted, tuple):
            wanted, rest = (wanted[0], wanted[1:]) if wanted else (slice(None), ())
        if isinstance(wanted, int | np.integer) and not isinstance(wanted, bool):
            found = self._read(self._rows([int(wanted)]))[0]
            return found[rest] if rest else found
        found = self._read(self._rows(wanted))
        return found[(slice(None), *rest)] if rest else found

    def __iter__(self) -> Iterator[tuple[IntArray, Tensor]]:
        for number, examples in enumerate(self._source.places.order):
            sizes = self._starts[examples + 1] - self._starts[examples]
            rows = np.repeat(self._starts[examples] - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
            with safe_open(self._source.file(number), framework="pt") as file:
                yield rows, file.get_tensor(self._source.name)

    def example(self, example: int) -> Tensor:
        """Values of one example, numbered as in the data: `[token, d]`, or `[d]` with one row per example."""
        example = _known(example, len(self._source.places.n_tokens))
        first = int(self._first[example])
        n = int(self._starts[example + 1] - self._starts[example])
        with safe_open(self._source.file(int(self._source.places.shard[example])), framework="pt") as file:
            found: Tensor = file.get_slice(self._source.name)[first : first + n]
        return found if self._by_token else found[0]

    def _rows(self, wanted: Any) -> IntArray:
        n = len(self)
        if isinstance(wanted, slice):
            return np.arange(n, dtype=np.int64)[wanted]
        if wanted is Ellipsis:
            return np.arange(n, dtype=np.int64)
        rows = np.asarray(wanted.cpu() if isinstance(wanted, Tensor) else wanted)
        if rows.size == 0:
            return np.empty(0, dtype=np.int64)
        if rows.ndim != 1 or rows.dtype.kind not in "iub":
            raise UsageError(
                f"{self._source.name} is indexed by a row, a slice, rows or a mask of {n} rows, not by {wanted!r:.60}"
            )
        if rows.dtype.kind == "b":
            if len(rows) != n:
                raise UsageError(f"a mask of {len(rows)} rows was given, but {self._source.name} has {n} rows")
            return np.flatnonzero(rows)
        rows = rows.astype(np.int64)
        outside = rows[(rows < -n) | (rows >= n)]
        if len(outside):
            raise UsageError(f"asked for row {outside[0]} of {self._source.name}, which has rows 0 to {n - 1}")
        return np.where(rows < 0, rows + n, rows)

    def _read(self, rows: IntArray) -> Tensor:
        found = torch.empty((len(rows), *self._source.tail), dtype=self.dtype)
        example = np.searchsorted(self._starts, rows, side="right") - 1
        place = self._first[example] + rows - self._starts[example]
        shard = self._source.places.shard[example]
        for number in np.unique(shard).tolist():
            here = np.flatnonzero(shard == number)
            here = here[np.argsort(place[here], kind="stable")]
            with safe_open(self._source.file(number), framework="pt") as file:
                piece = file.get_slice(self._source.name)
                for first, last in _stretches(place[here]):
                    inside = here[first:last]
                    low = int(place[inside[0]])
                    values = piece[low : int(place[inside[-1]]) + 1]
                    found[torch.from_numpy(inside)] = values[torch.from_numpy(place[inside] - low)]
        return found


class PatternView:
    """Attention patterns of one layer, one `[head, query, key]` tensor per example; examples have their own width.

    `len`, iteration (in the order of the data) and `view[i]` are over examples.

    Attributes:
        axes: "example", "head", "query", "key".
        shape: examples and heads; the other two sizes are those of the example, so they stand as None.
        dtype: of the values.
    """

    def __init__(self, source: Source, n_heads: int) -> None:
        self._source = source
        self.axes = source.axes
        self.dtype = source.dtype
        self.shape = (len(source.places.n_tokens), n_heads, None, None)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"PatternView({self._source.name} [{', '.join(self.axes)}], shape {self.shape}, {self.dtype})"

    def __getitem__(self, example: int) -> Tensor:
        return self.example(example)

    def __iter__(self) -> Iterator[Tensor]:
        return (self.example(example) for example in range(len(self)))

    def example(self, example: int) -> Tensor:
        """Read the pattern `[head, query, key]` of one example, numbered as in the data.

        Raises:
            UsageError: there is no such example.
            StoreError: the file that holds it is damaged.
        """
        index, n_heads = self._source.places, self.shape[1]
        example = _known(example, len(self))
        n, first = int(index.n_tokens[example]), int(index.pair[example]) * n_heads
        with safe_open(self._source.file(int(index.shard[example])), framework="pt") as file:
            flat: Tensor = file.get_slice(self._source.name)[first : first + n * n * n_heads]
        return flat.view(n, n_heads, n).transpose(0, 1).contiguous()


def _known(example: Any, n: int) -> int:
    if isinstance(example, bool) or not isinstance(example, int | np.integer) or not -n <= example < n:
        raise UsageError(f"asked for example {example!r:.60}; the store has examples 0 to {n - 1}")
    return int(example) % n


def _stretches(place: IntArray) -> list[tuple[int, int]]:
    """Cut ascending places into stretches without gaps, or not at all where they would be too many."""
    cuts = (np.flatnonzero(np.diff(place) > 1) + 1).tolist()
    if len(cuts) >= _MAX_STRETCHES:
        return [(0, len(place))]
    return list(zip([0, *cuts], [*cuts, len(place)], strict=True))
