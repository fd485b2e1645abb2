"""Two saved audits side by side: what changed, how sure that is, and which of it is a regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from interpret.results.audits import CheckVerdict
from interpret.results.record import Estimate, Message, Record
from interpret.statistics.intervals import paired_proportions

if TYPE_CHECKING:
    import pandas as pd

ChangeVerdict = Literal["regression", "improvement", "inconclusive", "unchanged", "not_measured"]
Better = Literal["higher", "lower"]
#: Where a loss of right answers has to reach this share of the examples to be told from chance, "no regression" says
#: nothing: at 95% that is so with fewer than 16 examples, at 97.5% with fewer than 20.
MAX_LEAST_LOSS: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One of the two audits, by what a reader knows it by; `n` examples were audited."""

    title: str
    model: str
    data: str
    n: int
    weights_sha256: str
    data_sha256: str


@dataclass(frozen=True, kw_only=True)
class Change:
    """One quantity on the examples both audits hold: new less old, paired.

    `difference` has an interval at `level`, which is adjusted for how many quantities are looked at; `p_value` is
    McNemar's exact test for accuracies, times the number of slices for slices, None for others. A `regression` is one
    whose whole interval lies on the wrong side of zero, an `improvement` one on the right side; `unchanged` means that
    no example differs at all.
    """

    quantity: Literal["accuracy", "expected_calibration_error", "faithfulness"]
    better: Better
    slice: str | None
    old: float | None
    new: float | None
    difference: Estimate
    level: float
    verdict: ChangeVerdict
    p_value: float | None = None


@dataclass(frozen=True, kw_only=True)
class CheckChange:
    """A check whose verdict or bar differs, or that only one audit has (then the other side is None).

    It is a regression if what was met is missed now at the same bar: both whole intervals then lie on their sides.
    What is nobody's criterion (`kind` "finding") is shown and never counted.
    """

    check: str
    kind: Literal["criterion", "integrity", "finding"]
    old_verdict: CheckVerdict | None
    new_verdict: CheckVerdict | None
    old_value: float | None
    new_value: float | None
    old_threshold: float | None
    new_threshold: float | None
    verdict: ChangeVerdict


@dataclass(frozen=True, kw_only=True)
class IdentityChange:
    """A fact about model, software, data or configuration that is not the same; None where an audit lacks it."""

    group: Literal["model", "software", "data", "config"]
    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True, kw_only=True, repr=False)
class AuditDiff(Record):
    """What changed from one saved audit to another, on the examples that both hold.

    `n_relabelled` examples have another label now, `n_resliced` another slice; the former are left out, for the latter
    the new slice counts. `forced`: the data differ and were compared nevertheless. `only_old_right` and
    `only_new_right` are the discordant counts, `p_value` McNemar's exact test on them. `changed_predictions` is the
    share of examples that get another answer, right or wrong.
    """

    old: Subject
    new: Subject
    n_common: int
    n_relabelled: int
    n_resliced: int
    forced: bool
    changes: tuple[Change, ...]
    checks: tuple[CheckChange, ...]
    identity: tuple[IdentityChange, ...]
    changed_predictions: Estimate
    only_old_right: int | None
    only_new_right: int | None
    p_value: float | None
    seed: int
    n_bootstrap: int
    notes: tuple[Message, ...] = ()

    @property
    def judged(self) -> tuple[Change | CheckChange, ...]:
        """Quantities and checks, all that has a verdict."""
        return self.changes + self.checks

    @property
    def regressions(self) -> tuple[Change | CheckChange, ...]:
        return tuple(row for row in self.judged if row.verdict == "regression")

    @property
    def improvements(self) -> tuple[Change | CheckChange, ...]:
        return tuple(row for row in self.judged if row.verdict == "improvement")

    @property
    def least_loss(self) -> int:
        """How many right answers have to be lost, and none won, for the interval of the accuracy to lie below zero."""
        level = next((change.level for change in self.changes if change.slice is None), 0.95)
        lost = 1
        while lost <= self.n_common and paired_proportions(0, lost, self.n_common, level)[1] >= 0:
            lost += 1
        return lost

    @property
    def too_few(self) -> bool:
        """Whether no regression was found among so few examples that one could hardly have been found."""
        return not self.regressions and self.least_loss > MAX_LEAST_LOSS * self.n_common

    @property
    def exit_code(self) -> int:
        """1 when there is a regression, 4 when too little is in common to say that there is none, else 0."""
        return 1 if self.regressions else 4 if self.too_few else 0

    def to_frame(self) -> pd.DataFrame:
        """Columns: quantity, slice, old, new, difference, ci_low, ci_high, level, n, p_value, verdict."""
        import pandas as pd

        columns = "quantity slice old new difference ci_low ci_high level n p_value verdict".split()
        rows = [
            [
                c.quantity,
                c.slice,
                c.old,
                c.new,
                c.difference.value,
                c.difference.ci_low,
                c.difference.ci_high,
                c.level,
                c.difference.n,
                c.p_value,
                c.verdict,
            ]
            for c in self.changes
        ]
        return pd.DataFrame(rows, columns=columns)
