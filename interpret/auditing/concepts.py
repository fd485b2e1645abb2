"""Columns of the data besides the label: whether the model's activations tell them, and its answers depend on that.

Off unless columns are named. For each, probes at every layer with their control, then the erasure at the layer that
validation puts first and at the last, held against both random controls; and how often answers are right by value.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from interpret.analyzers.probing import probe
from interpret.analyzers.probing.erased_outputs import MEASURED
from interpret.analyzers.probing.erasure import MAX_TEXTS, N_RANDOM, erasure
from interpret.auditing.costs import probe_costs
from interpret.auditing.performance import slice_rows
from interpret.auditing.predicting import Predictions
from interpret.auditing.stage import Cost, Run, Scope, several_stacks
from interpret.errors import InconclusiveError
from interpret.readers.probe_data import ProbeData
from interpret.results.concepts import ConceptLayer, Concepts, ConceptUse, GroupRow
from interpret.results.probes import ProbeKind, ProbeMetric, ProbeResult
from interpret.results.record import Estimate, Message

SITE: Final = "resid_post"
#: Share of the texts that the outputs are looked at on, as `probe` splits them.
_TESTED: Final = 0.2
_STREAM: Final = 120


def why_not(scope: Scope) -> Message | None:
    """Said unless columns were named, of a model that has an output to lose."""
    if not scope.config.concept_columns:
        return Message(code="section.no_concepts")
    if scope.config.probed == 0:
        return Message(code="section.none_asked", params={"key": "probed"})
    if scope.handle.task not in MEASURED or scope.handle.task == "token-classification":
        return Message(code="section.task_not_supported", params={"task": scope.handle.task})
    return several_stacks(scope)


def costs(scope: Scope) -> Cost:
    """The probes; and at two layers a capture, the tested texts as they are, erased, and under each control."""
    n, columns = scope.sampled("probed"), len(scope.config.concept_columns)
    tested = min(MAX_TEXTS, _TESTED * n)
    # Two hidden layers and neighbours, before and after: epochs over all texts, and products of all pairs.
    fits = 0.5 + 2e-3 * n + 4e-9 * n * n * scope.handle.d_model**0.5
    one = Cost(captured=n, plain=tested * (2 + 2 * N_RANDOM), seconds=fits)
    return (probe_costs(scope) + one * min(2, scope.handle.n_layers)) * columns


def concepts(run: Run) -> Concepts:
    """Each column that was named, the protected ones first."""
    protected = run.config.protected_columns
    rows = tuple(
        _column(run, name, protected=name in protected, stream=_STREAM + place)
        for place, name in enumerate(run.config.concept_columns)
    )
    if run.results.get("probes") is None:
        run.partial("probes", "section.concepts_only", n=len(rows))
    return Concepts(rows=rows, task=run.handle.task)


def _column(run: Run, name: str, *, protected: bool, stream: int) -> ConceptUse:
    values = run.examples.extra[name]
    numbers = run.sample([i for i, value in enumerate(values) if value is not None], run.config.probed, stream)
    data = ProbeData.of_texts(
        [run.examples.texts[i] for i in numbers],
        [values[i] for i in numbers],
        name=run.examples.name,
        task=name,
    )
    asked = ConceptUse(name=name, protected=protected, n=len(numbers), groups=_groups(run, name))
    gold = run.examples.gold
    own = None if gold is None or not run.classifies else ([[int(gold[i])] for i in numbers], None)
    n_bootstrap = run.config.bootstraps
    try:
        found = probe(
            run.handle,
            data,
            sites=(SITE,),
            random_weights=False,
            seed=run.seed,
            n_bootstrap=n_bootstrap,
            progress=run.progress,
        )
        layers = tuple(
            ConceptLayer(
                probe=_estimate(found, layer, "logistic", "accuracy"),
                control=_estimate(found, layer, "control", "accuracy"),
                selectivity=_estimate(found, layer, "ridge", "selectivity"),
                erasure=erasure(
                    run.handle,
                    data,
                    site=f"{SITE}.{layer}",
                    gold=own,
                    seed=run.seed,
                    n_bootstrap=n_bootstrap,
                    progress=run.progress,
                ),
            )
            for layer in _layers(found)
        )
    except InconclusiveError as err:
        return replace(asked, why=Message(code="section.probe_inconclusive", params={"why": err.code}))
    return replace(asked, layers=layers)


def _layers(found: ProbeResult) -> list[int]:
    """The layer that validation puts first, of equals the latest, and the last: what is used must arrive there."""
    screened = [(row.value, row.layer) for row in found.validation_rows if row.metric == "accuracy"]
    measured = [(value, layer) for value, layer in screened if value is not None and layer is not None]
    return sorted({max(measured)[1], max(layer for _, layer in measured)})


def _estimate(found: ProbeResult, layer: int, probe: ProbeKind, metric: ProbeMetric) -> Estimate:
    row = next(r for r in found.rows if (r.layer, r.probe, r.metric) == (layer, probe, metric))
    return Estimate(
        name=metric, value=row.value, ci_low=row.ci_low, ci_high=row.ci_high, n=row.n, interval="cluster_bootstrap"
    )


def _groups(run: Run, name: str) -> tuple[GroupRow, ...]:
    """Right answers by value, over all examples that have one."""
    predictions: Predictions = run.results["predictions"]
    values = run.examples.extra[name]
    known = [i for i, value in enumerate(values) if value is not None]
    if predictions.right is None or not run.classifies or not known:
        return ()
    right = np.asarray(predictions.right, dtype=np.float64)[known]
    return tuple(
        GroupRow(value=row.name, n=row.n, accuracy=row.accuracy, gap=row.gap)
        for row in slice_rows(right, [values[i] for i in known])
    )
