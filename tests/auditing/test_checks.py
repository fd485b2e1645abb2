"""Verdicts need the whole interval on one side; only what was declared decides the exit code."""

from __future__ import annotations

import numpy as np
import pytest

from interpret.auditing.checks import judge
from interpret.auditing.config import AuditConfig, resolve_config
from interpret.errors import UsageError
from interpret.results.record import Estimate


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.81, 0.9, "pass"), (0.8, 0.9, "pass"), (0.7, 0.79, "fail"), (0.7, 0.8, "inconclusive")],
)
def test_judge(low: float, high: float, verdict: str) -> None:
    estimate = Estimate(name="accuracy", value=(low + high) / 2, ci_low=low, ci_high=high, n=10)
    assert judge(estimate, 0.8) == verdict


def test_nothing_measured_is_not_run() -> None:
    assert judge(Estimate(name="accuracy", value=None), 0.8) == "not_run"


def test_config_refuses_what_it_does_not_know() -> None:
    with pytest.raises(UsageError, match=r"no key 'explain'.*explained"):
        resolve_config({"explain": 3})
    with pytest.raises(UsageError, match="explained must be a whole number"):
        resolve_config({"explained": -1})
    with pytest.raises(UsageError, match="minimum_accuracy must lie between"):
        resolve_config({"minimum_accuracy": 87})


def test_config_resolves_to_plain_values() -> None:
    plain = AuditConfig(intended_use={"purpose": "triage"}).resolved()
    assert plain["intended_use.purpose"] == "triage"
    assert not any(isinstance(v, dict | list | np.generic) for v in plain.values())
