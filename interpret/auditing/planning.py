"""What an audit will run and about how long that takes; and counts that keep it within a budget.

The budget is turned into counts before anything is measured: what runs then hangs on the counts alone, and running the
same counts again gives the same bytes, however fast the machine is that day.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from interpret.analyzers.attribution import attribute, gradients_available
from interpret.auditing.config import AuditConfig
from interpret.auditing.encoding import encode_examples, row_of
from interpret.auditing.identity import capture_logit_difference
from interpret.auditing.stage import Cost, Count, Scope, Stage
from interpret.auditing.stages import STAGES
from interpret.errors import UsageError
from interpret.models.batching import run_batches
from interpret.models.kernels import fast_linear
from interpret.results.plans import AuditPlan, PlannedStage

#: Texts that are run to see how long one takes, and how long is spent on that at least.
_TIMED: Final = 32
_TIMED_BACK: Final = 8
_TIMED_STEPS: Final = 8
_SECONDS: Final = 0.6
#: Of a budget this share is planned with: texts differ in length, and a machine is not equally fast all the time.
_PLANNED_SHARE: Final = 0.88
#: What every stage costs besides, in seconds.
_PER_STAGE: Final = 0.05
#: Fewer examples than this are not audited to keep a budget.
_LEAST_EXAMPLES: Final = 50


class Rates(NamedTuple):
    """Seconds for one row of mean length: forward, forward and back, captured, and forward by the plain kernels."""

    forward: float
    backward: float
    captured: float
    plain: float

    def seconds(self, cost: Cost) -> float:
        altered = cost.forward * self.forward + cost.backward * self.backward
        return altered + cost.captured * self.captured + cost.plain * self.plain + cost.seconds


def measure_rates(scope: Scope) -> Rates:
    """Run a few texts of the data, evenly spread, and see how long one takes.

    Seconds of the processor are measured for each kind of row, and one factor from them to seconds of the clock over
    all of it: what else the machine does is seen over the whole time, and does not fall on one kind of row by chance.
    """
    handle = scope.handle
    numbers = np.unique(np.linspace(0, len(scope) - 1, _TIMED).astype(int)).tolist()
    encoded = encode_examples(handle, scope.examples, numbers)
    some = encoded[:: max(1, len(encoded) // _TIMED_BACK)][:_TIMED_BACK]
    rows = [row_of(handle, e) for e in encoded]

    def forward(batch: dict[str, torch.Tensor], _: list[int]) -> None:
        with torch.no_grad():
            handle.model(**batch, **handle.without_cache)

    watch = _Watch(wall_only=handle.device.type != "cpu")
    plain = watch.mean(lambda: list(run_batches(handle, rows, forward))) / len(rows)
    with fast_linear(handle):
        one = watch.mean(lambda: list(run_batches(handle, rows, forward))) / len(rows)
    back, captured = 3 * one, 2 * plain
    if gradients_available(handle):
        few = some[:_TIMED_STEPS]
        at = [_first_word(e.word_index) for e in few] if handle.task == "token-classification" else None

        def integrate() -> object:
            return attribute(handle, few, method="integrated_gradients", n_steps=_TIMED_STEPS, at=at)

        # Many gradients in one call, as in an audit: of a single one the call itself would be the larger part.
        back = watch.mean(integrate) / (_TIMED_STEPS * len(few))
    if handle.task != "seq2seq-lm":
        captured = watch.mean(lambda: capture_logit_difference(handle, some)) / len(some)
    return Rates(*(watch.factor * rate for rate in (one, back, captured, plain)))


def _first_word(index: tuple[int, ...]) -> int:
    return next((word for word in index if word >= 0), 0)


class _Watch:
    """Mean processor seconds of pieces of work, and how many seconds of the clock each of them took over all."""

    def __init__(self, *, wall_only: bool) -> None:
        self._clock = time.perf_counter if wall_only else time.process_time
        self._wall = self._busy = 0.0

    @property
    def factor(self) -> float:
        return self._wall / self._busy if self._busy else 1.0

    def mean(self, work: Callable[[], object]) -> float:
        """Of some runs; the first warms up and does not count."""
        work()
        busy, wall, n = self._clock(), time.perf_counter(), 0
        while n == 0 or time.perf_counter() - wall < _SECONDS:
            work()
            n += 1
        self._wall += time.perf_counter() - wall
        spent = self._clock() - busy
        self._busy += spent
        return spent / n


def plan_stages(scope: Scope, rates: Rates) -> tuple[PlannedStage, ...]:
    """Every stage with its examples, rows and seconds; what does not apply says why."""
    return tuple(_planned(scope, rates, stage) for stage in STAGES)


def _planned(scope: Scope, rates: Rates, stage: Stage) -> PlannedStage:
    why = stage.why_not(scope)
    if why is not None:
        return PlannedStage(stage=stage.name, n=0, forward=0, backward=0, seconds=0.0, why=why)
    cost = stage.cost(scope)
    return PlannedStage(
        stage=stage.name,
        n=stage.count(scope),
        forward=round(cost.forward + cost.captured + cost.plain),
        backward=round(cost.backward),
        seconds=round(rates.seconds(cost) + _PER_STAGE, 2),
    )


def make_plan(scope: Scope, rates: Rates, *, budget: float | None = None) -> AuditPlan:
    """The plan as a record; `budget` in seconds, if there is one."""
    return AuditPlan(
        model=scope.handle.name,
        data=scope.examples.name,
        stages=plan_stages(scope, rates),
        n_examples=len(scope),
        config=scope.config.resolved(),
        budget_seconds=budget,
        reduced_from=dict(scope.config.reduced_from),
    )


@dataclass(frozen=True)
class _Fit:
    scope: Scope
    rates: Rates

    def seconds(self, config: AuditConfig) -> float:
        scope = replace(self.scope, config=config)
        if config.limit is not None and config.limit < len(scope):
            # Costs follow the number of examples; which ones are drawn does not matter for them.
            scope = replace(scope, examples=scope.examples.take(range(config.limit)))
        return sum(stage.seconds for stage in plan_stages(scope, self.rates))


def fit_budget(scope: Scope, rates: Rates, seconds: float) -> AuditConfig:
    """The configuration with counts lowered until the stages take no longer than `seconds`.

    All counts are lowered by the same factor down to the least that says anything; then whole parts are left out, the
    dearest to give up last; then fewer examples are looked at. Counts are never raised.

    Raises:
        UsageError: the least that an audit runs takes longer.
    """
    fit, wanted = _Fit(scope, rates), scope.config
    allowed = seconds * _PLANNED_SHARE
    if fit.seconds(wanted) <= allowed:
        return wanted
    counts = [count for stage in STAGES for count in stage.counts if getattr(wanted, count.key) > 0]
    for step in range(1, 41):
        tried = _lowered(wanted, counts, 0.9**step)
        if fit.seconds(tried) <= allowed:
            return _marked(tried, wanted)
    tried = _lowered(wanted, counts, 0.0)
    for count in reversed(counts):
        if count.droppable:
            none: dict[str, Any] = {count.key: 0}
            tried = replace(tried, **none)
            if fit.seconds(tried) <= allowed:
                return _marked(tried, wanted)
    n = len(scope) if wanted.limit is None else min(len(scope), wanted.limit)
    while n > _LEAST_EXAMPLES:
        n = max(_LEAST_EXAMPLES, n * 9 // 10)
        tried = replace(tried, limit=n)
        if fit.seconds(tried) <= allowed:
            return _marked(tried, replace(wanted, limit=wanted.limit or len(scope)))
    least = fit.seconds(tried) / _PLANNED_SHARE
    raise UsageError(
        f"the least that an audit runs takes about {least:,.0f} s with {scope.handle.name} on this machine, and the "
        f"budget leaves {seconds:,.0f} s; allow more, or take a smaller model or shorter texts"
    )


def _lowered(config: AuditConfig, counts: list[Count], factor: float) -> AuditConfig:
    changed: dict[str, Any] = {}
    for count in counts:
        value = int(getattr(config, count.key))
        changed[count.key] = min(value, max(count.least, int(value * factor)))
    return replace(config, **changed)


def _marked(config: AuditConfig, wanted: AuditConfig) -> AuditConfig:
    """With a note of every count that is lower than it was wanted."""
    lowered = {key: getattr(wanted, key) for key in config.counts if getattr(config, key) != getattr(wanted, key)}
    return replace(config, reduced_from={**wanted.reduced_from, **lowered})
