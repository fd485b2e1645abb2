"""The plan says what runs; a budget is kept by counts that are fixed before; the configuration file reads back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import interpret
from interpret.auditing import run
from interpret.auditing.config import AuditConfig, resolve_config
from interpret.auditing.config_file import MEANING, config_template
from interpret.auditing.examples import Examples, select_examples
from interpret.auditing.planning import Rates, fit_budget, plan_stages
from interpret.auditing.stage import Scope, Stage
from interpret.auditing.stages import STAGES
from interpret.errors import UsageError
from interpret.models import batching
from interpret.models.state import untouched
from interpret.readers.tables import read_table
from interpret.results.messages import words
from interpret.results.plans import parse_budget
from tests import planted
from tests.auditing.test_run import SMALL, _rows
from tests.tiny import LABELS, tiny

RATES = Rates(0.01, 0.03, 0.02, 0.01)


def _scope(n: int = 400, **config: Any) -> Scope:
    handle = interpret.attach(*tiny("bert")).handle
    examples: Examples = select_examples(read_table(_rows(n)), id2label=dict(enumerate(LABELS)))
    return Scope(handle, examples, resolve_config(config))


def _seconds(scope: Scope) -> float:
    return sum(stage.seconds for stage in plan_stages(scope, RATES))


def test_the_plan_names_every_stage_and_why_one_does_not_run() -> None:
    stages = {stage.stage: stage for stage in plan_stages(_scope(attention=0, explained=40), RATES)}
    assert list(stages) == [stage.name for stage in STAGES]
    assert stages["explanations"].n == 70
    assert stages["predictions"].forward == 400
    assert stages["predictions"].seconds == pytest.approx(4.0, abs=0.1)
    why = stages["attention"].why
    assert why is not None
    assert (why.code, stages["attention"].n) == ("section.none_asked", 0)
    for locale in ("en", "zh"):
        assert "attention" in words(locale).text(why)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2, 0.1])
def test_a_budget_lowers_counts_until_it_is_kept(share: float) -> None:
    scope = _scope()
    budget = share * _seconds(scope)
    config = fit_budget(scope, RATES, budget)
    assert _seconds(replace(scope, config=config)) <= budget
    # What was lowered is said, with what it was; nothing is raised, and intervals keep their resamples.
    for key, wanted in config.reduced_from.items():
        assert getattr(config, key) < wanted == getattr(scope.config, key)
    assert config.reduced_from
    assert (config.bootstraps, config.random_rankings) == (1000, 20)
    # No more is given up than needed: what a budget a third larger allows is no less.
    larger = fit_budget(scope, RATES, 1.34 * budget)
    assert larger.explained >= config.explained
    assert fit_budget(scope, RATES, budget) == config


def test_a_generous_budget_changes_nothing() -> None:
    scope = _scope()
    assert fit_budget(scope, RATES, 3 * _seconds(scope)) == scope.config


def test_a_small_budget_audits_fewer_examples_and_too_small_a_one_is_refused() -> None:
    scope = _scope(4000)
    config = fit_budget(scope, RATES, 35.0)
    assert config.limit is not None
    assert config.limit < config.reduced_from["limit"] == 4000
    with pytest.raises(UsageError, match=r"the least that an audit runs takes about \d+ s .*allow more"):
        fit_budget(scope, RATES, 0.5)


@pytest.mark.parametrize(("written", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2 m ", 120), (30, 30)])
def test_budgets_are_times(written: str | float, seconds: float) -> None:
    assert parse_budget(written) == seconds


@pytest.mark.parametrize("written", ["", "10", "m", "-5m", "0s", "1d", 0, -1, float("nan"), float("inf"), True])
def test_what_is_no_time_is_refused(written: Any) -> None:
    with pytest.raises(UsageError, match="budget"):
        parse_budget(written)


def test_the_configuration_file_reads_back_to_the_defaults(tmp_path: Path) -> None:
    written = config_template()
    assert resolve_config(yaml.safe_load(written)) == AuditConfig()
    # Every key that an author may set is there, each below a line that says what it means.
    lines = written.splitlines()
    for key in AuditConfig.__dataclass_fields__:
        if key == "reduced_from":
            assert key not in written
            continue
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{key}:"))
        assert lines[at - 1] == f"# {MEANING[key]}"


def test_what_the_audit_writes_reads_back_with_what_was_lowered() -> None:
    config = AuditConfig(explained=20, reduced_from={"explained": 60}, limit=100)
    assert resolve_config(config.resolved()) == config
    with pytest.raises(UsageError, match="reduced_from must map counts"):
        resolve_config({"reduced_from.method": 3})


def test_rows_that_run_are_about_those_that_were_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted where batches are made, so that it holds on any machine."""
    data = planted.sentences(120, seed=5, n_words=(8, 16))
    rows = [{"text": t, "label": planted.LABELS[i]} for t, i in zip(data.texts, data.labels, strict=True)]
    lm = interpret.attach(*planted.trained())
    counts = {"explained": 30, "errors_shown": 0, "method": "leave_one_out", "probed": 0, "shortcut_texts": 40}
    counts |= {"compared": 0, "randomised": 0, "bootstraps": 100}
    planned = {stage.stage: stage for stage in interpret.plan_audit(lm, rows, config=counts).stages}
    ran: dict[str, int] = {}
    under_way = ""
    collate = batching.collate

    def counted(handle: Any, batch: Any, **options: Any) -> Any:
        ran[under_way] = ran.get(under_way, 0) + len(batch)
        return collate(handle, batch, **options)

    def marked(stage: Stage) -> Stage:
        def work(audit: Any) -> Any:
            nonlocal under_way
            under_way = stage.name
            return stage.run(audit)

        return replace(stage, run=work)

    monkeypatch.setattr(batching, "collate", counted)
    monkeypatch.setattr(run, "STAGES", tuple(map(marked, STAGES)))
    interpret.audit(lm, rows, config=counts, progress=False)
    assert ran["predictions"] == planned["predictions"].forward == 120
    assert ran["attention"] == planned["attention"].forward == 264
    for name in ("explanations", "shortcuts"):
        assert ran[name] == pytest.approx(planned[name].forward, rel=0.3), name


def test_planning_leaves_the_model_as_it_was() -> None:
    lm = interpret.attach(*tiny("bert"))
    model = lm.handle.model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    plan = interpret.plan_audit(lm, _rows(), config=SMALL, budget="1h")
    assert plan.seconds > 0
    assert not plan.reduced_from
    assert model.training
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert plan.to_frame().columns.tolist() == ["stage", "n", "forward", "backward", "seconds", "why"]
    with untouched(model):
        assert interpret.plan_audit(lm, _rows(), config=SMALL).n_examples == 24


def test_an_audit_on_a_budget_runs_again_to_the_same_bytes(tmp_path: Path) -> None:
    lm = interpret.attach(*tiny("bert"), name="tiny")
    rows = _rows(60)
    whole = interpret.plan_audit(lm, rows).seconds
    first = interpret.audit(lm, rows, budget=0.5 * whole + 2, progress=False, command="again")
    first.save(tmp_path / "first")
    settings = yaml.safe_load((tmp_path / "first" / "audit.resolved.yaml").read_text(encoding="utf-8"))
    interpret.audit(lm, rows, config=settings, progress=False, command="again").save(tmp_path / "second")
    for name in ("audit.json", "arrays.safetensors", "audit.resolved.yaml", "SHA256SUMS"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    lowered = [row.why for row in first.coverage if row.why is not None and row.why.code == "section.budget"]
    assert {str(why.params["key"]) for why in lowered} == {
        key.removeprefix("reduced_from.") for key in settings if key.startswith("reduced_from.")
    }
