"""Several labels probed in one run, on the same model, sites and layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from interpret.errors import UsageError
from interpret.results.probes import BestLayer, ProbeResult
from interpret.results.record import Record

if TYPE_CHECKING:
    import pandas as pd

    from interpret.results.audits import Check


@dataclass(frozen=True, kw_only=True, repr=False)
class ProbeGrid(Record):
    """One result for each label; `p_holm` of every test is corrected over the tests of all labels together."""

    results: tuple[ProbeResult, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The labels, in the order in which they were asked for."""
        return tuple(result.task for result in self.results)

    def __getitem__(self, task: str) -> ProbeResult:
        """The result of one label.

        Raises:
            UsageError: it was not probed.
        """
        for result in self.results:
            if result.task == task:
                return result
        raise UsageError(f"{task!r} was not probed; the labels of this run are {', '.join(self.tasks)}")

    def __len__(self) -> int:
        return len(self.results)

    @property
    def best(self) -> dict[str, dict[str, BestLayer | None]]:
        """`ProbeResult.best` by label."""
        return {result.task: result.best for result in self.results}

    def judged(self, *criteria: str) -> tuple[Check, ...]:
        """As `ProbeResult.judged`; a criterion may name one of the labels, else it is about all of them."""
        from interpret.results.probe_criteria import judged, parse_criterion

        return judged(self.results, [parse_criterion(written, self.tasks) for written in criteria])

    def to_frame(self) -> pd.DataFrame:
        """Columns: model, site, layer, task, probe, metric, value, ci_low, ci_high, n."""
        import pandas as pd

        return pd.concat([result.to_frame() for result in self.results], ignore_index=True)

    def tests_frame(self) -> pd.DataFrame:
        """Columns: task, site, layer, probe, against, metric, difference, ci_low, ci_high, p, p_holm, n."""
        import pandas as pd

        frames = []
        for result in self.results:
            frame = result.tests_frame()
            frame.insert(0, "task", result.task)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)
