"""What every attribution method is given, and what it hands back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from interpret.analyzers.scheduler import (
    TAKEN_OUT,
    Operator,
    Scheduler,
    Scored,
    deletion,
    masked_rows,
    removal,
    replacements,
    without,
)
from interpret.analyzers.target import Target
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded
from interpret.models.readout import of_output
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
        return self.scheduler.score_targets(rows, [self.targets[i] for i in examples])

    @property
    def even(self) -> bool:
        """Whether batches must hold rows of one length, since a function reads the output and sees no padding."""
        return of_output([target.readout for target in self.targets])

    def require_one_place(self, example: int) -> None:
        """For methods that follow attention from the position where the target of a text is read.

        Raises:
            UsageError: it is a function of the output, which may read any position.
        """
        if self.targets and self.targets[example].function is not None and self.handle.task != "text-classification":
            raise UsageError(
                "attention is followed from the one position that an output is read at, and a function may read any; "
                "use method='integrated_gradients' or 'leave_one_out'"
            )

    def operator(self, name: str | None) -> Operator:
        """How a method that masks words removes them: as `removal` has it, or with "delete" out of the ids.

        Raises:
            UsageError: there is no such operator; or words were to be taken out of a text where what is read stands at
                a place that would move, or of which nothing would be left.
        """
        if name != "delete":
            return removal(self.handle, name)
        if any(target.position is not None and not target.response for target in self.targets):
            raise UsageError(
                "taking words out moves what is explained here to other positions, so baseline='delete' serves classes "
                f"of whole texts and what follows a text; use one of {', '.join(replacements(self.handle))}"
            )
        if all(any(encoded.special) for encoded in self.encoded):
            return Operator(name, TAKEN_OUT)
        return deletion(self.handle)

    def full_row(self, example: int) -> Row:
        """What the model reads of a text, with what it read of its own response."""
        encoded = self.encoded[example]
        return self._complete(example, Row(encoded.ids, encoded.type_ids))

    def empty_row(self, example: int, operator: Operator) -> Row:
        """The baseline: every feature removed, special tokens kept."""
        row = without(self.encoded[example], (p for g in self.groups[example] for p in g), operator)
        return self._complete(example, row)

    def rows(self, example: int, keep: BoolArray, operator: Operator) -> list[Row]:
        """One row per line of `keep` [row, feature]: features that are not kept are removed."""
        made = masked_rows(self.encoded[example], self.groups[example], keep, operator)
        return [self._complete(example, row) for row in made]

    def _complete(self, example: int, row: Row) -> Row:
        return self.targets[example].complete(self.handle, row) if self.targets else row

    def spread(self, example: int, per_feature: FloatArray) -> FloatArray:
        """Feature scores [feature] as token scores [token]: equal shares, so that a word's tokens sum to its score."""
        scores = np.zeros(len(self.encoded[example].ids))
        for positions, score in zip(self.groups[example], per_feature.tolist(), strict=True):
            scores[list(positions)] = score / len(positions)
        return scores


def relative_delta(total: float, value: float, baseline_value: float) -> float:
    """|sum - (F(x) - F(b))| / max(|F(x) - F(b)|, eps); eps keeps a text that changes nothing from dividing by zero."""
    return abs(total - (value - baseline_value)) / max(abs(value - baseline_value), 1e-6)
