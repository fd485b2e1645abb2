"""Section 5: base against tuned, and for section 9 how far each explained example moved."""

from __future__ import annotations

from typing import Final

from interpret.analyzers.comparison.pair import Pair
from interpret.analyzers.comparison.weights import MAX_SPECTRUM
from interpret.auditing.comparing import CompareConfig, Compared, compare_models
from interpret.auditing.comparing_explanations import ExplanationChanges, compare_explanations
from interpret.auditing.config import AuditConfig
from interpret.auditing.costs import attributed
from interpret.auditing.explaining import Explained
from interpret.auditing.predicting import Predictions
from interpret.auditing.stage import Cost, Run, Scope

#: Seconds of a spectrum by rows, columns and the shorter of both; matrices of the width of real models take less.
_SPECTRUM: Final = 2.5e-10


def settings_of(config: AuditConfig) -> CompareConfig:
    """The counts of a comparison within an audit."""
    return CompareConfig(
        activations=config.base_activations,
        attention=config.base_attention,
        explanations=config.base_explained,
        method=config.method,
        bootstraps=config.bootstraps,
    )


def comparison(run: Run) -> Compared:
    """Everything that is compared but explanations, which are not there yet."""
    assert run.base is not None
    predictions: Predictions = run.results["predictions"]
    found = compare_models(
        Pair(run.base, run.handle),
        run.examples,
        run.encoded,
        config=settings_of(run.config),
        seed=run.seed,
        progress=run.progress,
        # Of language models only the likeliest piece was kept, for a whole vocabulary per text would fill the memory.
        tuned_probabilities=predictions.probabilities if run.classifies else None,
    ).compared
    run.done("comparison")
    if found.record.not_compared:
        parts = ",".join(one.part for one in found.record.not_compared)
        run.partial("comparison", "section.parts_not_compared", parts=parts)
    return found


def comparison_costs(scope: Scope) -> Cost:
    """Both models on every text, both with hooks on some, and the spectra of all differences of weights."""
    captured = 2 * (scope.sampled("base_activations") + scope.sampled("base_attention"))
    shapes = [p.shape for p in scope.handle.model.parameters() if p.ndim == 2]
    work = sum(m * n * min(m, n) for m, n in shapes if min(m, n) <= MAX_SPECTRUM)
    read = sum(p.numel() for p in scope.handle.model.parameters())
    plain = len(scope) * (1 if scope.classifies else 2)
    return Cost(plain=plain, captured=captured, seconds=_SPECTRUM * work + 2e-8 * read)


def n_moved(scope: Scope) -> int:
    """How many examples are explained because their output moved most, at most."""
    return 0 if scope.base is None else scope.sampled("moved_shown")


def explanation_changes(run: Run) -> ExplanationChanges | None:
    """The explanations that are there already, beside the base's of the same answers."""
    found: Compared = run.results["comparison"]
    if not found.explains or run.base is None:
        return None
    explained: Explained = run.results["explanations"]
    sample = run.sample(explained.sample, run.config.base_explained, stream=64)
    shown = [one.number for one in explained.shown]
    return compare_explanations(
        Pair(run.base, run.handle),
        run.encoded,
        sample,
        shown,
        method=explained.of_sample.method,
        seed=run.seed,
        n_bootstrap=run.config.bootstraps,
        tuned={i: explained[i] for i in {*sample, *shown}},
    ).changes


def explanation_change_costs(scope: Scope) -> Cost:
    """One attribution by the base for each example of the sample and of section 9."""
    config = scope.config
    if config.base_explained == 0:
        return Cost()
    shown = config.errors_shown + config.random_shown + n_moved(scope)
    sample = min(scope.sampled("explained"), config.base_explained)
    n = min(len(scope), sample + shown)
    return attributed(scope, config.method) * n + Cost(plain=n)
