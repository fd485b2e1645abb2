"""Attention patterns as plain arrays: what the views of attention are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from interpret.errors import UsageError
from interpret.results.explanations import FloatArray
from interpret.results.record import HoldsArrays, Record

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class AttentionPatterns(HoldsArrays, Record):
    """Whole attention patterns of one text: where each query position looked, not why the model answered.

    `weights` [layer, head, query, key] lie between 0 and 1. `layers` numbers their first axis as the model does.
    `queries` and `keys` are the tokens of the last two; in cross-attention they are those of different texts.
    """

    weights: FloatArray
    queries: tuple[str, ...]
    keys: tuple[str, ...]
    layers: tuple[int, ...]
    model: str = ""

    def __post_init__(self) -> None:
        expected = (len(self.layers), len(self.queries), len(self.keys))
        shape = self.weights.shape
        if len(shape) != 4 or (shape[0], *shape[2:]) != expected or 0 in shape:
            raise UsageError(
                f"attention weights have shape {shape}; give [layer, head, query, key], here {expected[0]} layers, any "
                f"number of heads, {expected[1]} queries and {expected[2]} keys, and at least one of each"
            )
        # Rounding in half precision reaches a little above one.
        if not (np.isfinite(self.weights).all() and self.weights.min() >= 0.0 and self.weights.max() <= 1.01):
            raise UsageError("attention weights must lie between 0 and 1; give patterns (after softmax), not scores")

    @classmethod
    def of(
        cls,
        weights: npt.ArrayLike,
        tokens: Sequence[str],
        *,
        keys: Sequence[str] | None = None,
        layers: Sequence[int] | None = None,
        model: str = "",
    ) -> Self:
        """From plain arrays, such as another library returns them.

        Args:
            weights: [layer, head, query, key], after softmax, without pads.
            tokens: one for each query.
            keys: one for each key, where they are not the same tokens.
            layers: the number of each layer; None counts from 0.
            model: its name, shown beside the drawing.

        Raises:
            UsageError: shapes that do not fit each other, or weights outside of 0 to 1.

        """
        array = np.asarray(weights, dtype=np.float64)
        return cls(
            weights=array,
            queries=tuple(tokens),
            keys=tuple(tokens if keys is None else keys),
            layers=tuple(range(array.shape[0] if array.ndim else 0) if layers is None else layers),
            model=model,
        )

    @property
    def n_heads(self) -> int:
        return int(self.weights.shape[1])


@dataclass(frozen=True, kw_only=True)
class HeadAblation:
    """What the answer loses without one head, in logits: positive where the head speaks for the answer.

    Mean over examples of the explained logit as it is minus that with the head's output replaced by its mean over the
    tokens of these examples; a 95% bootstrap interval over examples, of each head by itself.
    """

    layer: int
    head: int
    effect: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionMap(HoldsArrays):
    """Patterns of some heads on one text that section 9 shows: `weights` [head, query, key], 255 stands for 1.

    `row` is the 0-based row in the data.
    """

    row: int
    tokens: tuple[str, ...]
    weights: UInt8Array

    def __post_init__(self) -> None:
        n = len(self.tokens)
        if self.weights.ndim != 3 or self.weights.shape[1:] != (n, n):
            raise ValueError(f"weights have shape {self.weights.shape}, expected [head, {n}, {n}] for {n} tokens")


class Head(NamedTuple):
    """Where a head stands, both counted from 0."""

    layer: int
    head: int


@dataclass(frozen=True, kw_only=True, repr=False)
class AttentionMaps(Record):
    """Whole patterns for looking at, rounded to 1/255: of a few heads, on a few of the cases shown.

    `rule` says how the heads were chosen: all of them, those with the largest measured effect, or those whose attention
    is most concentrated. `n_cases` is how many cases there were to choose from: the first that are short enough, as
    long as there is room.
    """

    heads: tuple[Head, ...]
    rule: Literal["all", "effect", "entropy"]
    maps: tuple[AttentionMap, ...]
    n_cases: int

    def __post_init__(self) -> None:
        for shown in self.maps:
            if len(shown.weights) != len(self.heads):
                raise ValueError(f"a map has {len(shown.weights)} heads, and {len(self.heads)} are named")
