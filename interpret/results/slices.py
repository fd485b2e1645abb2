"""Kinds of text that a model does worse on, found in one half of the data and confirmed in the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from interpret.results.record import Estimate, Message, Record

if TYPE_CHECKING:
    import pandas as pd

SliceVerdict = Literal["worse", "not_confirmed", "too_few"]


@dataclass(frozen=True, kw_only=True)
class FoundSlice:
    """Texts that share a feature which can be told without their labels, and on which more answers are wrong.

    `feature` puts it into words. `n_found` and `gap_found` are of the half in which it was found: its gap is large
    because it was chosen for that, and says nothing by itself. `accuracy` and `gap` (to the other texts) are of the
    other half, the gap's interval adjusted for all slices that were carried over; `worse` where it lies below 0.
    """

    feature: Message
    n_found: int
    gap_found: float
    accuracy: Estimate
    gap: Estimate
    verdict: SliceVerdict


@dataclass(frozen=True, kw_only=True, repr=False)
class FoundSlices(Record):
    """What was looked for and what came of it; `n_screened` features could be judged in the half that was searched."""

    rows: tuple[FoundSlice, ...]
    n_screened: int
    n_searched: int
    n_confirming: int

    @property
    def worse(self) -> tuple[FoundSlice, ...]:
        """Those that were confirmed, the largest gap first."""
        sure = [row for row in self.rows if row.verdict == "worse"]
        return tuple(sorted(sure, key=lambda row: row.gap.value or 0.0))

    def to_frame(self) -> pd.DataFrame:
        """Columns: feature (a message code), n_found, gap_found, n, accuracy, gap, ci_low, ci_high, verdict."""
        import pandas as pd

        columns = "feature n_found gap_found n accuracy gap ci_low ci_high verdict".split()
        rows = [
            (r.feature.code, r.n_found, r.gap_found, r.accuracy.n, r.accuracy.value, *_ends(r.gap), r.verdict)
            for r in self.rows
        ]
        return pd.DataFrame(rows, columns=columns)


def _ends(found: Estimate) -> tuple[float | None, float | None, float | None]:
    return found.value, found.ci_low, found.ci_high


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What somebody must know who reads nothing else: `message` in words, `section` where the evidence stands.

    `severity`: `high` where relying on the model as it is would be a mistake for some texts, `medium` where it should
    be looked into.
    """

    severity: Literal["high", "medium"]
    section: str
    message: Message
