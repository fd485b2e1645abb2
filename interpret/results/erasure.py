"""What erasing a label from the activations changed: what probes still read, and what the model still does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from interpret.results.record import Message, Record

if TYPE_CHECKING:
    import pandas as pd

ErasureMethod = Literal["leace", "inlp"]
ErasedPositions = Literal["all", "probed"]
ErasureVerdict = Literal["available_used", "available_not_used", "not_available", "inconclusive"]
UnitRanking = Literal["probe_weights", "mean_difference"]
Chosen = Literal["top", "bottom", "random"]
ErasureMeasure = Literal[
    # Accuracy of what reads the label.
    "majority",
    "type",
    "ridge",
    "logistic",
    "nearest_neighbours",
    "hidden_layer",
    "hidden_layer_control",
    # What the model itself does.
    "task_accuracy",
    "changed_predictions",
    "total_variation",
    "kl_nats",
    "log_probability_nats",
]
#: `random` takes away as many random directions, `random_displaced` moves every activation as far as the erasure does,
#: in random directions. A difference is erased minus that control, of accuracy and log probability the control minus
#: erased: harm is positive.
ErasureCondition = Literal["original", "erased", "random", "difference", "random_displaced", "difference_displaced"]
#: What a random control has in common with the erasure: the number of directions, or the size of the change as well.
Matched = Literal["rank", "size"]
Availability = Literal["available", "not_available", "unclear"]


@dataclass(frozen=True, kw_only=True)
class ErasureRow:
    """One measured number with its 95% interval over sentences; `n` items, texts or output positions."""

    part: Literal["probe", "model"]
    measure: ErasureMeasure
    condition: ErasureCondition
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class RandomErasure:
    """One draw of a control: its mean squared change as a share of the variance, and what that did to the model."""

    removed_share: float
    changed_predictions: float | None
    total_variation: float | None
    kl_nats: float | None
    matched: Matched = "rank"


@dataclass(frozen=True, kw_only=True)
class UnitAblation:
    """What the model does when `k` units of the site, chosen from the ranking, always hold their mean.

    Shares of changed predictions with the 95% interval over sentences, and of moved probability. Of `random` units
    the means over several draws, and no `units`.
    """

    chosen: Chosen
    k: int
    units: tuple[int, ...]
    changed_predictions: float | None
    ci_low: float | None
    ci_high: float | None
    total_variation: float | None


@dataclass(frozen=True, kw_only=True, repr=False)
class Erasure(Record):
    """Whether a label that can be read off a site is also used by the model: measured by erasing it linearly.

    The eraser is fitted on the training and validation items; `rank` directions are taken away at every real position
    (`positions` "all") or at those of the items only ("probed"), and replaced by their mean. `random` are controls:
    maps of the same kind and rank for directions drawn at random (`matched` "rank"), and maps that move every
    activation exactly as far as the eraser, in random directions ("size"). `removed_share` is the mean squared change
    as a share of the variance. Probes that are not linear may still read the label: `nearest_neighbours` takes the
    commonest label of the 5 items of training and validation that are nearest (Euclidean, in standard deviations before
    the erasure). All of them are looked at, since more items read more and what is left is to be shown whole. With
    `ranking` all units of the site stand in `ranked_units` by what they say about the label, and `ablations` tests
    that order in the model.
    """

    model: str
    site: str
    layer: int | None
    task: str
    level: Literal["word", "sentence"]
    classes: tuple[str, ...]
    method: ErasureMethod
    positions: ErasedPositions
    rank: int
    n_rounds: int | None
    linearly_erased: bool
    removed_share: float
    random: tuple[RandomErasure, ...]
    rows: tuple[ErasureRow, ...]
    verdict: ErasureVerdict
    why: Message
    margin: float
    n_train: int
    n_validation: int
    n_test: int
    n_clusters_test: int
    output: str
    n_texts: int
    seed: int
    ranking: UnitRanking | None = None
    ranked_units: tuple[int, ...] = ()
    ablations: tuple[UnitAblation, ...] = ()
    notes: tuple[Message, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Columns: part, measure, condition, value, ci_low, ci_high, n."""
        import pandas as pd

        columns = "part measure condition value ci_low ci_high n".split()
        return pd.DataFrame([[getattr(row, c) for c in columns] for row in self.rows], columns=columns)

    @property
    def availability(self) -> Availability:
        """Whether a linear probe reads the label, whatever became of the question whether it is used."""
        if self.verdict == "not_available":
            return "not_available"
        return "unclear" if self.why.code == "erasure_why.availability_unclear" else "available"

    def row(self, measure: ErasureMeasure, condition: ErasureCondition) -> ErasureRow | None:
        """The number of one measure under one condition; None where it was not measured."""
        return next((r for r in self.rows if (r.measure, r.condition) == (measure, condition)), None)
