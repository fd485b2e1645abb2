"""One shard under construction: hooks put real tokens, already in the stored dtype, where they stand in the file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from interpret.capture.points import Key
from interpret.capture.store.disk import Image, page_memory, whole_pages
from interpret.capture.store.layout import DTYPES, SCHEMA
from interpret.capture.store.plan import Column, Corpus, Pool
from interpret.errors import ProofError, RunError, UsageError
from interpret.sites import axes_of

#: Beside the sites a shard holds, per example: its number, how many tokens it has, the class that was predicted.
PER_EXAMPLE: Final = ("example", "n_tokens", "prediction")
LOGITS: Final[Key] = ("logits", None)
#: No prediction.
NONE: Final = -1

#: Characters that the sizes of the last axes of a column take in the header, at most.
_TAIL: Final = 64
_CODES: Final = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}


class _Run(NamedTuple):
    """Rows `first` to `last` of a batch, which all have `n` tokens."""

    first: int
    last: int
    n: int


class _Batch(NamedTuple):
    indices: list[int]
    runs: list[_Run]
    width: int


class Filling:
    """The values of one shard.

    Args:
        columns: what is stored.
        examples: the examples of the shard, in the order in which they run.
        corpus: all texts.
        dtype: a key of `DTYPES`.
        pool: how tokens become one row, None to keep them.
        predict: whether to keep the class with the highest logit.
        memory: bytes to build in; a new one is made where it is too small.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        examples: Sequence[int],
        corpus: Corpus,
        dtype: str,
        pool: Pool | None,
        *,
        predict: bool,
        memory: Tensor | None = None,
    ) -> None:
        self.columns = {column.key: column for column in columns}
        self.examples = np.asarray(examples, dtype=np.int64)
        self.lengths = corpus.lengths[self.examples]
        self.dtype_name = dtype
        self.dtype = DTYPES[dtype]
        self.pool = pool
        self.predict = predict
        zero = np.zeros(1, dtype=np.int64)
        self._row = {int(example): row for row, example in enumerate(examples)}
        self._starts = {
            "example": np.arange(len(examples) + 1),
            "token": np.concatenate([zero, np.cumsum(self.lengths)]),
            "pair": np.concatenate([zero, np.cumsum(self.lengths**2)]),
        }
        self._places: list[tuple[str, int, int]] = []
        self._tails: dict[Key, tuple[int, ...]] = {}
        self._seen: set[Key] = set()
        self._batch: _Batch | None = None
        end = 0
        for name in PER_EXAMPLE:
            self._places.append((name, end, end + 8 * len(examples)))
            end += 8 * len(examples)
        for column in columns:
            size = self.dtype.itemsize * column.n_values * column.n_rows(self.lengths)
            self._places.append((column.name, end, end + size))
            end += size
        # The file as it will be: room for the header, then the values.
        self._head = whole_pages(len(_json(self._header({}))) + _TAIL * len(columns) + 8)
        self._n_bytes = self._head + end
        enough = memory is not None and len(memory) >= whole_pages(self._n_bytes)
        self.memory = memory if memory is not None and enough else page_memory(self._n_bytes)
        self._body = self.memory[self._head : self._n_bytes]
        self._views = {}
        for (_, first, last), column in zip(self._places[len(PER_EXAMPLE) :], columns, strict=True):
            self._views[column.key] = self._body[first:last].view(self.dtype)
        fixed = [self._body[first:last].view(torch.int64) for _, first, last in self._places[: len(PER_EXAMPLE)]]
        fixed[0][:] = torch.from_numpy(self.examples)
        fixed[1][:] = torch.from_numpy(self.lengths)
        self._prediction = fixed[2].fill_(NONE)

    @property
    def keys(self) -> list[Key]:
        """The sites to read."""
        return list(dict.fromkeys([*self.columns, *([LOGITS] if self.predict else [])]))

    def begin(self, indices: Sequence[int], width: int) -> None:
        """Say which examples the next forward runs, longest first, and to how many positions they are padded."""
        lengths = [int(self.lengths[self._row[index]]) for index in indices]
        edges = [0, *(row for row in range(1, len(lengths)) if lengths[row] != lengths[row - 1]), len(lengths)]
        runs = [_Run(first, last, lengths[first]) for first, last in pairwise(edges)]
        self._batch = _Batch(list(indices), runs, width)
        self._seen = set()

    def end(self) -> None:
        """Make sure that every site was read: memory that is used again must not pass for values.

        Raises:
            ProofError: a site was not read.
        """
        missing = [key for key in self.keys if key not in self._seen]
        if missing:
            name = self.columns[missing[0]].name if missing[0] in self.columns else LOGITS[0]
            raise ProofError(
                f"{name} was not computed in this forward, so it cannot be stored; ask for sites that every forward "
                "computes"
            )

    def read(self, key: Key, tensor: Tensor) -> None:
        """Take what one hook hands over."""
        batch = self._batch
        if batch is None:
            return
        if self.predict and key == LOGITS:
            rows = [self._row[index] for index in batch.indices]
            known = torch.isfinite(tensor).all(1)
            self._prediction[rows] = torch.where(known, tensor.argmax(1), NONE).cpu()
        if key in self.columns:
            self._place(self.columns[key], tensor, batch)
        self._seen.add(key)

    def _place(self, column: Column, tensor: Tensor, batch: _Batch) -> None:
        axes = axes_of(column.key[0], tensor.ndim)
        widths = [size for axis, size in zip(axes, tensor.shape, strict=True) if axis in _OVER_TOKENS]
        if any(size != batch.width for size in widths):
            raise UsageError(
                f"{column.name} runs over {max(widths)} positions where the text has {batch.width}, so it cannot "
                "be stored token by token; leave it out of sites="
            )
        tensor = _positions_first(axes, tensor)
        starts = self._starts[column.rows]
        row = self._row[batch.indices[0]]
        first, last = int(starts[row]), int(starts[row + len(batch.indices)])
        target = self._views[column.key][first * column.n_values : last * column.n_values]
        tail = tuple(tensor.shape[1:2]) if column.rows == "pair" else tuple(tensor.shape[2 if widths else 1 :])
        if self._tails.setdefault(column.key, tail) != tail or int(np.prod(tail, dtype=np.int64)) != column.n_values:
            raise ProofError(
                f"{column.name} has {tuple(tail)} values where {column.n_values} were expected from the model's "
                "config; its size cannot be told beforehand, leave it out of sites="
            )
        # Elsewhere than on the CPU everything is packed on the device, and comes over in one copy.
        packed = torch.empty_like(target, device=tensor.device) if _elsewhere(tensor) else target
        done = 0
        for run in batch.runs:
            part = self._part(column, tensor[run.first : run.last], run.n, bool(widths))
            packed[done : done + part.numel()].view(part.shape).copy_(part)
            done += part.numel()
        if torch.finfo(self.dtype).max < torch.finfo(tensor.dtype).max:
            # Rounding into a smaller range makes infinities; whether the model itself had them is asked only then.
            low, high = torch.aminmax(packed)
            if not (math.isfinite(low.item()) and math.isfinite(high.item())):
                self._refuse_overflow(column, tensor, batch, bool(widths))
        if packed is not target:
            target.copy_(packed)

    def _part(self, column: Column, rows: Tensor, n: int, over_tokens: bool) -> Tensor:
        """The real tokens of rows that all have `n` of them, in the order of the file."""
        if column.rows == "pair":
            return rows[:, :, :n, :n].transpose(1, 2)
        if not over_tokens:
            return rows
        if self.pool is None:
            return rows[:, :n]
        if self.pool == "mean":
            wide = torch.float64 if rows.dtype == torch.float64 else torch.float32
            return rows[:, :n].to(wide).mean(1)
        return rows[:, 0 if self.pool == "cls" else n - 1]

    def _refuse_overflow(self, column: Column, tensor: Tensor, batch: _Batch, over_tokens: bool) -> None:
        limit = torch.finfo(self.dtype).max
        for run in batch.runs:
            part = self._part(column, tensor[run.first : run.last], run.n, over_tokens)
            over = torch.isinf(part.to(self.dtype)) & torch.isfinite(part)
            if bool(over.any()):
                where = int(over.flatten(1).any(1).nonzero()[0, 0])
                raise RunError(
                    f"{column.name} of example {batch.indices[run.first + where]} reaches "
                    f"{float(part[over].abs().max()):.6g}, more than {self.dtype_name} holds ({limit:.6g}); store it "
                    'with dtype="bfloat16" or "float32" and overwrite=True (--store-dtype bfloat16 --overwrite)'
                )

    def image(self) -> Image:
        """The safetensors file: header, then the values where they were put."""
        header = _json(self._header(self._tails))
        # The format allows spaces after the header; with them the values need not be moved.
        header += b" " * (self._head - 8 - len(header))
        head = len(header).to_bytes(8, "little") + header
        self.memory[: self._head] = torch.frombuffer(bytearray(head), dtype=torch.uint8)
        # What is cut off again is no secret of the shard before.
        self.memory[self._n_bytes : whole_pages(self._n_bytes)] = 0
        return Image(self.memory, self._n_bytes)

    def _header(self, tails: Mapping[Key, tuple[int, ...]]) -> dict[str, Any]:
        """What the file says of its parts; of a column that has no tail yet, as if its values were one row each."""
        header: dict[str, Any] = {"__metadata__": {"schema": SCHEMA}}
        for name, first, last in self._places[: len(PER_EXAMPLE)]:
            header[name] = {"dtype": "I64", "shape": [len(self.examples)], "data_offsets": [first, last]}
        for (name, first, last), column in zip(self._places[len(PER_EXAMPLE) :], self.columns.values(), strict=True):
            # Rows of patterns are of unequal length, so they lie flat: [query][head][key] for each example.
            shape = [column.n_rows(self.lengths), *tails.get(column.key, ())]
            if column.rows == "pair":
                shape = [(last - first) // self.dtype.itemsize]
            header[name] = {"dtype": _CODES[self.dtype_name], "shape": shape, "data_offsets": [first, last]}
        return header


def _json(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header, separators=(",", ":")).encode("ascii")


_OVER_TOKENS: Final = ("position", "query", "key")


def _elsewhere(tensor: Tensor) -> bool:
    return tensor.device.type != "cpu"


def _positions_first(axes: Sequence[str], tensor: Tensor) -> Tensor:
    """Token-major: [example, position, ...]."""
    return tensor.movedim(axes.index("position"), 1) if "position" in axes else tensor
