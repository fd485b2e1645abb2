"""Section 0: what somebody reads who reads nothing else."""

from __future__ import annotations

from interpret.results.audit_views import audit_verdict, check_table, estimate
from interpret.results.audits import Audit, Check
from interpret.results.explanations import Verdict
from interpret.results.record import Estimate, Message
from interpret.results.tree import Badge, Inline, Node, Note, Paragraph, Tile, Tiles, VerdictName, say
from interpret.results.views import headline_row


def verdict_nodes(audit: Audit) -> tuple[Node, ...]:
    """What was examined, the headline numbers, the checks, what was not examined, and what this is not."""
    criteria = [check for check in audit.check_rows if check.kind == "criterion"]
    others = [check for check in audit.check_rows if check.kind != "criterion"]
    children: list[Node] = [Paragraph(_lead(audit), "lead")]
    children.append(Tiles((_accuracy(audit), _criteria(criteria), _explanations(audit), _untouched(audit))))
    if criteria:
        children.append(check_table(criteria, say("verdict.criteria_table")))
        authors = sorted({(c.declared_by, c.declared_on) for c in criteria if c.declared_by and c.declared_on})
        children += [Paragraph((say("verdict.declared", by=by, on=on),), "small") for by, on in authors]
    else:
        children.append(Paragraph((say("verdict.no_criteria_detail"),)))
    if others:
        children.append(check_table(others, say("verdict.findings_table")))
    children += [_missing(audit), Note("note", (say("verdict.not_conformity"),))]
    return tuple(children)


def _lead(audit: Audit) -> tuple[Inline, ...]:
    model, data, n = audit.identity.name, audit.data.name, audit.data.n_used
    if audit.identity.base_name is None:
        examined = say("verdict.examined", model=model, data=data, n=n)
    else:
        examined = say("verdict.examined_base", model=model, base=audit.identity.base_name, data=data, n=n)
    accuracy = _headline(audit)
    if accuracy is None or accuracy.value is None:
        return (examined, say("verdict.no_accuracy"))
    return (examined, say("verdict.right", right=round(accuracy.value * accuracy.n), n=accuracy.n))


def _headline(audit: Audit) -> Estimate | None:
    if audit.performance is None:
        return None
    return next((e for e in audit.performance.metrics if e.name == "accuracy"), None)


def _accuracy(audit: Audit) -> Tile:
    found = _headline(audit)
    label = say("verdict.accuracy")
    if audit.performance is None or found is None or found.value is None:
        return Tile(label, say("format.not_measured"), say("verdict.no_accuracy"))
    return Tile(label, estimate(found), say("performance.majority", majority=audit.performance.majority_rate))


def _criteria(criteria: list[Check]) -> Tile:
    label = say("verdict.criteria")
    if not criteria:
        return Tile(label, say("verdict.no_criteria"), say("verdict.no_criteria_hint"))
    met = sum(check.verdict == "pass" for check in criteria)
    order: tuple[VerdictName, ...] = ("fail", "inconclusive", "not_run", "pass")
    worst = next(verdict for verdict in order if any(check.verdict == verdict for check in criteria))
    return Tile(label, say("verdict.met", met=met, n=len(criteria)), None, Badge(worst))


_EXPLAINED: dict[Verdict, str] = {
    "better_than_trivial": "verdict.explained.better_than_trivial",
    "better_than_random": "verdict.explained.better_than_random",
    "not_better": "verdict.explained.not_better",
    "inconclusive": "verdict.explained.inconclusive",
}


def _explanations(audit: Audit) -> Tile:
    label = say("verdict.explanations")
    verdict = audit_verdict(audit)
    quality = audit.explanation_quality
    if verdict is None or quality is None:
        return Tile(label, say("format.not_measured"), say("quality.unmeasured_warning"), Badge("not_measured"))
    main = quality.methods[0]
    row = headline_row(main.faithfulness)
    n = main.n if row is None else row.n
    return Tile(label, say(_EXPLAINED[verdict]), say("verdict.method", method=main.method, n=n), Badge(verdict))


def _untouched(audit: Audit) -> Tile:
    identity = audit.identity
    same = identity.weights_sha256_before == identity.weights_sha256_after
    label = say("fact.untouched")
    if not same:
        return Tile(label, say("format.no"), say("identity.changed"), Badge("fail"))
    exact = identity.capture_logit_difference == 0.0
    detail: Message = say("verdict.untouched_exact" if exact else "identity.same")
    return Tile(label, say("format.yes"), detail)


def _missing(audit: Audit) -> Node:
    missing = [c.section for c in audit.coverage if c.status == "not_run"]
    if not missing:
        return Paragraph((say("verdict.all_examined"),))
    return Paragraph((say("verdict.not_examined", keys=",".join(missing)),))
