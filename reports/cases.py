"""Section 9: single cases as entries of a list, and what a reader can filter and sort them by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from interpret.results.audit_views import audit_verdict
from interpret.results.audits import Audit, Case
from interpret.results.messages import Words
from interpret.results.record import Scalar
from interpret.results.tree import Badge, Inline, Item, Listing, Node, Note, Paragraph, say
from interpret.results.views import example_quality, target_words, tokens_of

#: Words of one case that are shown; the saved audit holds them all.
WORDS_PER_CASE = 300
#: Choices of one drop-down list.
MAX_OPTIONS = 200
_ORDER = {"pinned": 0, "error": 1, "moved": 2, "random": 3}
#: Facets by which the list can be narrowed, and orders in which it can be read: facet and direction.
FILTERED = ("correct", "class", "changed", "slice", "rule")
SORTED = (
    "listed",
    "row",
    "confidence-down",
    "confidence-up",
    "percentile-up",
    "percentile-down",
    "output_change-down",
    "explanation_change-down",
)


def case_nodes(audit: Audit, quality: tuple[Node, ...]) -> tuple[Node, ...]:
    """How the cases were chosen, how to read them, and the list; `quality` is said before any of them."""
    if not audit.cases:
        return ()
    shown = sorted(audit.cases, key=lambda case: _ORDER[case.rule])
    rules = Counter(case.rule for case in shown)
    counts: dict[str, int] = {"errors": rules["error"], "random": rules["random"]}
    pinned = say("report.cases_rule_pinned", pinned=rules["pinned"], **counts)
    lead: list[Inline] = [pinned if rules["pinned"] else say("report.cases_rule", **counts)]
    if rules["moved"]:
        lead.append(say("report.cases_rule_moved", moved=rules["moved"]))
    same_target = all(_plain_target(case) for case in shown)
    if same_target:
        lead.append(say("report.cases_target"))
    texts = audit.data.texts
    # Without colour, what remains of the sign is the line under a word.
    legend = "report.legend_muted" if audit_verdict(audit) == "not_better" else "tokens.legend"
    how: list[Inline] = [] if texts == "ids" else [say(legend)]
    how += [say("report.rows_from_zero"), say("attribution.not_causal")]
    if any(case.explanation_change is not None for case in shown):
        how.append(say("case.change_legend"))
    with_base = any(case.output_change is not None for case in shown)
    items = tuple(_item(case, with_target=not same_target, with_base=with_base) for case in shown)
    return (
        Paragraph(tuple(lead)),
        *quality,
        *([] if texts == "full" else [Note("note", (say(f"report.texts_{texts}"),))]),
        Paragraph(tuple(how), "small"),
        Listing("cases", items, len(items)),
    )


def _correct(case: Case) -> str:
    if case.label is None:
        return "unlabelled"
    return "right" if case.label == case.prediction else "wrong"


def _plain_target(case: Case) -> bool:
    """Whether what is explained is the answer the model gave, which the case's title already names."""
    target = case.attribution.target
    return (target.kind, target.chosen, target.label) == ("class", "predicted", case.prediction)


def _item(case: Case, *, with_target: bool, with_base: bool) -> Item:
    correct = _correct(case)
    title: list[Inline] = [say("case.row", row=case.row)]
    if case.label is None:
        title.append(say("case.predicted", prediction=case.prediction, confidence=case.confidence))
    else:
        badge = Badge("pass" if correct == "right" else "fail", say(f"case.{correct}"))
        line = say("case.labelled", label=case.label, prediction=case.prediction, confidence=case.confidence)
        title += [badge, line]
    if case.slice is not None:
        title.append(say("case.slice", slice=case.slice))
    title.append(say(f"case.rule.{case.rule}"))
    example = case.attribution
    under: list[Inline] = [*example_quality(example.quality)]
    if with_target:
        under.append(target_words(example.target))
    if example.n_truncated:
        under.append(say("quality.truncated", n=example.n_truncated))
    under += _moved(case)
    quality = example.quality
    facets: dict[str, Scalar] = {
        "row": case.row,
        "rule": case.rule,
        "correct": correct,
        "class": case.prediction,
        "label": case.label,
        "slice": case.slice,
        "confidence": round(case.confidence, 4),
        "explanation": None if quality is None else quality.verdict,
        "percentile": None if quality is None or quality.percentile is None else round(quality.percentile, 4),
    }
    if with_base:
        facets |= {
            "changed": None if case.base_prediction is None else _against_base(case),
            "output_change": None if case.output_change is None else round(case.output_change, 4),
            "explanation_change": None if case.explanation_change is None else round(case.explanation_change, 4),
        }
    shown = (tokens_of(example, WORDS_PER_CASE),) if example.tokens else ()
    return Item(f"case-{case.row}", tuple(title), (*shown, Paragraph(tuple(under), "small")), facets)


def _against_base(case: Case) -> str:
    return "unchanged" if case.base_prediction == case.prediction else "changed"


def _moved(case: Case) -> list[Inline]:
    """How far answer, output and explanation moved from the base model's, where there is one."""
    out: list[Inline] = []
    if case.base_prediction is not None and case.base_prediction != case.prediction:
        out.append(say("case.base_said", base=case.base_prediction))
    if case.output_change is not None:
        out.append(say("case.moved", bits=case.output_change))
    if case.explanation_change is not None:
        out.append(say("case.explanation_moved", change=case.explanation_change))
    return out


class Choice(NamedTuple):
    """One line of a drop-down list; `n` is the number of cases behind it."""

    value: str
    name: str
    n: int | None = None


class Choices(NamedTuple):
    """One drop-down list above the cases."""

    facet: str
    title: str
    options: tuple[Choice, ...]


def filters(listing: Listing, words: Words) -> list[Choices]:
    """The drop-down lists that have at least two choices."""
    found = []
    for facet in FILTERED:
        counts = Counter(words.text(str(item.facets[facet])) for item in listing.items if item.facets.get(facet))
        if len(counts) < 2:
            continue
        ours = {"correct": "case", "changed": "case", "rule": "case.rule"}.get(facet)
        options = tuple(
            Choice(value, value if ours is None else words(f"{ours}.{value}"), n)
            for value, n in sorted(counts.items())[:MAX_OPTIONS]
        )
        found.append(Choices(facet, words(f"filter.{facet}"), options))
    return found


def sorts(listing: Listing, words: Words, orders: Sequence[str] = SORTED) -> Choices:
    """The orders in which the cases can be read; those by a quantity that no case has are left out."""
    held = {key for item in listing.items for key, value in item.facets.items() if value is not None}
    options = [Choice(order, words(f"sort.{order}")) for order in orders if order.split("-")[0] in {*held, "listed"}]
    return Choices("sort", words("filter.sort"), tuple(options))
