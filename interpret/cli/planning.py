"""`audit --init` and `audit --plan`: the configuration to start from, and what would run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from interpret.cli.shell import guarded, out_file, say, show
from interpret.errors import UsageError

if TYPE_CHECKING:
    from interpret.results.plans import AuditPlan
    from interpret.results.record import Scalar


def write_config(path: Path | None) -> None:
    """Write the commented configuration and exit; called for `--init` before anything else is looked at."""
    if path is not None:
        _write(path)
        raise typer.Exit


@guarded
def _write(path: Path) -> None:
    from interpret.auditing.config_file import config_template

    if path.exists():
        raise UsageError(f"--init would overwrite {path}; name a file that is not there yet")
    out_file(path).write_text(config_template(), encoding="utf-8")
    show(str(path))


def show_plan(plan: AuditPlan) -> None:
    """Write the stages as a table, and the whole time."""
    from interpret.results.messages import words

    say_reduced(plan.reduced_from, plan.config)
    width = max(len(stage.stage) for stage in plan.stages)
    show(f"plan for {plan.model} on {plan.data}, {plan.n_examples:,} examples")
    show(f"{'stage':<{width}}  examples   forward  backward        time")
    for stage in plan.stages:
        name = stage.stage.replace("_", " ")
        if stage.why is not None:
            show(f"{name:<{width}}  not run: {words().text(stage.why)}")
            continue
        rows = f"{stage.n:>8,}  {stage.forward:>8,}  {stage.backward:>8,}"
        show(f"{name:<{width}}  {rows}  {_time(stage.seconds):>10}")
    budget = "" if plan.budget_seconds is None else f", within a budget of {_time(plan.budget_seconds)}"
    show(f"about {_time(plan.seconds)} on this machine as it is now, loading and the report not counted{budget}")


def say_reduced(reduced: Mapping[str, int], config: Mapping[str, Scalar]) -> None:
    """Say on stderr which counts a budget lowered."""
    if reduced:
        lowered = ", ".join(f"{key} {of} to {config[key]}" for key, of in sorted(reduced.items()))
        say(f"to keep the budget these were lowered: {lowered}")


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
