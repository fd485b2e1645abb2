"""What will be written, decided before anything runs: texts as flat arrays, columns, shards and their sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from interpret.capture.points import Key, n_values, name_of
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, encode
from interpret.readers.texts import Texts
from interpret.sites import axes_of

IntArray = npt.NDArray[np.int64]
Pool = Literal["mean", "cls", "last"]
POOLS: Final = ("mean", "cls", "last")
#: What one row of a column belongs to.
Rows = Literal["token", "example", "pair"]

#: Texts tokenised at once; more would live long enough as Python objects for the garbage collector to go through.
_AT_ONCE: Final = 128
#: What the tables and headers take at most, beside the values: measured, and small against them.
_PER_TOKEN, _PER_EXAMPLE, _PER_SHARD, _PER_COLUMN = 20, 160, 6000, 120


class Corpus(Sequence[Row]):
    """All texts as token ids in flat arrays: a tenth of the memory of as many `Encoded`.

    The tokens of text i stand at `starts[i]` to `starts[i + 1]`. `known_ids` are the ids that occur, ascending, and
    `known_tokens` the tokens they stand for.
    """

    def __init__(self, encoded: Iterator[Encoded]) -> None:
        ids, types, words, spans, special = _Flat("int32"), _Flat("int8"), _Flat("int32"), _Flat("int32"), _Flat("bool")
        lengths: list[int] = []
        truncated: list[int] = []
        names: dict[int, str] = {}
        self.typed = False
        for row in encoded:
            lengths.append(len(row.ids))
            truncated.append(row.n_truncated)
            ids.add(row.ids)
            words.add(row.word_index)
            special.add(row.special)
            spans.add(tuple(chain.from_iterable(row.char_spans)))
            if row.type_ids is not None:
                self.typed = True
                types.add(row.type_ids)
            names.update(zip(row.ids, row.tokens, strict=True))
        self.lengths: IntArray = np.asarray(lengths, dtype=np.int64)
        self.n_truncated: IntArray = np.asarray(truncated, dtype=np.int64)
        self.starts: IntArray = np.concatenate([[0], np.cumsum(self.lengths)])
        self.ids, self.type_ids, self.words = ids.joined(), types.joined(), words.joined()
        self.known_ids: IntArray = np.asarray(sorted(names), dtype=np.int64)
        self.known_tokens = [names[index] for index in self.known_ids.tolist()]
        self.special, self.spans = special.joined(), spans.joined().reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: Any) -> Any:
        start, end = self.starts[index], self.starts[index + 1]
        types = tuple(self.type_ids[start:end].tolist()) if self.typed else None
        return Row(tuple(self.ids[start:end].tolist()), types)

    @property
    def n_tokens(self) -> int:
        return int(self.starts[-1])

    def sha256(self) -> str:
        """Digest over what the model reads: lengths, token ids and segment ids."""
        digest = hashlib.sha256()
        for part in (self.lengths, self.ids, self.type_ids):
            digest.update(part.astype("<i8").tobytes())
        return digest.hexdigest()


class _Flat:
    """A growing array; Python objects are let go every so often."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.parts: list[npt.NDArray[Any]] = []
        self.open: list[Any] = []

    def add(self, values: Sequence[Any]) -> None:
        self.open.extend(values)
        if len(self.open) > 1 << 16:
            self._close()

    def _close(self) -> None:
        self.parts.append(np.asarray(self.open, dtype=self.dtype))
        self.open = []

    def joined(self) -> npt.NDArray[Any]:
        self._close()
        return np.concatenate(self.parts)


def tokenise(handle: Handle, texts: Texts) -> Corpus:
    """Tokenise every text before the first one runs, so that a bad one is named at once.

    Raises:
        DataError: a text has no tokens; with its line or row.
    """

    def rows() -> Iterator[Encoded]:
        for first in range(0, len(texts), _AT_ONCE):
            some = texts.texts[first : first + _AT_ONCE]
            try:
                found = encode(handle, some)
            except UsageError:
                # Only alone does a text say which one it is.
                for index, text in enumerate(some, first):
                    try:
                        encode(handle, [text])
                    except UsageError as err:
                        raise texts.wrong(index, str(err)) from err
                raise
            yield from found

    return Corpus(rows())


class Column(NamedTuple):
    """One site at one layer; `n_values` per row: per token, per example, or per pair of tokens (heads)."""

    key: Key
    name: str
    rows: Rows
    n_values: int
    axes: tuple[str, ...]

    def n_rows(self, lengths: IntArray) -> int:
        """Rows that examples of these lengths take."""
        if self.rows == "example":
            return len(lengths)
        return int(lengths.sum() if self.rows == "token" else (lengths**2).sum())


def columns_of(handle: Handle, keys: Sequence[Key], pool: Pool | None) -> list[Column]:
    """How each site is stored.

    Raises:
        UsageError: attention patterns cannot be pooled.
    """
    columns = []
    for key in keys:
        one, two = n_values(handle, key[0], 1), n_values(handle, key[0], 2)
        rows: Rows = "example" if two == one else "token" if two == 2 * one else "pair"
        axes = axes_of(key[0], 2 if rows == "example" else 3)
        if rows == "pair":
            if pool is not None:
                raise UsageError(
                    f"{name_of(key)} has axes {', '.join(axes)} and cannot be pooled over positions; leave out "
                    "pool= (--pool), or capture it into a store of its own"
                )
        elif rows == "token":
            axes = ("token" if pool is None else "example", *(axis for axis in axes[1:] if axis != "position"))
            rows = "token" if pool is None else "example"
        columns.append(Column(key, name_of(key), rows, one, axes))
    return columns


@dataclass(frozen=True)
class Shard:
    """A run of consecutive batches; its examples stand in the order in which they run."""

    number: int
    batches: list[list[int]]

    @property
    def examples(self) -> list[int]:
        return list(chain.from_iterable(self.batches))


def plan_shards(
    batches: Sequence[list[int]], columns: Sequence[Column], lengths: IntArray, itemsize: int, shard_bytes: int
) -> list[Shard]:
    """Cut the batches into shards of at most `shard_bytes` of values, but of at least one batch."""
    shards: list[Shard] = []
    current: list[list[int]] = []
    size = 0
    for batch in batches:
        wanted = values_bytes(columns, lengths[batch], itemsize)
        if current and size + wanted > shard_bytes:
            shards.append(Shard(len(shards), current))
            current, size = [], 0
        current.append(batch)
        size += wanted
    shards.append(Shard(len(shards), current))
    return shards


def values_bytes(columns: Sequence[Column], lengths: IntArray, itemsize: int) -> int:
    """Exactly what the values of examples of these lengths take."""
    return itemsize * sum(column.n_values * column.n_rows(lengths) for column in columns)


def shard_bytes_of(columns: Sequence[Column], lengths: IntArray, itemsize: int) -> int:
    """What the files of one shard take: the values exactly, tables and headers at most."""
    tables = _PER_SHARD + _PER_COLUMN * len(columns) + _PER_EXAMPLE * len(lengths) + _PER_TOKEN * int(lengths.sum())
    return values_bytes(columns, lengths, itemsize) + tables
