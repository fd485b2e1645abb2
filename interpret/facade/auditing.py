"""`audit` and `plan_audit`: what is asked, checked and resolved before the stages run."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interpret.auditing.config import AuditConfig, resolve_config
from interpret.auditing.examples import Examples, sample_examples
from interpret.auditing.partial import read_counts, write_counts
from interpret.auditing.planning import fit_budget, make_plan, measure_rates
from interpret.auditing.replacing import refuse_other
from interpret.auditing.run import run_audit
from interpret.auditing.stage import Scope
from interpret.auditing.task_examples import read_examples
from interpret.errors import UsageError
from interpret.facade.attaching import ModelLike, as_model
from interpret.facade.comparing import base_of
from interpret.models.handle import ATTRIBUTED, Handle
from interpret.models.load import is_mutated_by_peft
from interpret.results.plans import parse_budget

if TYPE_CHECKING:
    from interpret.results.audits import Audit
    from interpret.results.plans import AuditPlan

#: What may stand for data: a path, a DataFrame, a `datasets.Dataset`, a list of dicts.
DataLike = Any


def audit(
    model: ModelLike,
    dataset: DataLike,
    text: str | None = None,
    label: str | None = None,
    slices: str | None = None,
    base: ModelLike | None = None,
    config: AuditConfig | Mapping[str, Any] | None = None,
    seed: int = 0,
    limit: int | None = None,
    *,
    label_map: str | Mapping[str, object] | None = None,
    header: bool = True,
    columns: Sequence[str] | None = None,
    skip_bad_rows: bool = False,
    budget: str | float | None = None,
    partial: str | Path | None = None,
    into: str | Path | None = None,
    title: str | None = None,
    command: str | None = None,
    progress: bool | None = None,
) -> Audit:
    """Examine a model on a data set and return everything a report shows.

    Args:
        model: attached model, path, hub id or pipeline.
        dataset: path, DataFrame, `datasets.Dataset` or list of dicts.
        text: text column; None guesses by name.
        label: label column; None guesses by name.
        slices: slice column; None takes a column called `slice`.
        base: the model before fine-tuning, to compare with.
        config: counts and declared criteria (`AuditConfig`), or any subset of its keys.
        seed: of every sample, ranking and bootstrap; the same seed gives the same audit.
        limit: audit a random sample of at most so many rows.
        label_map: `"0=negative,1=positive"` where names and ids do not decide.
        header: whether a csv or tsv has a header line.
        columns: names for the columns of a file without header.
        skip_bad_rows: count and list bad rows instead of stopping at the first.
        budget: time that this call may take: `"10m"`, `"90s"`, `"1h"` or seconds. Counts are lowered for it before
            anything is measured; they stand in the audit's `config`, with which it can be run again to the same bytes.
        partial: folder in which finished stages are kept; an audit of the same model, data, counts and seed that was
            interrupted goes on from there. It is not removed at the end. None keeps nothing.
        into: folder that the audit is going to be saved to: where a finished audit of another model, base, data,
            configuration or seed is there already, a UsageError says so before anything runs. None looks at nothing.
        title: of the report.
        command: shown in the report as the way to run it again; None describes this call.
        progress: say on stderr which stage runs; None does so on a terminal.
    """
    started = time.monotonic()
    seconds = None if budget is None else parse_budget(budget)
    asked = _ask(
        model,
        dataset,
        text=text,
        label=label,
        slices=slices,
        base=base,
        config=config,
        seed=seed,
        limit=limit,
        label_map=label_map,
        header=header,
        columns=columns,
        skip_bad_rows=skip_bad_rows,
    )
    if into is not None:
        refuse_other(
            Path(into), asked.handle, asked.everything, base=asked.base, config=asked.settings, seed=asked.seed
        )
    scope = asked.scope()
    if seconds is not None:
        asked = replace(asked, settings=_within(scope, seconds, started, partial))
        scope = asked.scope()
    return run_audit(
        asked.handle,
        scope.examples,
        base=scope.base,
        config=scope.config,
        seed=seed,
        title=title,
        command=command or asked.call(),
        progress=sys.stderr.isatty() if progress is None else progress,
        partial=None if partial is None else Path(partial),
    )


def plan_audit(
    model: ModelLike,
    dataset: DataLike,
    text: str | None = None,
    label: str | None = None,
    slices: str | None = None,
    base: ModelLike | None = None,
    config: AuditConfig | Mapping[str, Any] | None = None,
    seed: int = 0,
    limit: int | None = None,
    *,
    label_map: str | Mapping[str, object] | None = None,
    header: bool = True,
    columns: Sequence[str] | None = None,
    skip_bad_rows: bool = False,
    budget: str | float | None = None,
) -> AuditPlan:
    """What `audit` would run with the same arguments: stages, examples, rows, and about how long on this machine.

    A few texts are run to see how long one takes. With a budget the counts are those that keep it.
    """
    seconds = None if budget is None else parse_budget(budget)
    asked = _ask(
        model,
        dataset,
        text=text,
        label=label,
        slices=slices,
        base=base,
        config=config,
        seed=seed,
        limit=limit,
        label_map=label_map,
        header=header,
        columns=columns,
        skip_bad_rows=skip_bad_rows,
    )
    scope = asked.scope()
    rates = measure_rates(scope)
    if seconds is not None:
        asked = replace(asked, settings=fit_budget(scope, rates, seconds))
        scope = asked.scope()
    return make_plan(scope, rates, budget=seconds)


def _within(scope: Scope, seconds: float, started: float, partial: str | Path | None) -> AuditConfig:
    """The counts that keep a budget; those of an interrupted audit again, whose stages could not be used with others.

    What was asked must be the same but for the budget, of which loading may have taken more or less this time.
    """
    wanted = scope.config.resolved()
    kept = None if partial is None else read_counts(Path(partial), wanted)
    if kept is not None:
        return resolve_config(kept)
    settings = fit_budget(scope, measure_rates(scope), seconds - (time.monotonic() - started))
    if partial is not None:
        write_counts(Path(partial), wanted, settings.resolved())
    return settings


@dataclass(frozen=True)
class _Asked:
    """A request whose model and data are there."""

    handle: Handle
    everything: Examples
    base: Handle | None
    settings: AuditConfig
    seed: int
    options: Mapping[str, Any]

    def scope(self) -> Scope:
        """With the examples that the settings leave."""
        examples = sample_examples(self.everything, self.settings.limit, self.seed)
        return Scope(self.handle, examples, self.settings, self.seed, self.base)

    def call(self) -> str:
        """The call as one would write it again; models and data held in memory appear by their names."""
        plain, defaults = self.settings.resolved(), AuditConfig().resolved()
        config = {k: v for k, v in plain.items() if k not in defaults or v != defaults[k]}
        parameters = inspect.signature(audit).parameters
        options = {**self.options, "config": config or None}
        if config.get("limit") == options["limit"]:
            config.pop("limit", None)
            options["config"] = config or None
        given = [f"{name}={value!r}" for name, value in options.items() if value != parameters[name].default]
        return f"interpret.audit({', '.join([repr(self.handle.name), repr(self.everything.name), *given])})"


def _ask(
    model: ModelLike,
    dataset: DataLike,
    *,
    text: str | None,
    label: str | None,
    slices: str | None,
    base: ModelLike | None,
    config: AuditConfig | Mapping[str, Any] | None,
    seed: int,
    limit: int | None,
    label_map: str | Mapping[str, object] | None,
    header: bool,
    columns: Sequence[str] | None,
    skip_bad_rows: bool,
) -> _Asked:
    settings = resolve_config(config)
    if limit is not None:
        settings = replace(settings, limit=limit)
    handle = as_model(model).handle
    require_classes(handle)
    examples = read_examples(
        handle,
        dataset,
        text=text,
        label=label,
        label_map=label_map,
        slices=slices,
        extra=settings.concept_columns,
        header=header,
        columns=columns,
        skip_bad_rows=skip_bad_rows,
    )
    base_handle = _base(base, handle)
    options = {
        "text": text,
        "label": label,
        "slices": slices,
        "base": None if base_handle is None else base_handle.name,
        "config": None,
        "limit": limit,
        "label_map": label_map,
        "header": header,
        "columns": None if columns is None else list(columns),
        "skip_bad_rows": skip_bad_rows,
        "seed": seed,
    }
    return _Asked(handle, examples, base_handle, settings, seed, options)


def require_classes(handle: Handle) -> None:
    """Refuse heads whose outputs are not one of several classes: their logits are no distribution."""
    if handle.task == "none":
        raise UsageError(
            f"{handle.name} has no head ({handle.architecture}), so there is no output to audit; "
            "give a model with a classification or language-model head"
        )
    if handle.task not in ATTRIBUTED:
        raise UsageError(
            f"{handle.name} is a {handle.task} model; audits are there for {', '.join(ATTRIBUTED)}, not yet for others"
        )
    kind = getattr(handle.config, "problem_type", None)
    if handle.task == "text-classification" and (
        len(handle.labels) < 2 or kind in ("regression", "multi_label_classification")
    ):
        raise UsageError(
            f"{handle.name} has {len(handle.labels)} output(s) and the problem type {kind!r}; audits of regression and "
            "multi-label models are not available yet, only of one class out of several"
        )


def _base(base: ModelLike | None, tuned: Handle) -> Handle | None:
    """The base as a handle; what of it can be compared is said by the comparison itself."""
    if base is None:
        return None
    handle = base_of(base, tuned)
    ours = {parameter.data_ptr() for parameter in tuned.model.parameters()}
    if is_mutated_by_peft(handle.model) or any(p.data_ptr() in ours for p in handle.model.parameters()):
        raise UsageError(
            f"base shares its weights with {tuned.name}: PEFT puts its adapter into the very object it is given, so "
            "the two would be the same model; load the base a second time, for example base='path-of-the-base'"
        )
    return handle
