"""The tree -> one HTML file. The only module that declares markup safe; all of it comes from the lowering.

The content security policy names the hash of the one script and the one style sheet, so that nothing else
runs or styles, even if an escape were ever forgotten. It also forbids every `style` attribute: there is
none.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from interpret.results.audits import Audit
from interpret.results.comparisons import Comparison
from interpret.results.diffs import AuditDiff
from interpret.results.lower import Html
from interpret.results.messages import Words, visible
from interpret.results.style import SCOPE, component_css
from interpret.results.tree import Section
from reports.attention import patterns_of
from reports.cases import SORTED, filters, sorts
from reports.catalogue import report_words
from reports.comparing import MOVED_ORDERS, comparison_sections, not_there
from reports.diffs import diff_sections
from reports.explorer import explorer_data, listing_of
from reports.renderer import renderer
from reports.sections import absent, sections

_HERE = Path(__file__).parent


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> str:
    return (_HERE / "assets" / name).read_text(encoding="utf-8").replace("\r\n", "\n").strip()


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")


def _policy(style: str, script: str | None) -> str:
    """Exactly these two run and style, and nothing is fetched; without a script none runs."""
    scripts = "'none'" if script is None else f"'{_hash(script)}'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def page(audit: Audit, locale: str) -> str:
    """The whole report as one HTML document."""
    say = report_words(locale)
    made = sections(audit)
    return _document(
        "report.html",
        "report",
        made,
        say,
        title=visible(audit.title),
        skip={"key": "verdict", "words": say("page.skip")},
        footer=say("page.footer"),
        style=_asset("report.css") + _asset("attention.css"),
        script=_asset("report.js") + "\n" + _asset("attention.js"),
        # Nothing to read there, or nothing to rely on.
        marks={one.key: "muted" if one.muted else "absent" if absent(audit, one.key) else "" for one in made},
        # Masks all look alike.
        explorer=_explorer("cases", made, say, SORTED, searched=audit.data.texts == "full"),
        patterns=patterns_of(audit, say),
    )


def _document(
    template: str,
    kind: str,
    made: tuple[Section, ...],
    say: Words,
    *,
    title: str,
    footer: str,
    style: str,
    skip: dict[str, str] | None = None,
    script: str | None = None,
    marks: Mapping[str, str] | None = None,
    explorer: dict[str, Any] | None = None,
    **more: Any,
) -> str:
    """Sections as one HTML document; `marks` say by key which lines of the contents stand out, and how."""
    style = component_css(notebook=False) + style
    lower = Html(say, "", heading=2)
    return _environment().get_template(template).render(
        say=say,
        language=say.language,
        policy=_policy(style, script),
        generator=renderer(),
        style=Markup(style),
        script=None if script is None else Markup(script),
        scope=SCOPE,
        title=title,
        subtitle=say(f"{kind}.subtitle"),
        skip=skip or {"key": "result", "words": say("page.skip_to_result")},
        footer=footer,
        contents=[
            {"number": one.number, "key": one.key, "name": say.text(one.title), "mark": (marks or {}).get(one.key, "")}
            for one in made
        ],
        sections=[(section.key, Markup(lower.node(section))) for section in made],
        explorer=explorer,
        **more,
    )  # fmt: skip


def _explorer(
    section: str, made: tuple[Section, ...], say: Words, orders: Sequence[str], *, searched: bool
) -> dict[str, Any] | None:
    """What the controls above the cases offer, and the cases as data; None where there is none."""
    listing = listing_of(made)
    if listing is None:
        return None
    return {
        "section": section,
        "filters": filters(listing, say),
        "sort": sorts(listing, say, orders),
        "searched": searched,
        "first": min(listing.page, len(listing.items)),
        "total": len(listing.items),
        "data": Markup(explorer_data(listing, say)),
    }


def comparison_page(found: Comparison, locale: str) -> str:
    """What fine-tuning changed as one HTML document."""
    say = report_words(locale)
    made = comparison_sections(found)
    return _document(
        "page.html",
        "compared",
        made,
        say,
        title=say("view.comparison", base=found.base_name, tuned=found.tuned_name),
        footer=say("compared.footer"),
        style=_asset("report.css"),
        script=_asset("report.js"),
        marks=dict.fromkeys(not_there(found), "absent"),
        explorer=_explorer("moved", made, say, MOVED_ORDERS, searched=any(one.text is not None for one in found.moved)),
    )


def diff_page(found: AuditDiff, locale: str) -> str:
    """The comparison of two audits as one HTML document, without any script."""
    say = report_words(locale)
    return _document(
        "page.html",
        "diff",
        diff_sections(found),
        say,
        title=say("diff.title", old=found.old.title, new=found.new.title),
        footer=say("diff.footer"),
        style=_asset("report.css"),
    )
