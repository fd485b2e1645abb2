"""From a handle and examples to an `Audit`: each stage fills one section, and what is left out says why."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from interpret.analyzers.comparison.outputs import compare_outputs
from interpret.analyzers.intervals import MIN_BOOTSTRAP, softmax
from interpret.analyzers.probing import probe
from interpret.analyzers.scheduler import Scheduler
from interpret.auditing.answers import answers
from interpret.auditing.checks import run_checks
from interpret.auditing.config import AuditConfig
from interpret.auditing.examples import Examples, summarise
from interpret.auditing.explaining import explain, explanation_quality, shown_cases, words_used
from interpret.auditing.heads import attention_summary
from interpret.auditing.identity import capture_logit_difference, fingerprint, identify
from interpret.auditing.performance import performance
from interpret.auditing.stage import Run
from interpret.errors import InconclusiveError
from interpret.models.batching import Row, logits
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, encode
from interpret.models.load import weights_sha256
from interpret.readers.probe_data import ProbeData
from interpret.results.audits import SECTIONS, AttentionSummary, Audit, Comparison, Performance, RunInfo
from interpret.results.probes import ProbeResult
from interpret.results.record import Message

FloatArray = npt.NDArray[np.float64]


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
    before = fingerprint(handle)
    encoded = encode(handle, examples.texts)
    run = Run(handle, examples, encoded, config, seed, Scheduler(handle), progress)
    observed = run.sample(range(len(examples)), max(1, config.attention), stream=10)
    difference = capture_logit_difference(handle, [encoded[i] for i in observed])
    run.done("identity")
    run.done("data")

    clock.stage("performance")
    probabilities = _probabilities(handle, encoded)
    measured = _performance(run, probabilities)

    clock.stage("comparison")
    compared = _comparison(run, probabilities, base, base_missing)

    clock.stage("explanations")
    explained, shown = explain(run, probabilities)
    words = words_used(run, explained.of_sample)

    clock.stage("explanation_quality")
    quality = explanation_quality(run, explained)

    clock.stage("cases")
    cases = shown_cases(run, probabilities, explained, shown)

    clock.stage("attention")
    attention = _attention(run)

    clock.stage("probes")
    probes = _probes(run)

    clock.stage("identity_after")
    identity = identify(
        handle,
        before=before,
        after=fingerprint(handle),
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
        examples=answers(run, probabilities, explained.sample),
        run=RunInfo(started=started, seconds=clock.seconds, machine=None, command=None),
    )


def _probabilities(handle: Handle, encoded: Sequence[Encoded]) -> FloatArray:
    return softmax(logits(handle, [Row(e.ids, e.type_ids) for e in encoded]))


def _performance(run: Run, probabilities: FloatArray) -> Performance | None:
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


def _comparison(run: Run, probabilities: FloatArray, base: Handle | None, missing: Message | None) -> Comparison | None:
    if base is None:
        why = missing or Message(code="section.no_base")
        run.not_run("comparison", why.code, **why.params)
        return None
    same = base.vocabulary == run.handle.vocabulary
    notes: tuple[Message, ...] = (Message(code="compare.same_tokenizer" if same else "compare.different_tokenizer"),)
    theirs = _probabilities(base, encode(base, run.examples.texts))
    if np.array_equal(theirs, probabilities):
        notes = (*notes, Message(code="compare.identical_outputs"))
    run.partial("comparison", "section.outputs_only")
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


def _attention(run: Run) -> AttentionSummary | None:
    numbers = run.sample(range(len(run.examples)), run.config.attention, stream=100)
    if len(numbers) < MIN_BOOTSTRAP:
        run.not_run("attention", "section.too_few", n=len(numbers), needed=MIN_BOOTSTRAP)
        return None
    run.done("attention", len(numbers))
    return attention_summary(
        run.handle, [run.encoded[i] for i in numbers], seed=run.seed, n_bootstrap=run.config.bootstraps
    )


def _probes(run: Run) -> ProbeResult | None:
    """Where the audited label itself can be read off, layer by layer."""
    if run.examples.gold is None:
        run.not_run("probes", "section.no_labels")
        return None
    numbers = run.sample(range(len(run.examples)), run.config.probed, stream=110)
    data = ProbeData.of_texts(
        [run.examples.texts[i] for i in numbers],
        [run.handle.labels[int(run.examples.gold[i])] for i in numbers],
        name=run.examples.name,
        task=run.examples.label_column or "label",
    )
    try:
        result = probe(run.handle, data, seed=run.seed, n_bootstrap=run.config.bootstraps, progress=run.progress)
    except InconclusiveError as err:
        run.not_run("probes", "section.probe_inconclusive", why=err.code)
        return None
    run.partial("probes", "section.probe_labels_only", n=len(numbers))
    return result
