"""What an audit is going to run: stages, examples, rows through the model, and about how long."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from interpret.errors import UsageError
from interpret.results.record import Message, Record, Scalar

if TYPE_CHECKING:
    import pandas as pd

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_budget(budget: str | float) -> float:
    """Seconds of `"90s"`, `"10m"`, `"1.5h"` or a number of seconds.

    Raises:
        UsageError: it is none of these, or not above 0.
    """
    if isinstance(budget, int | float) and not isinstance(budget, bool):
        seconds = float(budget)
    else:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", str(budget))
        if match is None:
            raise UsageError(f"budget {budget!r} is not a time; write it as 90s, 10m or 1.5h")
        seconds = float(match[1]) * _UNITS[match[2]]
    if not 0 < seconds < float("inf"):
        raise UsageError(f"budget {budget!r} leaves no time; write it as 90s, 10m or 1.5h")
    return seconds


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """One stage: `n` examples, rows of mean length that run forward, and forward and back; about how many seconds.

    `why` says why it does not run; then the numbers are 0.
    """

    stage: str
    n: int
    forward: int
    backward: int
    seconds: float
    why: Message | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class AuditPlan(Record):
    """The stages in the order they run, and the counts they run with.

    `seconds` are measured on a few texts on this machine just now: another load gives other ones. `budget_seconds` is
    what was allowed, `reduced_from` the counts that had to be lowered for it, as they were.
    """

    model: str
    data: str
    stages: tuple[PlannedStage, ...]
    n_examples: int
    config: Mapping[str, Scalar]
    budget_seconds: float | None = None
    reduced_from: Mapping[str, int]

    @property
    def seconds(self) -> float:
        """About how long all stages take together."""
        return sum(stage.seconds for stage in self.stages)

    def to_frame(self) -> pd.DataFrame:
        """Columns: stage, n, forward, backward, seconds, why (a message code, or None where the stage runs)."""
        import pandas as pd

        columns = [f.name for f in fields(PlannedStage)]
        rows = [[getattr(s, c) for c in columns[:-1]] + [s.why and s.why.code] for s in self.stages]
        return pd.DataFrame(rows, columns=columns)
