"""Declared criteria and integrity checks. A verdict needs the whole interval on one side."""

from __future__ import annotations

from interpret.auditing.config import AuditConfig
from interpret.results.audits import Check, CheckVerdict, ExplanationQuality, Identity, Performance
from interpret.results.record import Estimate, Message


def judge(estimate: Estimate, threshold: float) -> CheckVerdict:
    """`pass` if the whole interval is at least `threshold`, `fail` if it is below, else `inconclusive`."""
    if estimate.value is None or estimate.ci_low is None or estimate.ci_high is None:
        return "not_run"
    if estimate.ci_low >= threshold:
        return "pass"
    return "fail" if estimate.ci_high < threshold else "inconclusive"


def _above(
    name: str, estimate: Estimate, threshold: float, why: Message, config: AuditConfig, *, declared: bool
) -> Check:
    return Check(
        check=name,
        verdict=judge(estimate, threshold),
        value=estimate.value,
        threshold=threshold,
        ci_low=estimate.ci_low,
        ci_high=estimate.ci_high,
        why=why,
        declared_by=config.criteria_by if declared else None,
        declared_on=config.criteria_on if declared else None,
        kind="criterion" if declared else "finding",
    )


def run_checks(
    identity: Identity,
    performance: Performance | None,
    quality: ExplanationQuality | None,
    config: AuditConfig,
) -> tuple[Check, ...]:
    """Integrity of the run first, then what the data say about the criteria the author declared."""
    untouched = identity.weights_sha256_before == identity.weights_sha256_after
    checks = [
        Check(
            check="weights_unchanged",
            verdict="pass" if untouched else "fail",
            value=None,
            threshold=None,
            ci_low=None,
            ci_high=None,
            why=Message(code="check.weights_unchanged"),
            kind="integrity",
        )
    ]
    difference = identity.capture_logit_difference
    checks.append(
        Check(
            check="capture_bit_identical",
            verdict="not_run" if difference is None else ("pass" if difference == 0.0 else "fail"),
            value=difference,
            threshold=0.0,
            ci_low=None,
            ci_high=None,
            why=Message(code="check.capture_bit_identical", params={"difference": difference})
            if difference is not None
            else Message(code="check.not_measured"),
            kind="integrity",
        )
    )
    if performance is not None:
        accuracy = next(m for m in performance.metrics if m.name == "accuracy")
        majority = performance.majority_rate
        why = Message(code="check.accuracy_above_majority", params={"majority": majority})
        checks.append(_above("accuracy_above_majority", accuracy, majority, why, config, declared=False))
        if config.minimum_accuracy is not None:
            wanted = config.minimum_accuracy
            why = Message(code="check.minimum_accuracy", params={"threshold": wanted})
            checks.append(_above("minimum_accuracy", accuracy, wanted, why, config, declared=True))
    if quality is not None and quality.methods:
        main = quality.methods[0]
        verdicts: dict[str, CheckVerdict] = {
            "better_than_trivial": "pass",
            "better_than_random": "pass",
            "not_better": "fail",
            "inconclusive": "inconclusive",
        }
        row = next((r for r in main.faithfulness.rows if r.metric == "aopc_comprehensiveness"), None)
        checks.append(
            Check(
                check="explanations_better_than_random",
                verdict=verdicts[main.faithfulness.verdict],
                value=None if row is None else row.difference,
                threshold=0.0,
                ci_low=None if row is None else row.difference_ci_low,
                ci_high=None if row is None else row.difference_ci_high,
                why=Message(code="check.explanations_better_than_random", params={"method": main.method}),
                kind="finding",
            )
        )
    return tuple(checks)
