"""Section 0: what somebody reads who reads nothing else."""

from __future__ import annotations

from interpret.results.audit_views import audit_verdict, check_table, estimate
from interpret.results.audits import SECTIONS, Audit, Check
from interpret.results.explanations import FaithfulnessRow, Verdict
from interpret.results.record import Estimate, Message
from interpret.results.slice_views import finding_nodes
from interpret.results.subject_views import left_alone
from interpret.results.tree import (
    Badge,
    Heading,
    Inline,
    Node,
    Note,
    Paragraph,
    Tile,
    Tiles,
    VerdictName,
    names,
    say,
)
from interpret.results.views import headline_row

#: Sections that say what the others found: nothing in them could have been left unexamined.
ABOUT_THE_REPORT = frozenset({"verdict", "limits", "reproduce"})
#: Classes named in the first sentence, and slices named as lower than the rest.
N_CLASSES = 6
N_LOWER = 3
#: Findings that the paragraph on what is notable puts into its own words.
_SAID_ELSEWHERE = frozenset({"finding.tuned_worse"})


def verdict_nodes(audit: Audit) -> tuple[Node, ...]:
    """What was examined, which declared criteria were met, what was not examined; then the evidence."""
    criteria = [check for check in audit.check_rows if check.kind == "criterion"]
    others = [check for check in audit.check_rows if check.kind != "criterion"]
    children: list[Node] = [Paragraph(_lead(audit), "lead")]
    children.append(Tiles((_examined(audit), _criteria(criteria), _missing(audit))))
    children += finding_nodes([one for one in audit.findings if one.message.code not in _SAID_ELSEWHERE])
    if criteria:
        children.append(check_table(criteria, say("verdict.criteria_table")))
        authors = sorted({(c.declared_by, c.declared_on) for c in criteria if c.declared_by and c.declared_on})
        children += [Paragraph((say("verdict.declared", by=by, on=on),), "small") for by, on in authors]
    children.append(Note("note", (say("verdict.not_conformity"),)))
    children.append(Heading(say("verdict.evidence_title")))
    children.append(Tiles((_accuracy(audit), _explanations(audit), _untouched(audit))))
    notable = _notable(audit)
    children += [Paragraph(notable)] if notable else []
    if others:
        children.append(check_table(others, say("verdict.findings_table")))
    return tuple(children)


def _lead(audit: Audit) -> tuple[Inline, ...]:
    model, data, n = audit.identity.name, audit.data.name, audit.data.n_used
    if audit.identity.base_name is None:
        parts = [say("verdict.examined", model=model, data=data, n=n)]
    else:
        parts = [say("verdict.examined_base", model=model, base=audit.identity.base_name, data=data, n=n)]
    labels = audit.identity.labels
    if labels and audit.identity.task == "text-classification":
        known = len(labels) <= N_CLASSES
        parts.append(say("verdict.classes", n=len(labels), names=names(labels)) if known else _many(len(labels)))
    accuracy = _headline(audit)
    if accuracy is None or accuracy.value is None:
        return (*parts, say("verdict.no_accuracy"))
    if accuracy.name != "accuracy":
        return (*parts, _right_of(accuracy, audit))
    return (*parts, say("verdict.right", right=round(accuracy.value * accuracy.n), n=accuracy.n))


def _right_of(accuracy: Estimate, audit: Audit) -> Message:
    unit = "example" if audit.performance is None else audit.performance.unit
    return say("verdict.right_of", metric=accuracy.name, value=accuracy.value, n=accuracy.n, unit=unit)


def _many(n: int) -> Message:
    return say("verdict.many_classes", n=n)


def _headline(audit: Audit) -> Estimate | None:
    if audit.performance is None:
        return None
    return audit.performance.accuracy


def _accuracy(audit: Audit) -> Tile:
    found = _headline(audit)
    label = say("verdict.accuracy")
    if audit.performance is None or found is None or found.value is None:
        return Tile(label, say("format.not_measured"), say("verdict.no_accuracy"))
    majority = audit.performance.majority_rate
    if majority is None or found.name != "accuracy":
        return Tile(
            say("metric.named", name=found.name),
            estimate(found),
            say(f"verdict.of.{audit.performance.unit}", n=found.n),
        )
    return Tile(label, estimate(found), say("performance.majority", majority=majority))


def _criteria(criteria: list[Check]) -> Tile:
    label = say("verdict.criteria")
    if not criteria:
        return Tile(label, say("verdict.no_criteria"), say("verdict.no_criteria_detail"))
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
    """The verdict with what it rests on: the method, how words were removed, on how many texts, and how far."""
    label = say("verdict.explanations")
    verdict = audit_verdict(audit)
    quality = audit.explanation_quality
    if verdict is None or quality is None:
        return Tile(label, say("format.not_measured"), say("quality.unmeasured_warning"))
    main = quality.methods[0]
    row = headline_row(main.faithfulness)
    if row is None:
        return Tile(label, say(_EXPLAINED[verdict]), say("verdict.method", method=main.method, n=main.n))
    return Tile(label, say(_EXPLAINED[verdict]), _evidence(main.method, row))


def _evidence(method: str, row: FaithfulnessRow) -> Message:
    difference, low, high = row.difference, row.difference_ci_low, row.difference_ci_high
    if difference is None or low is None or high is None:
        return say("verdict.method_operator", method=method, n=row.n, operator=row.operator)
    return say(
        "verdict.evidence",
        method=method,
        n=row.n,
        operator=row.operator,
        difference=difference * 100.0,
        low=low * 100.0,
        high=high * 100.0,
    )


def _untouched(audit: Audit) -> Tile:
    identity = audit.identity
    same = left_alone(identity)
    label = say("fact.untouched")
    if not same:
        return Tile(label, say("format.no"), None, Badge("fail", say("identity.changed")))
    exact = identity.capture_logit_difference == 0.0
    return Tile(label, say("format.yes"), say("verdict.untouched_exact" if exact else "verdict.untouched"))


def _notable(audit: Audit) -> tuple[Message, ...]:
    """What a reader must not miss: the change by fine-tuning, and slices whose whole gap lies below zero."""
    out = []
    rows = () if audit.comparison is None else audit.comparison.rows
    for r in rows:
        if r.name == "accuracy_difference" and r.slice is None and None not in (r.value, r.ci_low, r.ci_high):
            out.append(say("verdict.change", difference=r.value, low=r.ci_low, high=r.ci_high))
    # Audits of earlier versions name no findings.
    named = any(one.message.code == "finding.slice_given" for one in audit.findings)
    slices = () if audit.performance is None or named else audit.performance.slices
    lower = sorted(
        (s for s in slices if s.gap.ci_high is not None and s.gap.ci_high < 0),
        key=lambda s: (s.gap.value if s.gap.value is not None else 0.0, s.name),
    )
    for s in lower[:N_LOWER]:
        # Said as points below the rest, so the ends of the interval change places.
        below, high, low = (None if v is None else -100.0 * v for v in (s.gap.value, s.gap.ci_low, s.gap.ci_high))
        out.append(say("verdict.lower", slice=s.name, right=s.accuracy.value, below=below, low=low, high=high))
    if len(lower) > N_LOWER:
        out.append(say("verdict.more_lower", n=len(lower) - N_LOWER))
    return tuple(out)


def _examined(audit: Audit) -> Tile:
    data = audit.data
    detail = say("verdict.all_rows", data=data.name)
    if data.n_used < data.n_rows:
        detail = say("verdict.sampled" if data.sampled else "verdict.some_rows", data=data.name, of=data.n_rows)
    return Tile(say("verdict.examined_title"), say("verdict.texts", n=data.n_used), detail)


def _missing(audit: Audit) -> Tile:
    """Sections without content, by name; those that are there only in part, by number."""
    label = say("verdict.missing_title")
    missing = [c.section for c in audit.coverage if c.status == "not_run"]
    # A section may lack several things, each of which has a row.
    partial = len({c.section for c in audit.coverage if c.status == "partial"} - set(missing))
    if not missing:
        detail = say("verdict.only_partial", partial=partial) if partial else say("verdict.all_examined")
        return Tile(label, say("verdict.nothing_missing"), detail)
    keys = ",".join(missing)
    if partial:
        detail = say("verdict.not_examined_partial", keys=keys, partial=partial)
    else:
        detail = say("verdict.not_examined", keys=keys)
    return Tile(label, say("verdict.n_missing", n=len(missing), of=len(set(SECTIONS) - ABOUT_THE_REPORT)), detail)
