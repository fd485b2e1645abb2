"""Criteria held to a saved audit again: those it was declared with, and those that came later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from interpret.auditing.checks import run_checks
from interpret.auditing.config import AuditConfig, resolve_config
from interpret.errors import UsageError
from interpret.results.audits import Audit, Check
from interpret.results.record import Message
from interpret.results.verification import Finding


def check_again(audit: Audit, config: AuditConfig | Mapping[str, Any] | None = None) -> tuple[Check, ...]:
    """The audit's checks, decided anew from its numbers; then the criteria of `config` that it was not declared with.

    Those are marked `post_hoc`: whoever sets a bar after having seen the result can set it where it is met. They are
    added, so that a criterion the audit was declared with can neither be dropped nor moved.

    Args:
        audit: a saved audit.
        config: criteria, as in `interpret.audit`; what else it holds has no effect. None for the audit's own alone.

    Raises:
        UsageError: a key that does not exist, or a value that means nothing.
    """
    own = _checks(audit, resolve_config(audit.config))
    if config is None:
        return own
    declared = {(check.check, check.threshold) for check in own if check.kind == "criterion"}
    later = [
        replace(check, post_hoc=True)
        for check in _checks(audit, resolve_config(config))
        if check.kind == "criterion" and (check.check, check.threshold) not in declared
    ]
    return (*own, *later)


def changed_verdicts(audit: Audit, checks: tuple[Check, ...]) -> tuple[str, ...]:
    """Names of checks whose saved verdict is not the one that the audit's own numbers give."""
    saved = {check.check: check.verdict for check in audit.check_rows}
    again = {check.check: check.verdict for check in checks if not check.post_hoc}
    # Another version may look at other things of its own accord, but a declared criterion must be there.
    criteria = {
        check.check for check in (*audit.check_rows, *checks) if check.kind == "criterion" and not check.post_hoc
    }
    looked_at = (saved.keys() & again.keys()) | criteria
    return tuple(sorted(name for name in looked_at if saved.get(name) != again.get(name)))


def verdicts_finding(audit: Audit) -> Finding:
    """Whether the saved verdicts are those that the audit's numbers and criteria give."""
    try:
        changed = changed_verdicts(audit, check_again(audit))
    except UsageError as err:
        # Settings that this version does not know.
        return Finding(
            part="verdicts", status="skipped", why=Message(code="verify.verdicts_unknown", params={"why": str(err)})
        )
    if changed:
        why = Message(code="verify.verdicts_differ", params={"names": "\n".join(changed)})
        return Finding(part="verdicts", status="differs", why=why)
    return Finding(part="verdicts", status="holds", why=Message(code="verify.verdicts_agree"))


def _checks(audit: Audit, config: AuditConfig) -> tuple[Check, ...]:
    return run_checks(audit.identity, audit.performance, audit.explanation_quality, config, audit.robustness)
