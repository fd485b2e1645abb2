"""What probes found, always beside the baselines that make it readable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from interpret.results.record import Message, Record

if TYPE_CHECKING:
    import pandas as pd

    from interpret.results.audits import Check

#: What an item is: labels stand on words, texts, spans of texts, or pairs of spans or of texts.
ProbeLevel = Literal["word", "sentence", "span", "pair"]
#: What a label is: one class, a set of labels, a number.
ProbeTarget = Literal["class", "multilabel", "regression"]
ProbeKind = Literal[
    "ridge",
    "logistic",
    "mlp",
    "majority",
    "mean",
    "type",
    "bag_of_words",
    "embedding",
    "random_weights",
    "control",
    "mlp_control",
]
ProbeMetric = Literal[
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "micro_f1",
    "f1",
    "r2",
    "spearman",
    "selectivity",
    "v_information_bits",
    "description_length_bits",
    "compression",
]


@dataclass(frozen=True, kw_only=True)
class ProbeRow:
    """One cell: what one probe (or baseline) reached at one site and layer. `layer` None: no layer is involved."""

    model: str
    site: str
    layer: int | None
    task: str
    probe: ProbeKind
    metric: ProbeMetric
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class ProbeTest:
    """`probe` minus `against` in accuracy on the same items: 95% interval and sign-flip p-value over sentences.

    `p_holm` is corrected over all tests of the run.
    """

    site: str
    layer: int | None
    probe: ProbeKind
    against: ProbeKind
    metric: ProbeMetric
    difference: float
    ci_low: float
    ci_high: float
    p: float
    p_holm: float
    n: int


class BestLayer(NamedTuple):
    """Where a metric is highest; `layer` is None at a site without layers."""

    site: str
    layer: int | None
    value: float


@dataclass(frozen=True, kw_only=True, repr=False)
class ProbeResult(Record):
    """Probe accuracy, control accuracy and selectivity per layer. Encoded is not used: nothing here is causal.

    Intervals are 95% bootstraps over clusters (sentences); that of selectivity also holds the spread between control
    draws. Rows of site `none` look at no activation. `n_duplicate_sentences` are test sentences that stand in the
    training data too, `n_duplicate_train_sentences` repeat an earlier one there, `type_overlap` is the share of test
    words whose form training has. `n` of `v_information_bits` leaves out items whose label never occurs in training.
    """

    rows: tuple[ProbeRow, ...]
    task: str
    level: ProbeLevel
    classes: tuple[str, ...]
    n_train: int
    n_validation: int
    n_test: int
    n_clusters_test: int
    n_truncated_words: int
    n_duplicate_sentences: int
    control: Literal["type", "type_tuple", "permuted_labels"]
    n_control_seeds: int
    seed: int
    notes: tuple[Message, ...] = ()
    validation_rows: tuple[ProbeRow, ...] = ()
    tests: tuple[ProbeTest, ...] = ()
    n_duplicate_train_sentences: int = 0
    type_overlap: float | None = None
    #: What intervals are drawn over: sentences, or the groups that the data names.
    cluster: Literal["sentence", "group"] = "sentence"
    kind: ProbeTarget = "class"
    #: Of several labels at once, each by itself; `task` is written as in "task=label".
    label_rows: tuple[ProbeRow, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Columns: model, site, layer, task, probe, metric, value, ci_low, ci_high, n."""
        import pandas as pd

        columns = "model site layer task probe metric value ci_low ci_high n".split()
        rows = [*self.rows, *self.label_rows]
        frame = pd.DataFrame([[getattr(row, c) for c in columns] for row in rows], columns=columns)
        frame["layer"] = frame["layer"].astype("Int64")
        return frame

    def tests_frame(self) -> pd.DataFrame:
        """Columns: site, layer, probe, against, metric, difference, ci_low, ci_high, p, p_holm, n."""
        import pandas as pd

        columns = "site layer probe against metric difference ci_low ci_high p p_holm n".split()
        frame = pd.DataFrame([[getattr(test, c) for c in columns] for test in self.tests], columns=columns)
        frame["layer"] = frame["layer"].astype("Int64")
        return frame

    def best_by(self, metric: ProbeMetric, probe: ProbeKind = "logistic") -> BestLayer | None:
        """The site and layer that validation puts first, with its value of `metric` on the test part.

        Choosing by the test part itself would flatter the winner. Validation is that of the ridge screen, in accuracy
        or selectivity. None when the metric was not measured; results without validation rows have no best layer.
        """
        screen = "selectivity" if metric == "selectivity" else self.measure
        on_validation = {(r.site, r.layer): r.value for r in self.validation_rows if r.metric == screen}
        rows = {
            (r.site, r.layer): r.value
            for r in self.rows
            if r.metric == metric and r.probe == probe and r.value is not None
        }
        candidates = [(value, key) for key, value in on_validation.items() if key in rows and value is not None]
        if not candidates:
            return None
        site, layer = max(candidates, key=lambda candidate: candidate[0])[1]
        return BestLayer(site, layer, float(rows[site, layer] or 0.0))

    @property
    def measure(self) -> Literal["accuracy", "r2"]:
        """What layers are chosen by and selectivity is a difference of: accuracy, of numbers R squared."""
        return "r2" if self.kind == "regression" else "accuracy"

    @property
    def best(self) -> dict[str, BestLayer | None]:
        """Best layer by accuracy (of numbers R squared) and by selectivity, chosen on validation: they often differ."""
        found = self.best_by(self.measure) or self.best_by(self.measure, "ridge")
        return {self.measure: found, "selectivity": self.best_by("selectivity", "ridge")}

    def judged(self, *criteria: str) -> tuple[Check, ...]:
        """A check for each criterion, such as "layer 3 accuracy >= 0.9" or "best selectivity > 20%".

        The words name a metric, and may name a site (`resid_post.3`), `layer 3`, `best` (chosen on validation), and a
        probe (`ridge`, `control`, ...); what is not named means every place that was probed. A criterion is met where
        the whole interval of every such row lies on the right side, and missed where that of one lies on the wrong.

        Raises:
            UsageError: a criterion that cannot be read, or about something that was not measured.
        """
        from interpret.results.probe_criteria import judged, parse_criterion

        return judged([self], [parse_criterion(written, [self.task]) for written in criteria])

    def plot(self) -> Any:
        """A matplotlib `Figure` of accuracy, control and selectivity over layers."""
        from interpret.results.svg import probe_figure

        return probe_figure(self)
