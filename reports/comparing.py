"""Base against tuned -> the sections of a report of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from interpret.results.comparison_views import compared_nodes, lead_nodes, missing_nodes
from interpret.results.comparisons import Comparison, ComparisonRow, MovedExample, Part
from interpret.results.explanations import ExampleAttribution
from interpret.results.lower import text as lowered
from interpret.results.record import Message, Scalar
from interpret.results.tree import (
    Badge,
    Code,
    Details,
    Fact,
    Facts,
    Inline,
    Item,
    Listing,
    Node,
    Note,
    Number,
    NumberKind,
    Paragraph,
    Section,
    Tile,
    Tiles,
    Token,
    Tokens,
    say,
)
from interpret.results.views import tokens_of
from reports.catalogue import report_words

#: Sections by key, in order; the number of a section is its place here.
COMPARED_SECTIONS: Final = (
    "result",
    "before",
    "outputs",
    "moved",
    "explanations",
    "weights",
    "activations",
    "attention",
    "probes",
    "about",
)
_PARTS: Final[tuple[Part, ...]] = ("outputs", "explanations", "weights", "activations", "attention", "probes")
#: Orders in which the texts that moved can be read.
MOVED_ORDERS: Final = ("output_change-down", "explanation_change-down", "row")
#: Words of one text, and slices that are named in the result.
N_WORDS: Final = 300
N_NAMED: Final = 3


def comparison_sections(found: Comparison) -> tuple[Section, ...]:
    """All sections in the order of `COMPARED_SECTIONS`; what is not there says why."""
    makers: dict[str, Callable[[Comparison], tuple[Node, ...]]] = {
        "result": _result,
        "before": lead_nodes,
        "moved": _moved,
        "about": _about,
    }
    out = []
    for number, key in enumerate(COMPARED_SECTIONS):
        body = makers[key](found) if key in makers else _part(found, key)
        if not body:
            body = (Paragraph((Badge("not_run"), _why_not(found, key))),)
        out.append(Section(say(f"compared_section.{key}"), body, key, number))
    return tuple(out)


def not_there(found: Comparison) -> tuple[str, ...]:
    """Sections that hold nothing but the reason for it."""
    absent = [key for key in _PARTS if not _part(found, key)]
    return (*absent, *([] if found.moved else ["moved"]))


def comparison_text(found: Comparison, locale: str = "en") -> str:
    """The report as plain text."""
    say_in = report_words(locale)
    return "\n".join(lowered(section, say_in) for section in comparison_sections(found))


def _part(found: Comparison, key: str) -> tuple[Node, ...]:
    part = next(one for one in _PARTS if one == key)
    nodes = compared_nodes(found, part)
    if nodes and part == "explanations":
        return (*nodes, Paragraph((say("compared.unmeasured"),), "small"))
    return nodes


def _why_not(found: Comparison, key: str) -> Message:
    if key == "moved":
        return say("compared.moved_none")
    told = next((one.why for one in found.not_compared if one.part == key), None)
    return say("compared.no_probes" if key == "probes" else "compared.not_asked") if told is None else told


# --- the result


def _result(found: Comparison) -> tuple[Node, ...]:
    lead: list[Inline] = [say("compared.lead", base=found.base_name, tuned=found.tuned_name)]
    if found.about is not None:
        lead.append(say("compared.data", n=found.about.n, data=found.about.data))
    out: list[Node] = [Paragraph(tuple(lead), "lead")]
    out.append(Tiles((_changed(found), *_tiles(found))))
    failed = tuple(check.why for check in found.preflight if check.verdict == "fail")
    if failed:
        out.append(Note("failure", failed))
    notable = _notable(found)
    out += [Paragraph(notable)] if notable else []
    out.append(Paragraph((say("comparison.one_seed"),), "small"))
    return tuple(out)


def _changed(found: Comparison) -> Tile:
    norm = next((r.value for r in found.rows if r.part == "weights" and r.item is None), None)
    detail = None if norm is None else say("compared.changed_detail", relative=norm)
    if found.changed is None:
        return Tile(say("compared.changed"), say("format.not_measured"), detail)
    return Tile(say("compared.changed"), say("format.yes" if found.changed else "format.no"), detail)


def _tiles(found: Comparison) -> tuple[Tile, ...]:
    """The headline of each part that is there."""
    whole = {r.name: r for r in found.rows if r.slice is None and r.part in ("outputs", "explanations")}
    shown: tuple[tuple[str, NumberKind], ...] = (
        ("accuracy_difference", "points"),
        ("changed_predictions", "percent"),
        ("kl_bits", "decimal"),
        ("rank_correlation", "signed"),
    )
    out = [
        Tile(say("quantity.named", name=name), Number(r.value, kind, r.ci_low, r.ci_high))
        for name, kind in shown
        if (r := whole.get(name)) is not None
    ]
    if found.probes is not None:
        out.append(Tile(say("fact.probe_changes"), Number(len(found.probes.changed()), "count"), found.probes.task))
    streams = [r for r in found.rows if r.part == "activations" and r.name == "cka"]
    if streams:
        last = streams[-1]
        value = Number(last.value, "decimal", last.ci_low, last.ci_high)
        out.append(Tile(say("compared.similarity"), value, say("compared.similarity_detail")))
    return tuple(out)


def _notable(found: Comparison) -> tuple[Message, ...]:
    """Slices that lost accuracy, and those on which outputs moved further, each with its whole interval."""
    rows = [r for r in found.rows if r.part == "outputs" and None not in (r.value, r.ci_low, r.ci_high)]
    out = [
        say("compared.slice_worse", slice=r.slice, value=r.value, low=r.ci_low, high=r.ci_high)
        for r in sorted(rows, key=_value)
        if r.slice is not None and r.name == "accuracy_difference" and (r.ci_high or 0.0) < 0
    ][:N_NAMED]
    name = next((n for n in ("kl_bits_next", "kl_bits") if any(r.name == n for r in rows)), "")
    over_all = next((r.ci_high for r in rows if r.name == name and r.slice is None), None)
    if over_all is not None:
        out += [
            say("compared.slice_far", slice=r.slice, value=r.value, low=r.ci_low, high=r.ci_high)
            for r in sorted(rows, key=_value, reverse=True)
            if r.slice is not None and r.name == name and (r.ci_low or 0.0) > over_all
        ][:N_NAMED]
    return tuple(out)


def _value(r: ComparisonRow) -> float:
    return r.value or 0.0


# --- texts that moved


def _moved(found: Comparison) -> tuple[Node, ...]:
    if not found.moved:
        return ()
    lead: list[Inline] = [say("compared.moved_lead", n=len(found.moved))]
    how: list[Inline] = []
    if any(one.explained_tuned is not None for one in found.moved):
        lead.append(say("compared.explained_lead"))
        how = [say("tokens.legend"), say("attribution.not_causal"), say("compared.unmeasured")]
        how.append(say("case.change_legend"))
    items = tuple(_item(one) for one in found.moved)
    small = (Paragraph(tuple(how), "small"),) if how else ()
    return (Paragraph(tuple(lead)), *small, Listing("cases", items, len(items)))


def _item(one: MovedExample) -> Item:
    title: list[Inline] = [say("case.row", row=one.row)]
    if one.base is not None and one.tuned is not None:
        words = {"base": one.base, "tuned": one.tuned}
        after = {} if one.after is None else {"after": one.after}
        title.append(say("compared.what_said_after" if after else "compared.what_said", **words, **after))
    if one.slice is not None:
        title.append(say("case.slice", slice=one.slice))
    under: list[Inline] = [say("case.moved", bits=one.kl_bits)]
    if one.explanation_change is not None:
        under.append(say("case.explanation_moved", change=one.explanation_change))
    facets: dict[str, Scalar] = {
        "row": one.row,
        "class": one.tuned if one.after is None else None,
        "changed": None if one.base is None else "unchanged" if one.base == one.tuned else "changed",
        "slice": one.slice,
        "output_change": round(one.kl_bits, 4),
        "explanation_change": None if one.explanation_change is None else round(one.explanation_change, 4),
    }
    return Item(f"text-{one.row}", tuple(title), (*_texts(one), Paragraph(tuple(under), "small")), facets)


def _texts(one: MovedExample) -> tuple[Node, ...]:
    """The text as both models read it, each with its own strongest word as the darkest."""
    out: list[Node] = []
    pairs: tuple[tuple[str, ExampleAttribution | None], ...] = (
        ("tuned", one.explained_tuned),
        ("base", one.explained_base),
    )
    for name, example in pairs:
        if example is not None and example.tokens:
            out += [Paragraph((say(f"compared.of_{name}"),), "small"), tokens_of(example, N_WORDS)]
    if not out and one.text:
        out.append(Tokens((Token(one.text, None, ""),), 0.0))
    return tuple(out)


# --- about the comparison


def _about(found: Comparison) -> tuple[Node, ...]:
    out: list[Node] = [*missing_nodes(found)]
    about = found.about
    if about is not None:
        facts = [
            Fact(say("fact.data"), about.data),
            Fact(say("fact.used"), Number(about.n, "count")),
            Fact(say("reproduce.seed"), Code(str(about.seed))),
            Fact(say("fact.data_sha256"), Code(about.data_sha256)),
        ]
        if about.base_sha256 is not None:
            facts.append(Fact(say("fact.base_sha256"), Code(about.base_sha256)))
        facts.append(Fact(say("fact.tuned_sha256"), Code(about.tuned_sha256)))
        out.append(Facts(tuple(facts)))
        versions = Facts(tuple(Fact(name, Code(v)) for name, v in sorted(about.versions.items())))
        out.append(Details(say("fact.versions"), (versions,)))
    out.append(Paragraph((say("comparison.one_seed"), say("attribution.not_causal")), "small"))
    return tuple(out)
