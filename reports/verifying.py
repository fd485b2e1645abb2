"""Whether a report is what its audit renders to, and the result of a verification as text."""

from __future__ import annotations

from pathlib import Path

from interpret.errors import InterpretError
from interpret.results.audits import Audit
from interpret.results.lower import text as lowered
from interpret.results.messages import LOCALES
from interpret.results.record import Message
from interpret.results.store import REPORT
from interpret.results.tree import Section
from interpret.results.verification import Finding, Verification
from interpret.results.verification_views import verification_nodes
from reports.catalogue import report_words
from reports.html import page
from reports.renderer import renderer, renderer_of


def report_finding(folder: Path, audit: Audit) -> Finding:
    """Render the audit again, in every language, and compare with `report.html` byte by byte.

    Only the renderer that made a report makes the same bytes of it; another one's is left to the sums.
    """
    path = folder / REPORT
    if not path.is_file():
        return _finding("skipped", "verify.report_none")
    found = path.read_bytes()
    made_by, own = renderer_of(found), renderer()
    if made_by != own:
        return _finding("skipped", "verify.report_other_renderer", found=made_by or "–", own=own)
    for locale in LOCALES:
        try:
            if page(audit, locale).encode("utf-8") == found:
                return _finding("holds", "verify.report_same", locale=locale)
        except InterpretError:
            # A code without words: this audit cannot have been rendered by this renderer.
            continue
    return _finding("differs", "verify.report_differs")


def _finding(status: str, code: str, **params: str) -> Finding:
    return Finding(part="report", subject=REPORT, status=status, why=Message(code=code, params=params))  # type: ignore[arg-type]


def verification_text(found: Verification, locale: str = "en") -> str:
    """The result as plain text, the outcome last."""
    return lowered(Section(found.title, verification_nodes(found)), report_words(locale))
