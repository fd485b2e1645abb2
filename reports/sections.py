"""An audit -> the fifteen sections of its report, each a tree. What was not run says so, and why."""

from __future__ import annotations

from collections.abc import Callable

from interpret.results.attention_views import attention_nodes
from interpret.results.audit_views import (
    audit_verdict,
    performance_nodes,
    slice_nodes,
)
from interpret.results.audits import SECTIONS, Audit, Coverage
from interpret.results.comparison_views import comparison_nodes
from interpret.results.concept_views import concept_nodes
from interpret.results.probe_views import probe_nodes
from interpret.results.quality_views import importance_nodes, quality_nodes
from interpret.results.robustness_views import robustness_nodes
from interpret.results.shortcut_views import shortcut_nodes
from interpret.results.slice_views import found_slice_nodes
from interpret.results.subject_views import data_nodes, identity_nodes
from interpret.results.tree import (
    Badge,
    Code,
    Column,
    Details,
    Fact,
    Facts,
    Heading,
    Inline,
    Node,
    Note,
    Number,
    Paragraph,
    Section,
    Table,
    say,
)
from reports.cases import case_nodes
from reports.summary import ABOUT_THE_REPORT, verdict_nodes

#: Facts about the use that a reader must know; what the author left out is shown as not supplied.
USE = ("purpose", "users", "decisions", "out_of_scope", "oversight")


def _coverage(audit: Audit, key: str) -> Coverage | None:
    return next((c for c in audit.coverage if c.section == key), None)


def absent(audit: Audit, key: str) -> bool:
    """Whether a section was not examined at all."""
    found = _coverage(audit, key)
    return found is not None and found.status == "not_run"


def _not_run(audit: Audit, key: str) -> tuple[Node, ...]:
    found = _coverage(audit, key)
    why: Inline = say("report.no_reason") if found is None or found.why is None else found.why
    return (Paragraph((Badge("not_run"), why)),)


def _partly(audit: Audit, key: str) -> tuple[Node, ...]:
    found = _coverage(audit, key)
    if found is None or found.status != "partial" or found.why is None:
        return ()
    return (Paragraph((Badge("partial"), found.why)),)


def sections(audit: Audit) -> tuple[Section, ...]:
    """All sections in the order of `SECTIONS`; the place is the number."""
    makers: dict[str, Callable[[Audit], tuple[Node, ...]]] = {
        "verdict": verdict_nodes,
        "identity": lambda a: identity_nodes(a.identity),
        "intended_use": _intended_use,
        "data": lambda a: (*data_nodes(a.data), Paragraph((say("report.representative"),), "small")),
        "performance": lambda a: () if a.performance is None else performance_nodes(a.performance),
        "comparison": lambda a: () if a.comparison is None else comparison_nodes(a.comparison),
        "slices": _slices,
        "global_attribution": _global,
        "explanation_quality": lambda a: () if a.explanation_quality is None else quality_nodes(a.explanation_quality),
        "cases": lambda a: case_nodes(a, _quality_line(a)),
        "attention": lambda a: () if a.attention is None else attention_nodes(a.attention),
        "probes": _probes,
        "robustness": lambda a: () if a.robustness is None else robustness_nodes(a.robustness),
        "limits": _limits,
        "reproduce": _reproduce,
    }
    failed = audit_verdict(audit) == "not_better"
    out = []
    for number, key in enumerate(SECTIONS):
        body = makers[key](audit)
        body = (*_partly(audit, key), *body) if body else _not_run(audit, key)
        muted = failed and key in ("global_attribution", "cases")
        if muted:
            body = (Note("failure", (say("report.muted"),)), *body)
        out.append(Section(say(f"section_name.{key}"), body, key, number, muted))
    return tuple(out)


def _intended_use(audit: Audit) -> tuple[Node, ...]:
    given = audit.intended_use
    keys = (*USE, *sorted(set(given) - set(USE)))
    facts = []
    for key in keys:
        value = given.get(key, "").strip()
        shown: Inline = value if value else Badge("not_run", say("use.not_supplied"))
        facts.append(Fact(say("use.named", name=key), shown))
    return (Paragraph((say("report.use_lead"),)), Facts(tuple(facts)))


def _slices(audit: Audit) -> tuple[Node, ...]:
    found = () if audit.found_slices is None else found_slice_nodes(audit.found_slices)
    if audit.performance is None or not audit.performance.slices:
        return found
    accuracy = audit.performance.accuracy
    return (*slice_nodes(audit.performance.slices, None if accuracy is None else accuracy.value), *found)


def _probes(audit: Audit) -> tuple[Node, ...]:
    found = () if audit.probes is None else probe_nodes(audit.probes)
    if audit.concepts is None:
        return found
    return (*found, Heading(say("view.concepts")), *concept_nodes(audit.concepts))


def _global(audit: Audit) -> tuple[Node, ...]:
    leans = () if audit.shortcuts is None else (Heading(say("report.shortcuts")), *shortcut_nodes(audit.shortcuts))
    if not audit.global_attribution:
        return leans
    lead = Paragraph((say("report.global_lead"),))
    if audit.data.texts != "full":
        lead = Paragraph((say("report.global_lead"), say("report.words_numbered")))
    end = Paragraph((say("attribution.not_causal"), say("report.baseline_choice")), "small")
    return (lead, *_quality_line(audit), *importance_nodes(audit.global_attribution), end, *leans)


def _quality_line(audit: Audit) -> tuple[Node, ...]:
    """No attribution without its measured quality."""
    verdict = audit_verdict(audit)
    badge = Badge("not_measured" if verdict is None else verdict)
    return (Paragraph((badge, say("report.see_quality", number=SECTIONS.index("explanation_quality"))), "small"),)


# --- limits, reproduction


def _limits(audit: Audit) -> tuple[Node, ...]:
    columns = (Column(say("column.section")), Column(say("column.status")), Column(say("column.why")))
    rows = tuple(
        (say("section_name.named", name=c.section), Badge(c.status), "–" if c.why is None else c.why)
        for c in audit.coverage
        if c.status != "done" or c.section not in ABOUT_THE_REPORT
    )
    table = Table(columns, rows, say("report.coverage"))
    general = Facts(tuple(Fact(say(f"limit_name.{name}"), say(f"limit.{name}")) for name in _LIMITS), "prose")
    appendix = Table(
        (Column(say("appendix.fact")), Column(say("appendix.section"))),
        tuple(
            (say(f"appendix.{name}"), ", ".join(str(SECTIONS.index(key)) for key in keys))
            for name, keys in _APPENDIX.items()
        ),
    )
    return (
        Heading(say("report.always_true")),
        general,
        table,
        Details(say("appendix.title"), (Paragraph((say("appendix.lead"),), "small"), appendix)),
    )


_LIMITS = ("assessment", "data", "attribution", "attention", "probes")
#: Kinds of fact that documentation frameworks ask for, and the sections that hold them.
_APPENDIX: dict[str, tuple[str, ...]] = {
    "purpose": ("intended_use",),
    "system": ("identity",),
    "data": ("data",),
    "accuracy": ("performance", "slices"),
    "change": ("comparison",),
    "fairness": ("slices", "robustness"),
    "explanation": ("global_attribution", "explanation_quality", "cases"),
    "robustness": ("robustness",),
    "limits": ("limits",),
    "records": ("reproduce",),
}


def _moment(written: str) -> str:
    """A time as a person writes it, when it is in the form that the audit writes."""
    day, letter, clock = written.partition("T")
    return f"{day} {clock.removesuffix('+00:00')} UTC" if letter and clock.endswith("+00:00") else written


def _reproduce(audit: Audit) -> tuple[Node, ...]:
    run = audit.run
    facts = [
        Fact(say("reproduce.command"), Code(audit.command) if audit.command else say("none")),
        Fact(say("reproduce.seed"), Code(str(audit.seed))),
        Fact(say("fact.weights_after"), Code(audit.identity.weights_sha256_after)),
        Fact(say("fact.tokenizer_sha256"), Code(audit.identity.tokenizer_sha256)),
        Fact(say("fact.data_sha256"), Code(audit.data.sha256)),
    ]
    if run.started is not None:
        facts.append(Fact(say("reproduce.started"), _moment(run.started)))
    if run.seconds:
        facts.append(Fact(say("reproduce.seconds"), Number(sum(run.seconds.values()), "count")))
    config = Table(
        (Column(say("reproduce.setting")), Column(say("column.value"))),
        tuple((name, Code("–" if value is None else str(value))) for name, value in sorted(audit.config.items())),
    )
    versions = Facts(tuple(Fact(name, Code(v)) for name, v in sorted(audit.identity.versions.items())))
    blank = "\N{NO-BREAK SPACE}"
    lines = tuple(Fact(say(f"sign.{name}"), blank) for name in ("name", "role", "date", "signature"))
    signature = Facts(lines, "form")
    return (
        Facts(tuple(facts)),
        Details(say("reproduce.config"), (config,)),
        Details(say("fact.versions"), (versions,)),
        Paragraph((say("reproduce.same"),), "small"),
        Section(say("sign.title"), (Paragraph((say("sign.lead"),), "small"), signature)),
    )
