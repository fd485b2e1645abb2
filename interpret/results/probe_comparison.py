"""What fine-tuning changed in what probes read, place by place, on the same items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from interpret.errors import UsageError
from interpret.results.probes import ProbeLevel
from interpret.results.record import Message, Record

if TYPE_CHECKING:
    import pandas as pd

ComparedMetric = Literal["accuracy", "selectivity", "log2_probability"]
_COLUMNS = "site layer probe metric base tuned difference ci_low ci_high p p_holm n".split()


@dataclass(frozen=True, kw_only=True)
class ComparedProbe:
    """Tuned minus base at one site and layer: 95% bootstrap interval and sign-flip p-value over sentences.

    `log2_probability` is of the label, under the logistic probe; its difference is that of V-information in bits.
    `p_holm` is corrected over all rows of the comparison.
    """

    site: str
    layer: int | None
    probe: Literal["ridge", "logistic"]
    metric: ComparedMetric
    base: float
    tuned: float
    difference: float
    ci_low: float
    ci_high: float
    p: float
    p_holm: float
    n: int


@dataclass(frozen=True, kw_only=True, repr=False)
class ProbeComparison(Record):
    """Probes of a base and a tuned model on the same items. Encoded is not used: nothing here is causal.

    `content_sha256` is a digest of the items, their labels, controls and parts.
    """

    rows: tuple[ComparedProbe, ...]
    base: str
    tuned: str
    task: str
    level: ProbeLevel
    classes: tuple[str, ...]
    n_train: int
    n_validation: int
    n_test: int
    n_clusters_test: int
    n_duplicate_sentences: int
    n_duplicate_train_sentences: int
    n_control_seeds: int
    seed: int
    content_sha256: str
    notes: tuple[Message, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Columns: site, layer, probe, metric, base, tuned, difference, ci_low, ci_high, p, p_holm, n."""
        import pandas as pd

        frame = pd.DataFrame([[getattr(row, c) for c in _COLUMNS] for row in self.rows], columns=_COLUMNS)
        frame["layer"] = frame["layer"].astype("Int64")
        return frame

    def changed(self, alpha: float = 0.05) -> tuple[ComparedProbe, ...]:
        """Rows whose difference stands after Holm's correction."""
        return tuple(row for row in self.rows if row.p_holm <= alpha)

    def judged(self, max_loss: float, metric: ComparedMetric = "accuracy") -> Literal["pass", "fail", "inconclusive"]:
        """Whether the tuned model loses no more than `max_loss` at any place.

        It fails where a whole interval lies beyond, passes where none reaches beyond, and is otherwise inconclusive.

        Raises:
            UsageError: a negative loss, or a metric that was not compared.
        """
        rows = [row for row in self.rows if row.metric == metric]
        if max_loss < 0 or not rows:
            raise UsageError(
                f"cannot judge {metric} by a loss of {max_loss}; losses are 0 or more, of a compared metric"
            )
        if any(row.ci_high < -max_loss for row in rows):
            return "fail"
        return "pass" if all(row.ci_low >= -max_loss for row in rows) else "inconclusive"

    def plot(self) -> Any:
        """A matplotlib `Figure` of both models' accuracy over layers."""
        from interpret.results.svg import probe_figure

        return probe_figure(self)
