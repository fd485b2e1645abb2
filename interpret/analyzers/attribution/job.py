"""What every attribution method is given, and what it hands back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from interpret.analyzers.scheduler import Operator, Scheduler, Scored, masked_rows, without
from interpret.analyzers.target import Target
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.results.explanations import BoolArray, FloatArray
from interpret.results.record import Scalar


class Scores(NamedTuple):
    """One array [token] per text, and what the method knows about its own numerical quality."""

    scores: list[FloatArray]
    values: list[float | None]
    baseline_values: list[float | None]
    deltas: list[float | None]
    options: dict[str, Scalar]


@dataclass(frozen=True)
class Job:
    """A batch of texts with their targets; `groups` holds the token positions of each feature of each text."""

    handle: Handle
    encoded: Sequence[Encoded]
    targets: Sequence[Target]
    groups: Sequence[tuple[tuple[int, ...], ...]]
    scheduler: Scheduler
    seed: int
    options: dict[str, Any] = field(default_factory=dict)

    def score(self, rows: Sequence[Row], examples: Sequence[int]) -> Scored:
        """The target of each row; `examples` says which text the row was made from."""
        targets = [self.targets[i] for i in examples]
        return self.scheduler.score(
            rows,
            [t.index for t in targets],
            [t.foil_index for t in targets],
            [t.position for t in targets],
        )

    def full_row(self, example: int) -> Row:
        encoded = self.encoded[example]
        return Row(encoded.ids, encoded.type_ids)

    def empty_row(self, example: int, operator: Operator) -> Row:
        """The baseline: every feature removed, special tokens kept."""
        return without(self.encoded[example], (p for g in self.groups[example] for p in g), operator)

    def rows(self, example: int, keep: BoolArray, operator: Operator) -> list[Row]:
        return masked_rows(self.encoded[example], self.groups[example], keep, operator)

    def spread(self, example: int, per_feature: FloatArray) -> FloatArray:
        """Feature scores [feature] as token scores [token]: equal shares, so that a word's tokens sum to its score."""
        scores = np.zeros(len(self.encoded[example].ids))
        for positions, score in zip(self.groups[example], per_feature.tolist(), strict=True):
            scores[list(positions)] = score / len(positions)
        return scores


def relative_delta(total: float, value: float, baseline_value: float) -> float:
    """|sum - (F(x) - F(b))| / max(|F(x) - F(b)|, eps); eps keeps a text that changes nothing from dividing by zero."""
    return abs(total - (value - baseline_value)) / max(abs(value - baseline_value), 1e-6)
