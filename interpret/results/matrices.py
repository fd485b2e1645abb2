"""Which input each output came from: one signed row of scores for each output."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from interpret.errors import UsageError
from interpret.results.explanations import BoolArray, ExampleAttribution, Faithfulness, FloatArray, Unit
from interpret.results.record import HoldsArrays, Record

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class AttributionMatrix(HoldsArrays, Record):
    """Signed scores [output, input] of several outputs of one text, in units of their targets (logits).

    `read` [output, input] is False where an output could not depend on an input, such as a word that is written
    after it; scores are 0 there. `quality` is None when it was not measured, and every view then says so.
    `n_truncated` counts the tokens of the text that did not fit the model's window and are no inputs. A text that was
    read in windows had `n_windows` of them, of at most `window_size` tokens, neighbours sharing `window_stride`; no
    output depends on words that stand in none of its own windows.
    """

    scores: FloatArray
    read: BoolArray
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    method: str
    unit: Unit = "token"
    quality: Faithfulness | None = None
    n_truncated: int = 0
    n_windows: int = 1
    window_size: int | None = None
    window_stride: int | None = None

    def __post_init__(self) -> None:
        shape = (len(self.outputs), len(self.inputs))
        for name in ("scores", "read"):
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(
                    f"{name} has shape {found}, expected {shape} for {shape[0]} outputs, {shape[1]} inputs"
                )
        if not np.isfinite(self.scores).all():
            raise ValueError("scores hold NaN or infinity; what could not be read is False in read")
        if np.any(self.scores[~self.read]):
            raise ValueError("scores are not 0 where read is False")

    @classmethod
    def from_attributions(
        cls, attributions: Iterable[ExampleAttribution], *, quality: Faithfulness | None = None
    ) -> Self:
        """Put together explanations of one text: of several classes, or of each word a model wrote after it.

        Args:
            attributions: one for each output, such as an `Attribution`. Their words are the same, or (as a text
                grows word by word) the words of each begin those of the longest.
            quality: measured on them together; None shows them as not measured.

        Raises:
            UsageError: none, several methods or units, or texts that do not begin the longest.
        """
        rows = list(attributions)
        if not rows:
            raise UsageError("a matrix needs at least one attribution, and none was given")
        for name in ("method", "unit"):
            found = sorted({str(getattr(row, name)) for row in rows})
            if len(found) > 1:
                raise UsageError(f"a matrix shows one {name}, and the attributions have {', '.join(found)}")
        words = [row.words() for row in rows]
        inputs = tuple(word.word for word in max(words, key=len))
        scores = np.zeros((len(rows), len(inputs)))
        read = np.zeros(scores.shape, dtype=np.bool_)
        for number, row in enumerate(words):
            if tuple(word.word for word in row) != inputs[: len(row)]:
                raise UsageError(
                    f"the words of attribution {number} ({rows[number].text[:40]!r}) do not begin those of the "
                    "longest; a matrix shows explanations of one text, or of one that grows"
                )
            scores[number, : len(row)] = [word.score for word in row]
            read[number, : len(row)] = rows[number].words_read(row)
        outputs = tuple(_named(row) for row in rows)
        windows = next((row.windows for row in rows if row.windows is not None), None)
        return cls(
            scores=scores,
            read=read,
            outputs=outputs,
            inputs=inputs,
            method=rows[0].method,
            unit=rows[0].unit,
            quality=quality,
            n_truncated=max(row.n_truncated for row in rows),
            n_windows=1 if windows is None else len(windows),
            window_size=None if windows is None else windows.size,
            window_stride=None if windows is None else windows.stride,
        )

    def to_frame(self) -> pd.DataFrame:
        """Columns: output, output_token, input, input_token, score; one row for each pair that could be read."""
        import pandas as pd

        output, input_ = np.nonzero(self.read)
        return pd.DataFrame(
            {
                "output": output,
                "output_token": [self.outputs[i] for i in output],
                "input": input_,
                "input_token": [self.inputs[i] for i in input_],
                "score": self.scores[output, input_],
            }
        )


def _named(example: ExampleAttribution) -> str:
    target = example.target
    label = str(target.index) if target.label is None else target.label
    if target.foil_index is None and target.foil_label is None:
        return label
    return f"{label} − {target.foil_index if target.foil_label is None else target.foil_label}"
