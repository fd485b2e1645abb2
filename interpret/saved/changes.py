"""What is not a measurement and yet differs between two audits: verdicts of checks, and what was audited with what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interpret.results.audits import Audit, Check
from interpret.results.diffs import ChangeVerdict, CheckChange, IdentityChange

#: Facts of `Identity` that are compared, in the order they are shown.
_FACTS = (
    "name revision adapter architecture task labels n_parameters weights_sha256_before config_sha256 tokenizer_sha256 "
    "base_name base_weights_sha256 max_length attn_implementation saved_dtype run_dtype device quantisation remote_code"
).split()


def check_changes(old: Audit, new: Audit) -> tuple[CheckChange, ...]:
    """Checks whose verdict or bar differs, or that one audit lacks; in the order of the new audit."""
    was = {check.check: check for check in old.check_rows}
    now = {check.check: check for check in new.check_rows}
    out = []
    for name in dict.fromkeys((*now, *was)):
        before, after = was.get(name), now.get(name)
        either = after or before
        if either is None or (before and after and _bar(before) == _bar(after)):
            continue
        out.append(
            CheckChange(
                check=name,
                kind=either.kind,
                old_verdict=None if before is None else before.verdict,
                new_verdict=None if after is None else after.verdict,
                old_value=None if before is None else before.value,
                new_value=None if after is None else after.value,
                old_threshold=None if before is None else before.threshold,
                new_threshold=None if after is None else after.threshold,
                verdict=_verdict(before, after),
            )
        )
    return tuple(out)


def _bar(check: Check) -> tuple[str, float | None]:
    # The bar of a finding is measured (the commonest class) and moves with the data; only its answer counts.
    return check.verdict, None if check.kind == "finding" else check.threshold


def _verdict(before: Check | None, after: Check | None) -> ChangeVerdict:
    if before is None or after is None or after.kind == "finding" or before.threshold != after.threshold:
        return "inconclusive"
    if (before.verdict, after.verdict) == ("pass", "fail"):
        return "regression"
    return "improvement" if (before.verdict, after.verdict) == ("fail", "pass") else "inconclusive"


def identity_changes(old: Audit, new: Audit) -> tuple[IdentityChange, ...]:
    """Facts that differ: of the model, of the software, of the data, of the configuration."""
    out: list[IdentityChange] = []
    for name in _FACTS:
        out += _changed("model", name, getattr(old.identity, name), getattr(new.identity, name))
    out += _mapped("software", old.identity.versions, new.identity.versions)
    for name in ("name", "sha256", "n_rows", "n_used", "label_column"):
        out += _changed("data", name, getattr(old.data, name), getattr(new.data, name))
    out += _mapped("config", {**old.config, "seed": old.seed}, {**new.config, "seed": new.seed})
    return tuple(out)


def _mapped(group: Any, was: Mapping[str, Any], now: Mapping[str, Any]) -> list[IdentityChange]:
    names = sorted({*was, *now})
    return [change for name in names for change in _changed(group, name, was.get(name), now.get(name))]


def _changed(group: Any, name: str, was: object, now: object) -> list[IdentityChange]:
    return [] if was == now else [IdentityChange(group=group, name=name, old=_shown(was), new=_shown(now))]


def _shown(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
