"""From a handle and examples to an `Audit`: each stage fills one section, and what is left out says why."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from interpret.analyzers.attribution import attribute
from interpret.analyzers.comparison.outputs import compare_outputs
from interpret.analyzers.faithfulness import agreement, measure, randomisation, with_quality
from interpret.analyzers.probing import probe
from interpret.analyzers.scheduler import Scheduler
from interpret.auditing.checks import run_checks
from interpret.auditing.config import AuditConfig
from interpret.auditing.examples import Examples, summarise
from interpret.auditing.heads import attention_summary
from interpret.auditing.identity import capture_logit_difference, identify
from interpret.auditing.performance import performance
from interpret.auditing.words import important_words
from interpret.errors import InconclusiveError, UsageError
from interpret.models.batching import Row, logits
from interpret.models.inputs import Encoded, encode
from interpret.models.load import weights_sha256
from interpret.readers.probe_data import ProbeData
from interpret.results.audits import (
    SECTIONS,
    AttentionSummary,
    Audit,
    Case,
    Comparison,
    Coverage,
    ExplanationQuality,
    MethodQuality,
    Performance,
    RandomisationRow,
    RunInfo,
    WordImportance,
)
from interpret.results.explanations import Attribution, ExampleAttribution
from interpret.results.probes import ProbeResult
from interpret.results.record import Message

if TYPE_CHECKING:
    from interpret.models.handle import Handle

FloatArray = npt.NDArray[np.float64]

#: Below this many examples a bootstrap over examples says nothing.
FEWEST = 5


@dataclass
class _Progress:
    """Stages as they begin, on stderr if somebody is looking, and how long each took."""

    show: bool
    seconds: dict[str, float] = field(default_factory=dict)
    _stage: str | None = None
    _since: float = 0.0

    def stage(self, name: str | None) -> None:
        now = time.monotonic()
        if self._stage is not None:
            self.seconds[self._stage] = round(now - self._since, 2)
        self._stage, self._since = name, now
        if name is not None and self.show:
            from tqdm import tqdm

            tqdm.write(f"audit: {name.replace('_', ' ')}", file=sys.stderr)


def softmax(values: FloatArray) -> FloatArray:
    """Probabilities along the last axis."""
    shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    out: FloatArray = shifted / shifted.sum(axis=-1, keepdims=True)
    return out


def _sample(n: int, size: int, seed: int, stream: int) -> list[int]:
    """A sorted random sample of example numbers; the same seed and stream give the same one."""
    rng = np.random.default_rng([seed, stream])
    return sorted(rng.choice(n, size=min(n, size), replace=False).tolist())


@dataclass
class _Run:
    """One audit under way: what every stage needs, and what has been found so far."""

    handle: Handle
    examples: Examples
    encoded: list[Encoded]
    config: AuditConfig
    seed: int
    scheduler: Scheduler
    coverage: dict[str, Coverage] = field(default_factory=dict)

    def not_run(self, section: str, code: str, **params: Any) -> None:
        self.coverage[section] = Coverage(section=section, status="not_run", why=Message(code=code, params=params))

    def done(self, section: str, of: int | None = None) -> None:
        if of is not None and of < len(self.examples):
            why = Message(code="section.sampled", params={"n": of, "of": len(self.examples)})
            self.coverage[section] = Coverage(section=section, status="partial", why=why)
        else:
            self.coverage[section] = Coverage(section=section, status="done")


def run_audit(
    handle: Handle,
    examples: Examples,
    *,
    base: Handle | None = None,
    base_missing: Message | None = None,
    config: AuditConfig,
    seed: int = 0,
    title: str | None = None,
    command: str = "",
    progress: bool = False,
) -> Audit:
    """Run every section that the task and the data allow.

    Args:
        handle: the audited model.
        examples: what `select_examples` chose.
        base: the model before fine-tuning, with the same labels; None if there is none.
        base_missing: why a base that was asked for cannot be compared.
        config: counts and criteria.
        seed: of every sample, ranking and bootstrap.
        title: of the report; None makes one from model and data names.
        command: how to run it again, shown in the last section.
        progress: say on stderr which stage runs.
    """
    clock = _Progress(progress)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    clock.stage("identity")
    before = weights_sha256(handle.model)
    encoded = encode(handle, examples.texts)
    run = _Run(handle, examples, encoded, config, seed, Scheduler(handle))
    difference = capture_logit_difference(handle, encoded[: config.attention])
    run.done("identity")
    run.done("data")

    clock.stage("performance")
    probabilities = _probabilities(handle, encoded)
    measured = _performance(run, probabilities)

    clock.stage("comparison")
    compared = _comparison(run, probabilities, base, base_missing)

    clock.stage("explanations")
    explained, shown = _explain(run, probabilities)
    words = _words(run, explained.of_sample)

    clock.stage("explanation_quality")
    quality = _quality(run, explained)

    clock.stage("cases")
    cases = _cases(run, probabilities, explained, shown)

    clock.stage("attention")
    attention = _attention(run)

    clock.stage("probes")
    probes = _probes(run)

    clock.stage("identity_after")
    identity = identify(
        handle,
        before=before,
        after=weights_sha256(handle.model),
        difference=difference,
        base_name=None if base is None else base.name,
        base_sha256=None if base is None else weights_sha256(base.model),
    )
    clock.stage(None)
    for section in ("verdict", "limits", "reproduce"):
        run.done(section)
    if config.intended_use:
        run.done("intended_use")
    else:
        run.not_run("intended_use", "section.not_supplied")
    run.not_run("robustness", "section.not_in_this_version")
    return Audit(
        title=title or f"{handle.name} · {examples.name}",
        identity=identity,
        data=summarise(examples, encoded),
        performance=measured,
        comparison=compared,
        global_attribution=words,
        explanation_quality=quality,
        cases=cases,
        attention=attention,
        probes=probes,
        check_rows=run_checks(identity, measured, quality, config),
        coverage=tuple(run.coverage[section] for section in SECTIONS),
        config=config.resolved(),
        seed=seed,
        command=command,
        intended_use=dict(config.intended_use),
        run=RunInfo(started=started, seconds=clock.seconds, machine=None, command=None),
    )


def _probabilities(handle: Handle, encoded: Sequence[Encoded]) -> FloatArray:
    return softmax(logits(handle, [Row(e.ids, e.type_ids) for e in encoded]))


def _performance(run: _Run, probabilities: FloatArray) -> Performance | None:
    gold = run.examples.gold
    if gold is None:
        classifies = run.handle.task == "text-classification"
        for section in ("performance", "slices"):
            if classifies:
                run.not_run(section, "section.no_labels")
            else:
                run.not_run(section, "section.task_not_supported", task=run.handle.task)
        return None
    result = performance(
        probabilities,
        gold,
        run.handle.labels,
        run.examples.slices,
        seed=run.seed,
        n_bootstrap=run.config.bootstraps,
    )
    run.done("performance")
    if result.slices:
        run.done("slices")
    else:
        run.not_run("slices", "section.no_slices")
    return result


def _comparison(
    run: _Run, probabilities: FloatArray, base: Handle | None, missing: Message | None
) -> Comparison | None:
    if base is None:
        why = missing or Message(code="section.no_base")
        run.coverage["comparison"] = Coverage(section="comparison", status="not_run", why=why)
        return None
    same = _vocabulary(base) == _vocabulary(run.handle)
    notes: tuple[Message, ...] = (Message(code="compare.same_tokenizer" if same else "compare.different_tokenizer"),)
    theirs = _probabilities(base, encode(base, run.examples.texts))
    if np.array_equal(theirs, probabilities):
        notes = (*notes, Message(code="compare.identical_outputs"))
    run.coverage["comparison"] = Coverage(
        section="comparison", status="partial", why=Message(code="section.outputs_only")
    )
    return compare_outputs(
        theirs,
        probabilities,
        run.examples.gold,
        run.examples.slices,
        base_name=base.name,
        tuned_name=run.handle.name,
        seed=run.seed,
        n_bootstrap=run.config.bootstraps,
        notes=notes,
    )


def _vocabulary(handle: Handle) -> Mapping[str, int]:
    return {} if handle.tokenizer is None else handle.tokenizer.get_vocab()


@dataclass(frozen=True)
class _Explained:
    """Attributions of a random sample (sections 7 and 8 speak for the data) and of errors (section 9 only).

    `numbers` are example numbers in the order of the attribution of the same name; both carry their quality.
    """

    sample: list[int]
    of_sample: Attribution
    errors: list[int]
    of_errors: Attribution | None

    def case(self, number: int) -> ExampleAttribution:
        if number in self.sample:
            return self.of_sample[self.sample.index(number)]
        assert self.of_errors is not None  # an error outside the sample was explained with the errors
        return self.of_errors[self.errors.index(number)]


def _explain(run: _Run, probabilities: FloatArray) -> tuple[_Explained, list[tuple[int, str]]]:
    """Explain the sample and the errors; also which examples section 9 shows, each with the rule that chose it."""
    config = run.config
    sample = _sample(len(run.examples), config.explained, run.seed, 70)
    errors: list[int] = []
    if run.examples.gold is not None:
        wrong = np.flatnonzero(probabilities.argmax(axis=1) != run.examples.gold)
        errors = wrong[_sample(len(wrong), config.errors_shown, run.seed, 90)].tolist()
    further = sorted(set(errors) - set(sample))
    explained = _Explained(
        sample,
        _with_evidence(run, sample, config.method),
        further,
        _with_evidence(run, further, config.method) if further else None,
    )
    at_random = [number for number in sample[: config.random_shown] if number not in set(errors)]
    shown = [(number, "error") for number in errors] + [(number, "random") for number in at_random]
    return explained, shown


def _with_evidence(run: _Run, numbers: Sequence[int], method: str) -> Attribution:
    attribution = attribute(
        run.handle,
        [run.encoded[i] for i in numbers],
        method=method,
        seed=run.seed,
        scheduler=run.scheduler,
    )
    return with_quality(
        attribution,
        measure(
            run.handle,
            attribution,
            n_random=run.config.random_rankings,
            budget=0,
            seed=run.seed,
            n_bootstrap=run.config.bootstraps,
            scheduler=run.scheduler,
        ),
    )


def _words(run: _Run, explained: Attribution) -> tuple[WordImportance, ...]:
    if len(explained) < FEWEST:
        run.not_run("global_attribution", "section.too_few", n=len(explained), needed=FEWEST)
        return ()
    run.done("global_attribution", len(explained))
    return important_words(explained, top=run.config.words_shown, seed=run.seed, n_bootstrap=run.config.bootstraps)


def _quality(run: _Run, explained: _Explained) -> ExplanationQuality:
    """Section 8: the main method on the whole sample, the others on a part of it, and the randomisation test."""
    config, seed = run.config, run.seed
    main = explained.of_sample
    methods = [_method_quality(main, None, seed)]
    few = explained.sample[: config.compared]
    for name in config.compared_names:
        if name != main.method and few:
            part = replace(main, examples=main.examples[: config.compared], quality=None)
            methods.append(_method_quality(_with_evidence(run, few, name), part, seed))
    rows: tuple[RandomisationRow, ...] = ()
    if config.randomised and len(main) >= FEWEST:
        rows = randomisation(
            run.handle,
            [run.encoded[i] for i in explained.sample[: config.randomised]],
            replace(main, examples=main.examples[: config.randomised], quality=None),
            explain=lambda handle, encoded, targets: attribute(
                handle, encoded, target=targets, method=main.method, seed=seed
            ),
            seed=seed,
        )
    run.done("explanation_quality", len(main))
    return ExplanationQuality(methods=tuple(methods), randomisation=rows)


def _method_quality(attribution: Attribution, main: Attribution | None, seed: int) -> MethodQuality:
    deltas = [d for d in attribution.convergence_delta if d is not None]
    assert attribution.quality is not None  # `_with_evidence` measured it
    return MethodQuality(
        method=attribution.method,
        faithfulness=attribution.quality,
        completeness_median=float(np.median(deltas)) if deltas else None,
        completeness_max=float(np.max(deltas)) if deltas else None,
        agreement=None if main is None else agreement(main, attribution, seed=seed),
        n=len(attribution),
    )


def _cases(
    run: _Run, probabilities: FloatArray, explained: _Explained, shown: Sequence[tuple[int, str]]
) -> tuple[Case, ...]:
    cases = []
    for number, rule in shown:
        predicted = int(probabilities[number].argmax())
        gold = None if run.examples.gold is None else int(run.examples.gold[number])
        cases.append(
            Case(
                row=run.examples.rows[number],
                rule="error" if rule == "error" else "random",
                label=None if gold is None else run.handle.labels[gold],
                prediction=_output_name(run.handle, predicted),
                confidence=float(probabilities[number, predicted]),
                slice=None if run.examples.slices is None else run.examples.slices[number],
                attribution=explained.case(number),
            )
        )
    run.done("cases", len(cases))
    return tuple(cases)


def _output_name(handle: Handle, index: int) -> str:
    """The class, or for language models the piece of text, that an output index stands for."""
    if handle.task == "text-classification" or handle.tokenizer is None:
        return handle.labels[index] if handle.labels else str(index)
    return str(handle.tokenizer.decode([index]))


def _attention(run: _Run) -> AttentionSummary | None:
    numbers = _sample(len(run.examples), run.config.attention, run.seed, 100)
    if not numbers:
        run.not_run("attention", "section.too_few", n=0, needed=1)
        return None
    run.done("attention", len(numbers))
    return attention_summary(
        run.handle, [run.encoded[i] for i in numbers], seed=run.seed, n_bootstrap=run.config.bootstraps
    )


def _probes(run: _Run) -> ProbeResult | None:
    """Where the audited label itself can be read off, layer by layer."""
    if run.examples.gold is None:
        run.not_run("probes", "section.no_labels")
        return None
    numbers = _sample(len(run.examples), run.config.probed, run.seed, 110)
    data = ProbeData.of_texts(
        [run.examples.texts[i] for i in numbers],
        [run.handle.labels[int(run.examples.gold[i])] for i in numbers],
        name=run.examples.name,
        task=run.examples.label_column or "label",
    )
    try:
        result = probe(run.handle, data, seed=run.seed, n_bootstrap=run.config.bootstraps)
    except (InconclusiveError, UsageError) as err:
        run.not_run("probes", "section.probe_inconclusive", why=str(err))
        return None
    run.coverage["probes"] = Coverage(
        section="probes",
        status="partial",
        why=Message(code="section.probe_labels_only", params={"n": len(numbers)}),
    )
    return result
