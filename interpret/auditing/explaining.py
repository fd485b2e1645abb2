"""Sections 7 to 9: what the model uses, how far that can be trusted, and single cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from interpret.analyzers.attribution import attribute
from interpret.analyzers.faithfulness import agreement, completeness, measure, randomisation, with_quality
from interpret.analyzers.scheduler import Scheduler
from interpret.auditing.comparing import Compared
from interpret.auditing.comparing_explanations import ExplanationChanges
from interpret.auditing.comparing_outputs import furthest
from interpret.auditing.costs import compared_methods
from interpret.auditing.predicting import Predictions
from interpret.auditing.stage import Run
from interpret.auditing.words import MIN_EXAMPLES, important_words
from interpret.results.audits import Case, ExplanationQuality, MethodQuality, WordImportance
from interpret.results.explanations import Attribution, ExampleAttribution, RandomisationRow
from interpret.statistics.intervals import MIN_BOOTSTRAP

CaseRule = Literal["error", "random", "moved"]


class Shown(NamedTuple):
    """An example of section 9, with the rule that chose it."""

    number: int
    rule: CaseRule


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Attributions, with their quality, by example number.

    `sample` is random, so that sections 7 and 8 speak for the data; errors and what moved most from a base model's
    output (`further`) are explained for section 9 only.
    """

    sample: tuple[int, ...]
    of_sample: Attribution
    further: tuple[int, ...]
    of_further: Attribution | None
    shown: tuple[Shown, ...]

    def __getitem__(self, number: int) -> ExampleAttribution:
        if number in self.sample:
            return self.of_sample[self.sample.index(number)]
        assert self.of_further is not None
        return self.of_further[self.further.index(number)]

    def part(self, numbers: Sequence[int]) -> Attribution:
        """The sample's attribution of some of its examples, in this order, without their quality."""
        return replace(self.of_sample, examples=tuple(self[i] for i in numbers), quality=None)


def explain(run: Run) -> Explained:
    """Explain the sample and the errors; also which examples section 9 shows, each with the rule that chose it."""
    config = run.config
    predictions: Predictions = run.results["predictions"]
    sample = run.sample(range(len(run.examples)), config.explained, stream=70)
    errors = run.sample(predictions.wrong, config.errors_shown, stream=90)
    of_sample = _with_evidence(run, sample, config.method)
    compared: Compared | None = run.results["comparison"]
    moved: list[int] = []
    if compared is not None and compared.kl_bits is not None:
        moved = [i for i in furthest(compared.kl_bits, config.moved_shown) if i not in set(errors)]
    further = sorted({*errors, *moved} - set(sample))
    at_random = [i for i in run.sample(sample, config.random_shown, stream=91) if i not in {*errors, *moved}]
    return Explained(
        sample=tuple(sample),
        of_sample=of_sample,
        further=tuple(further),
        of_further=_with_evidence(run, further, of_sample.method) if further else None,
        shown=(
            *(Shown(i, "error") for i in errors),
            *(Shown(i, "moved") for i in moved),
            *(Shown(i, "random") for i in at_random),
        ),
    )


def _with_evidence(run: Run, numbers: Sequence[int], method: str) -> Attribution:
    attribution = _attribution(run, numbers, method, run.scheduler)
    quality = measure(
        run.handle,
        attribution,
        # Of a handful of texts each stands alone, and a percentile needs many rankings.
        n_random=None if len(attribution) < MIN_BOOTSTRAP else run.config.random_rankings,
        seed=run.seed,
        n_bootstrap=run.config.bootstraps,
        scheduler=run.scheduler,
    )
    return with_quality(attribution, quality)


def _attribution(run: Run, numbers: Sequence[int], method: str, scheduler: Scheduler | None) -> Attribution:
    """What is answered, explained: of sentences the class of one word, of models that write what they write."""
    predictions: Predictions = run.results["predictions"]
    at = [int(predictions.at[i]) for i in numbers] if run.handle.task == "token-classification" else None
    encoded = [run.encoded[i] for i in numbers]
    return attribute(run.handle, encoded, method=method, at=at, seed=run.seed, scheduler=scheduler)


def words_used(run: Run) -> tuple[WordImportance, ...]:
    """Section 7; empty, and said to be, where no word stands in enough examples of a class."""
    explained: Attribution = run.results["explanations"].of_sample
    words = important_words(explained, top=run.config.words_shown)
    if words:
        run.done("global_attribution", len(explained))
    else:
        run.not_run("global_attribution", "section.no_common_words", n=len(explained), needed=MIN_EXAMPLES)
    return words


def explanation_quality(run: Run) -> ExplanationQuality:
    """Section 8: the main method on the whole sample, the others on a part of it, and the randomisation test."""
    explained: Explained = run.results["explanations"]
    config, seed = run.config, run.seed
    main = explained.of_sample
    methods = [_method_quality(main, None, seed)]
    few = run.sample(explained.sample, config.compared, stream=80)
    names = compared_methods(run)
    if few and len(names) < len(config.compared_names):
        left_out = ", ".join(name for name in config.compared_names if name not in names)
        run.lacks("explanation_quality", "section.no_gradients", names=left_out)
    for name in names:
        if name != main.method and few:
            methods.append(_method_quality(_with_evidence(run, few, name), explained.part(few), seed))
    rows: tuple[RandomisationRow, ...] = ()
    some = run.sample(explained.sample, config.randomised, stream=81)
    if len(some) >= MIN_BOOTSTRAP:
        rows = randomisation(
            run.handle,
            [run.encoded[i] for i in some],
            explained.part(some),
            # Without the run's scheduler: it remembers outputs of the model as it was.
            explain=lambda handle, encoded, targets: attribute(
                handle, encoded, target=targets, method=main.method, seed=seed
            ),
            seed=seed,
        )
    run.done("explanation_quality", len(main))
    return ExplanationQuality(methods=tuple(methods), randomisation=rows)


def _method_quality(attribution: Attribution, main: Attribution | None, seed: int) -> MethodQuality:
    assert attribution.quality is not None  # `_with_evidence` measured it
    complete = completeness(attribution)
    return MethodQuality(
        method=attribution.method,
        faithfulness=attribution.quality,
        completeness_median=complete.median,
        completeness_max=complete.max,
        agreement=None if main is None else agreement(main, attribution, seed=seed),
        n=len(attribution),
    )


def shown_cases(run: Run) -> tuple[Case, ...]:
    """Section 9: each shown example whole, with the model's answer and the rule that chose it."""
    explained: Explained = run.results["explanations"]
    predictions: Predictions = run.results["predictions"]
    compared: Compared | None = run.results["comparison"]
    changes: ExplanationChanges | None = run.results["explanation_changes"]
    bits = None if compared is None else compared.kl_bits
    before = None if compared is None else compared.base_answers
    writes = run.handle.task == "seq2seq-lm"
    cases = tuple(
        Case(
            row=run.examples.rows[number],
            rule=rule,
            label=predictions.gold[number],
            # What a model writes is known only where it was explained.
            prediction=explained[number].target.label or "" if writes else predictions.answers[number],
            confidence=_written(explained[number]) if writes else float(predictions.confidence[number]),
            slice=None if run.examples.slices is None else run.examples.slices[number],
            attribution=explained[number],
            base_prediction=None if before is None else before[number],
            output_change=None if bits is None else float(bits[number]),
            explanation_change=None if changes is None else changes.of(number),
        )
        for number, rule in explained.shown
    )
    run.done("cases", len(cases))
    return cases


def _written(example: ExampleAttribution) -> float:
    """The probability of all that was written."""
    return 0.0 if example.value is None else float(np.exp(example.value))
