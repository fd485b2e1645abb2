"""Verdicts need the whole interval on one side; only what was declared decides the exit code."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from interpret.auditing.checks import judge
from interpret.auditing.config import AuditConfig, resolve_config
from interpret.errors import UsageError


@pytest.mark.parametrize(
    ("low", "high", "verdict", "strictly"),
    [
        (0.81, 0.9, "pass", "pass"),
        (0.8, 0.9, "pass", "inconclusive"),
        (0.7, 0.79, "fail", "fail"),
        (0.7, 0.8, "inconclusive", "fail"),
        (0.7, 0.9, "inconclusive", "inconclusive"),
    ],
)
def test_judge(low: float, high: float, verdict: str, strictly: str) -> None:
    assert judge((low + high) / 2, low, high, 0.8) == verdict
    assert judge((low + high) / 2, low, high, 0.8, strictly=True) == strictly


def test_nothing_measured_is_not_run() -> None:
    assert judge(None, None, None, 0.8) == "not_run"
    assert judge(0.9, None, None, 0.8) == "not_run"


def test_config_refuses_what_it_does_not_know() -> None:
    with pytest.raises(UsageError, match=r"no key 'explain'.*explained"):
        resolve_config({"explain": 3})
    with pytest.raises(UsageError, match="explained must be a whole number"):
        resolve_config({"explained": -1})
    for wrong in (87, "0.9", True):
        with pytest.raises(UsageError, match="minimum_accuracy must be a number"):
            resolve_config({"minimum_accuracy": wrong})
    with pytest.raises(UsageError, match="bootstraps must be a whole number of at least 100"):
        resolve_config({"bootstraps": 50})
    with pytest.raises(UsageError, match=r"method 'anchors'; the methods are integrated_gradients"):
        resolve_config({"compared_methods": "shap, anchors"})
    with pytest.raises(UsageError, match="intended_use must map"):
        resolve_config({"intended_use": "triage"})


def test_what_an_author_states_becomes_text_and_reads_back() -> None:
    config = resolve_config({"intended_use": {"reviewed": date(2026, 1, 1), "users": None}, "criteria_on": 2026})
    assert config.intended_use == {"reviewed": "2026-01-01"}
    assert config.criteria_on == "2026"
    assert resolve_config(config.resolved()) == config


def test_config_resolves_to_plain_values() -> None:
    plain = AuditConfig(intended_use={"purpose": "triage"}).resolved()
    assert plain["intended_use.purpose"] == "triage"
    assert not any(isinstance(v, dict | list | np.generic) for v in plain.values())
