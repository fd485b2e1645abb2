"""The whole report as plain text, from the same tree as the page."""

from __future__ import annotations

from interpret.results.audits import Audit
from interpret.results.lower import text as lowered
from interpret.results.messages import visible
from reports.catalogue import report_words
from reports.sections import sections


def text(audit: Audit, locale: str = "en") -> str:
    """The report as plain text, at most 100 columns wide outside tables."""
    say = report_words(locale)
    title = visible(audit.title)
    head = [title, "#" * len(title), "", say("report.subtitle"), ""]
    return "\n".join(head) + "\n" + "\n".join(lowered(section, say) for section in sections(audit))
