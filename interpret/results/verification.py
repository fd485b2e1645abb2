"""What was found when a saved audit was examined for changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from interpret.results.record import Message, Record

if TYPE_CHECKING:
    import pandas as pd

FindingStatus = Literal["holds", "differs", "skipped", "not_covered"]
Part = Literal[
    "sums", "file", "record", "numbers", "verdicts", "report", "signature", "model", "texts", "labels",
    "columns", "predictions", "scores",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at; `subject` names which, where there are several (a file, the weights)."""

    part: Part
    status: FindingStatus
    why: Message
    subject: str | None = None


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """What the model answers now beyond tolerance; `row` is the 0-based row of the data, `saved` what the audit says.

    Of `scores`, `again` is the largest difference relative to the largest saved score of the example.
    """

    row: int
    quantity: Literal["prediction", "confidence", "gold_probability", "scores"]
    saved: float | str | None
    again: float | str


@dataclass(frozen=True, kw_only=True, repr=False)
class Verification(Record):
    """Whether a saved audit is what was saved; who saved it only a signature tells."""

    title: str
    findings: tuple[Finding, ...]
    deviations: tuple[Deviation, ...] = ()

    @property
    def outcome(self) -> Literal["differs", "consistent", "authentic"]:
        """`authentic` needs a valid signature; without one anybody could have changed files and sums together."""
        if any(finding.status == "differs" for finding in self.findings):
            return "differs"
        signed = any(f.part == "signature" and f.status == "holds" for f in self.findings)
        return "authentic" if signed else "consistent"

    @property
    def exit_code(self) -> int:
        """1 if anything differs, else 0."""
        return 1 if self.outcome == "differs" else 0

    def to_frame(self) -> pd.DataFrame:
        """Columns: part, subject, status, why (a message code)."""
        import pandas as pd

        rows = [[f.part, f.subject, f.status, f.why.code] for f in self.findings]
        return pd.DataFrame(rows, columns=["part", "subject", "status", "why"])
