"""Declared criteria and integrity checks. A verdict needs the whole interval on one side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from interpret.auditing.config import AuditConfig
from interpret.auditing.robustness.judging import LEAST, flip_estimates, group_estimates, judge_all
from interpret.results.audits import Check, CheckVerdict, ExplanationQuality, Identity, Performance
from interpret.results.record import Estimate, Message, Scalar
from interpret.results.robustness import Robustness


def judge(
    value: float | None, low: float | None, high: float | None, threshold: float, *, strictly: bool = False
) -> CheckVerdict:
    """`pass` if the whole interval is at least `threshold`, `fail` if it is below, else `inconclusive`.

    With `strictly` it must lie above: an interval that ends at the threshold fails.
    """
    if value is None or low is None or high is None:
        return "not_run"
    if low > threshold or (low == threshold and not strictly):
        return "pass"
    return "fail" if high < threshold or (high == threshold and strictly) else "inconclusive"


def _row(
    name: str,
    verdict: CheckVerdict,
    kind: Literal["criterion", "integrity", "finding"],
    why: Message,
    *,
    estimate: Estimate | None = None,
    threshold: float | None = None,
    config: AuditConfig | None = None,
) -> Check:
    return Check(
        check=name,
        verdict=verdict,
        value=None if estimate is None else estimate.value,
        threshold=threshold,
        ci_low=None if estimate is None else estimate.ci_low,
        ci_high=None if estimate is None else estimate.ci_high,
        why=why,
        declared_by=None if config is None else config.criteria_by,
        declared_on=None if config is None else config.criteria_on,
        kind=kind,
    )


def run_checks(
    identity: Identity,
    performance: Performance | None,
    quality: ExplanationQuality | None,
    config: AuditConfig,
    robustness: Robustness | None = None,
) -> tuple[Check, ...]:
    """Integrity of the run first, then what the data say about the criteria the author declared."""
    declared = (*_declared(performance, config), *_declared_robustness(robustness, config))
    return (*_integrity(identity), *declared, *_findings(performance, quality))


def _integrity(identity: Identity) -> Iterator[Check]:
    before = (identity.weights_sha256_before, identity.config_sha256, identity.tokenizer_sha256)
    after = (identity.weights_sha256_after, identity.config_sha256_after, identity.tokenizer_sha256_after)
    why = Message(code="check.weights_unchanged")
    yield _row("weights_unchanged", "pass" if before == after else "fail", "integrity", why)
    difference = identity.capture_logit_difference
    if difference is None:
        yield _row("capture_bit_identical", "not_run", "integrity", Message(code="check.not_measured"))
    else:
        why = Message(code="check.capture_bit_identical", params={"difference": difference})
        found = Estimate(name="difference", value=difference)
        verdict: CheckVerdict = "pass" if difference == 0.0 else "fail"
        yield _row("capture_bit_identical", verdict, "integrity", why, estimate=found, threshold=0.0)


def _declared(performance: Performance | None, config: AuditConfig) -> Iterator[Check]:
    wanted = config.minimum_accuracy
    if wanted is None:
        return
    accuracy = None if performance is None else performance.accuracy
    # A criterion that could not be looked at must not vanish: whoever declared it would read that as a pass.
    verdict = "not_run" if accuracy is None else judge(accuracy.value, accuracy.ci_low, accuracy.ci_high, wanted)
    why = Message(code="check.not_measured")
    if accuracy is not None:
        why = Message(code="check.minimum_accuracy", params={"threshold": wanted})
    yield _row("minimum_accuracy", verdict, "criterion", why, estimate=accuracy, threshold=wanted, config=config)


def _declared_robustness(robustness: Robustness | None, config: AuditConfig) -> Iterator[Check]:
    for name, wanted, found in (
        ("max_flip_rate", config.max_flip_rate, flip_estimates(robustness)),
        ("max_group_difference", config.max_group_difference, group_estimates(robustness)),
    ):
        if wanted is not None:
            worst, verdict = judge_all(found, wanted)
            why = Message(code="check.not_measured")
            if worst is not None:
                why = _worst(name, worst, wanted, sum(e.n >= LEAST for e in found))
            yield _row(name, verdict, "criterion", why, estimate=worst, threshold=wanted, config=config)


def _worst(name: str, worst: Estimate, wanted: float, n: int) -> Message:
    params: dict[str, Scalar] = {"threshold": wanted, "n": n, "least": LEAST}
    if name == "max_flip_rate":
        return Message(code="check.max_flip_rate", params=params | {"worst": worst.name})
    category, _, group = worst.name.partition(".")
    return Message(code="check.max_group_difference", params=params | {"category": category, "group": group})


def _findings(performance: Performance | None, quality: ExplanationQuality | None) -> Iterator[Check]:
    accuracy = None if performance is None else performance.accuracy
    if performance is not None and accuracy is not None and performance.majority_rate is not None:
        majority = performance.majority_rate
        name = "accuracy_above_majority"
        if majority == 1.0:
            # With one class in the data there is nothing to be better than.
            yield _row(name, "not_run", "finding", Message(code="check.one_class_only"), estimate=accuracy)
        else:
            verdict = judge(accuracy.value, accuracy.ci_low, accuracy.ci_high, majority, strictly=True)
            why = Message(code="check.accuracy_above_majority", params={"majority": majority})
            yield _row(name, verdict, "finding", why, estimate=accuracy, threshold=majority)
    if quality is not None and quality.methods:
        main = quality.methods[0]
        why = Message(code="check.explanations_better_than_random", params={"method": main.method})
        row = next((r for r in main.faithfulness.rows if r.metric == "aopc_comprehensiveness"), None)
        if row is None or row.difference_ci_low is None:
            # Fewer than five texts: no interval, but the permutation test can still say yes.
            better = main.faithfulness.verdict == "better_than_random"
            yield _row("explanations_better_than_random", "pass" if better else "inconclusive", "finding", why)
            return
        found = Estimate(
            name="difference",
            value=row.difference,
            ci_low=row.difference_ci_low,
            ci_high=row.difference_ci_high,
            n=row.n,
        )
        verdict = judge(found.value, found.ci_low, found.ci_high, 0.0, strictly=True)
        yield _row("explanations_better_than_random", verdict, "finding", why, estimate=found, threshold=0.0)
