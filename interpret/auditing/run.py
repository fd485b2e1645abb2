"""From a handle and examples to an `Audit`: each stage fills one section, and what is left out says why."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from interpret.analyzers.scheduler import Scheduler
from interpret.auditing.answers import answers
from interpret.auditing.checks import run_checks
from interpret.auditing.config import AuditConfig
from interpret.auditing.encoding import encode_examples
from interpret.auditing.examples import Examples, summarise
from interpret.auditing.findings import gather
from interpret.auditing.identity import fingerprint, identify
from interpret.auditing.partial import Finished, Kept, key_of
from interpret.auditing.privacy import withhold
from interpret.auditing.stage import Run, Stage
from interpret.auditing.stages import STAGES
from interpret.models.handle import Handle
from interpret.results.audits import SECTIONS, Audit, Coverage, RunInfo
from interpret.results.examples import Answers
from interpret.results.record import Message


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
    partial: Path | None = None,
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
        partial: folder in which finished stages are kept, and from which those of an interrupted audit of the same
            model, data, counts and seed are taken; None keeps nothing.
    """
    clock = _Progress(progress)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    clock.stage("identity")
    before = fingerprint(handle)
    base_before = None if base is None else fingerprint(base)
    run = Run(
        handle,
        examples,
        config,
        seed,
        base,
        base_missing,
        encoded=encode_examples(handle, examples),
        progress=progress,
    )
    # What a stage hands over holds texts; an audit that is to keep none is not left half done on the disk.
    kept = Kept(partial if config.texts == "full" else None, key_of(run, before, base_before))
    for stage in STAGES:
        clock.stage(stage.name)
        _finish(run, stage, kept)

    clock.stage("identity_after")
    found = run.results
    identity = identify(
        handle,
        before=before,
        after=fingerprint(handle),
        difference=found["capture"],
        base_name=None if base is None else base.name,
        base_sha256=None if base_before is None else base_before.weights,
    )
    clock.stage(None)
    audit = Audit(
        title=title or f"{handle.name} · {examples.name}",
        identity=identity,
        data=summarise(examples, run.encoded),
        performance=found["performance"],
        comparison=found["comparison"],
        global_attribution=found["words"] or (),
        explanation_quality=found["explanation_quality"],
        cases=found["cases"] or (),
        attention=found["attention"],
        probes=found["probes"],
        concepts=found["concepts"],
        robustness=found["robustness"],
        shortcuts=found["shortcuts"],
        found_slices=found["slices"],
        findings=gather(
            identity=identity,
            performance=found["performance"],
            comparison=found["comparison"],
            slices=found["slices"],
            shortcuts=found["shortcuts"],
            quality=found["explanation_quality"],
            concepts=found["concepts"],
        ),
        check_rows=run_checks(
            identity, found["performance"], found["explanation_quality"], config, found["robustness"]
        ),
        coverage=_covered(run),
        config=config.resolved(),
        seed=seed,
        command=command,
        intended_use=dict(config.intended_use),
        examples=_answers(run),
        run=RunInfo(started=started, seconds=clock.seconds, machine=None, command=None),
    )
    return withhold(audit, config.texts)


def _answers(run: Run) -> Answers | None:
    """The answer to every example, where an answer is the class of a text."""
    if not run.classifies:
        return None
    return answers(run, run.results["predictions"].probabilities, run.results["explanations"].sample)


def _finish(run: Run, stage: Stage, kept: Kept) -> None:
    """Run one stage, or take what it handed over before the audit was interrupted."""
    finished = kept.read(stage)
    if finished is None:
        run.coverage, run.further = {}, []
        run.scheduler = Scheduler(run.handle)
        why = stage.why_not(run)
        value = stage.run(run) if why is None else None
        if why is not None:
            for section in stage.sections:
                run.not_run(section, why.code, **why.params)
        finished = Finished(value, tuple(run.coverage.values()), tuple(run.further))
        kept.write(stage, finished)
    run.results[stage.name] = finished.value
    run.covered += finished.coverage
    run.lacking += finished.further


def _covered(run: Run) -> tuple[Coverage, ...]:
    """One row for each section, in order, and below them what sections lack that are otherwise there."""
    rows = {row.section: row for row in run.covered}
    for section in ("verdict", "identity", "data", "limits", "reproduce"):
        rows[section] = Coverage(section=section, status="done")
    rows["intended_use"] = Coverage(section="intended_use", status="done")
    if not run.config.intended_use:
        why = Message(code="section.not_supplied")
        rows["intended_use"] = Coverage(section="intended_use", status="not_run", why=why)
    missing = Message(code="section.not_in_this_version")
    for section in SECTIONS:
        rows.setdefault(section, Coverage(section=section, status="not_run", why=missing))
    return (*(rows[section] for section in SECTIONS), *run.lacking, *_reduced(run.config))


def _reduced(config: AuditConfig) -> tuple[Coverage, ...]:
    """What a time budget lowered, one row for each count."""
    section_of = {count.key: count.section for stage in STAGES for count in stage.counts}
    rows = []
    for key, wanted in sorted(config.reduced_from.items()):
        why = Message(code="section.budget", params={"key": key, "n": getattr(config, key), "of": wanted})
        rows.append(Coverage(section=section_of.get(key, "data"), status="partial", why=why))
    return tuple(sorted(rows, key=lambda row: SECTIONS.index(row.section)))
