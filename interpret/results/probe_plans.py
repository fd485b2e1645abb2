"""What a probing run is going to take."""

from __future__ import annotations

from dataclasses import dataclass

from interpret.results.probes import ProbeLevel
from interpret.results.record import Record


@dataclass(frozen=True, kw_only=True, repr=False)
class ProbePlan(Record):
    """Counts and sizes are exact; seconds are an estimate from a short trial on this machine as it was then.

    `n_places` are sites and layers; `n_ridge` ridge solutions (places x lambdas x task and controls, random weights
    too), `n_logistic` refitted probes, `n_codes` description lengths. `n_tokens` run through the model.
    """

    model: str
    data: str
    task: str
    level: ProbeLevel
    n_places: int
    n_ridge: int
    n_logistic: int
    n_codes: int
    n_classes: int
    n_train: int
    n_validation: int
    n_test: int
    n_tokens: int
    bytes_in_memory: int
    bytes_on_disk: int
    seconds_activations: float
    seconds_ridge: float
    seconds_logistic: float
    seconds_codes: float

    @property
    def seconds(self) -> float:
        """About how long everything takes together, loading the model not counted."""
        return self.seconds_activations + self.seconds_ridge + self.seconds_logistic + self.seconds_codes
