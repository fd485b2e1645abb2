"""What a model answered to every audited example: small enough for every audit, enough to compare two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from interpret.results.record import HoldsArrays, Record

if TYPE_CHECKING:
    import pandas as pd

#: Bytes of a content digest that are kept: SHA-256 cut to 128 bits, far beyond chance collisions of rows.
DIGEST_BYTES = 16

Pairing = Literal["plain", "keyed"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Answers(HoldsArrays, Record):
    """One row per audited example, in the order of the data; it holds no text.

    Shapes: `content` is [example, 16] uint8, every other array [example]. `rows` are 0-based rows of the data,
    `predicted` the index of the highest output, `confidence` its probability. `gold` is the class index by the data's
    label and `gold_probability` what the model gives it; both are None without labels. `slice_index` points into
    `slices`, -1 where an example has none. `explained` are the examples (numbers in this table, ascending) whose
    explanations the audit measured, in the order of its quality's `per_example`.

    `content` are digests of the texts, by which examples of two audits are matched. With `pairing` "plain" they are
    SHA-256 of the text: whoever holds the audit can test whether a text they guess was in the data, which for short
    texts is a way to find it out. With "keyed" they are HMAC-SHA-256 under a key made from all texts of the data and
    never stored: to guess one text one has to know the whole data set, and only audits of the same file can be
    matched.
    """

    pairing: Pairing
    content: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    gold: npt.NDArray[np.int64] | None
    gold_probability: npt.NDArray[np.float64] | None
    slices: tuple[str, ...]
    slice_index: npt.NDArray[np.int64]
    explained: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        n = len(self)
        if self.content.shape != (n, DIGEST_BYTES) or self.content.dtype != np.uint8:
            raise ValueError(f"content has shape {self.content.shape}, expected ({n}, {DIGEST_BYTES}) bytes")
        for name in ("rows", "predicted", "confidence", "gold", "gold_probability", "slice_index"):
            found = getattr(self, name)
            if found is not None and found.shape != (n,):
                raise ValueError(f"{name} has shape {found.shape}, expected ({n},)")
        if n and not (-1 <= int(self.slice_index.min()) and int(self.slice_index.max()) < len(self.slices)):
            raise ValueError(f"slice_index points outside of the {len(self.slices)} slices")
        inside = ((self.explained >= 0) & (self.explained < n)).all()
        if not inside or (np.diff(self.explained) <= 0).any():
            raise ValueError(f"explained must be ascending numbers of the {n} examples")
        for name in ("confidence", "gold_probability"):
            found = getattr(self, name)
            if found is not None and not ((found >= 0.0) & (found <= 1.0 + 1e-9)).all():
                raise ValueError(f"{name} holds what is no probability")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def correct(self) -> npt.NDArray[np.bool_] | None:
        """Whether the label was answered [example]; None without labels."""
        return None if self.gold is None else self.predicted == self.gold

    def slice_names(self) -> list[str | None]:
        """The slice of each example."""
        return [None if i < 0 else self.slices[i] for i in self.slice_index.tolist()]

    def to_frame(self) -> pd.DataFrame:
        """Columns: row, content, predicted, confidence, gold, gold_probability, correct, slice."""
        import pandas as pd

        n = len(self)
        return pd.DataFrame(
            {
                "row": self.rows,
                "content": [digest.tobytes().hex() for digest in self.content],
                "predicted": self.predicted,
                "confidence": self.confidence,
                "gold": [None] * n if self.gold is None else self.gold,
                "gold_probability": [None] * n if self.gold_probability is None else self.gold_probability,
                "correct": [None] * n if self.correct is None else self.correct,
                "slice": self.slice_names(),
            }
        )
