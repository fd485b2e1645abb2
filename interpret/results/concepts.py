"""What a model knows of columns of the data besides its label, and whether its answers depend on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from interpret.results.erasure import Availability, Erasure, ErasureVerdict
from interpret.results.record import Estimate, Message, Record

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """The share of right answers among the texts with one value of the column, and its gap to the others.

    Gap intervals are adjusted for the number of values.
    """

    value: str
    n: int
    accuracy: Estimate
    gap: Estimate


@dataclass(frozen=True, kw_only=True)
class ConceptLayer:
    """One layer. `probe` is the accuracy of the logistic probe, `control` that of a ridge probe of permuted values.

    `selectivity` is the accuracy of the ridge probe less that of the control. `erasure` was done at this layer.
    """

    probe: Estimate
    control: Estimate
    selectivity: Estimate
    erasure: Erasure

    @property
    def place(self) -> str:
        return f"{self.erasure.site}.{self.erasure.layer}"

    @property
    def availability(self) -> Availability:
        """Whether the value can be read off linearly: better than the majority, and than permuted values."""
        found = self.erasure.availability
        beyond = self.selectivity.ci_low is not None and self.selectivity.ci_low > 0
        return "unclear" if found == "available" and not beyond else found

    @property
    def verdict(self) -> ErasureVerdict:
        """That of the erasure, where the value is available beside the control too."""
        used = self.erasure.verdict in ("available_used", "available_not_used")
        return "inconclusive" if used and self.availability != "available" else self.erasure.verdict


@dataclass(frozen=True, kw_only=True)
class ConceptUse:
    """One column; `n` texts have a value.

    `layers` are the one that validation put first, the latest of equals, and the last one. Where nothing could be
    concluded there are none and `why` says why. `groups` are there where answers are known to be right or wrong.
    """

    name: str
    protected: bool
    n: int
    layers: tuple[ConceptLayer, ...] = ()
    groups: tuple[GroupRow, ...] = ()
    why: Message | None = None

    @property
    def verdict(self) -> ErasureVerdict:
        """Used if it is at one of the layers; not used, or not available, only where no layer leaves it open."""
        found = {layer.verdict for layer in self.layers}
        if "available_used" in found:
            return "available_used"
        if not found or "inconclusive" in found:
            return "inconclusive"
        return "available_not_used" if "available_not_used" in found else "not_available"


@dataclass(frozen=True, kw_only=True, repr=False)
class Concepts(Record):
    """The columns that were asked for, protected ones first; `task` is that of the model."""

    rows: tuple[ConceptUse, ...]
    task: str

    def to_frame(self) -> pd.DataFrame:
        """Columns: name, protected, verdict, site, layer, layer_verdict, probe, ci_low, ci_high, control, n."""
        import pandas as pd

        columns = "name protected verdict site layer layer_verdict probe ci_low ci_high control n".split()
        rows: list[list[object]] = []
        for row in self.rows:
            told = [row.name, row.protected, row.verdict]
            rows += [
                [
                    *told,
                    *(at.erasure.site, at.erasure.layer, at.verdict),
                    *(at.probe.value, at.probe.ci_low, at.probe.ci_high, at.control.value),
                    row.n,
                ]
                for at in row.layers
            ] or [[*told, *(None,) * 7, row.n]]
        frame = pd.DataFrame(rows, columns=columns)
        frame["layer"] = frame["layer"].astype("Int64")
        return frame
