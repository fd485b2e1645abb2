"""What the model answers to every example: the stage that performance, errors and cases are read from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interpret.analyzers.intervals import softmax
from interpret.auditing.stage import Run
from interpret.models.batching import Row, logits
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The model's answer to each example as it is shown, with the gold answer where there is one.

    `confidence` [example] is the probability of the answer. `probabilities` [example, label] are those of classifiers
    of texts, and [0, 0] for other tasks. `right` [example] is None where nothing is known to be right.
    """

    answers: tuple[str, ...]
    gold: tuple[str | None, ...]
    confidence: FloatArray
    right: BoolArray | None
    probabilities: FloatArray

    @property
    def wrong(self) -> list[int]:
        """Numbers of the examples that are answered wrongly."""
        return [] if self.right is None else np.flatnonzero(~self.right).tolist()


def probabilities_of(handle: Handle, encoded: Sequence[Encoded]) -> FloatArray:
    """Class or vocabulary probabilities [example, label]; of language models those of what comes next."""
    return softmax(logits(handle, [Row(e.ids, e.type_ids) for e in encoded]))


def predict(run: Run) -> Predictions:
    """Run every example once."""
    found = probabilities_of(run.handle, run.encoded)
    best = found.argmax(axis=1)
    confidence = found[np.arange(len(found)), best]
    if not run.classifies:
        return Predictions(
            answers=tuple(_piece(run.handle, int(index)) for index in best),
            gold=(None,) * len(run),
            confidence=confidence,
            right=None,
            probabilities=np.zeros((0, 0)),
        )
    labels, gold = run.handle.labels, run.examples.gold
    return Predictions(
        answers=tuple(labels[index] for index in best),
        gold=(None,) * len(run) if gold is None else tuple(labels[index] for index in gold),
        confidence=confidence,
        right=None if gold is None else best == gold,
        probabilities=found,
    )


def _piece(handle: Handle, index: int) -> str:
    """The piece of text that an entry of the vocabulary stands for."""
    return str(index) if handle.tokenizer is None else str(handle.tokenizer.decode([index]))
