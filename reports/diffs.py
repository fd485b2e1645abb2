"""Two saved audits side by side -> the sections of their page."""

from __future__ import annotations

from interpret.results.diff_views import (
    change_nodes,
    check_change_nodes,
    identity_change_nodes,
    result_nodes,
    slice_change_nodes,
    subject_nodes,
)
from interpret.results.diffs import AuditDiff
from interpret.results.lower import text as lowered
from interpret.results.tree import Section, say
from reports.catalogue import report_words

#: Sections by key, in order; the number of a section is its place here.
DIFF_SECTIONS = ("result", "changes", "slices", "checks", "identity", "subjects")


def diff_sections(found: AuditDiff) -> tuple[Section, ...]:
    """All sections in the order of `DIFF_SECTIONS`."""
    makers = (
        result_nodes,
        change_nodes,
        slice_change_nodes,
        check_change_nodes,
        identity_change_nodes,
        subject_nodes,
    )
    return tuple(
        Section(say(f"diff_section.{key}"), make(found), key, number)
        for number, (key, make) in enumerate(zip(DIFF_SECTIONS, makers, strict=True))
    )


def diff_text(found: AuditDiff, locale: str = "en", *, brief: bool = False) -> str:
    """The comparison as plain text; `brief` keeps the first section."""
    say_in = report_words(locale)
    made = diff_sections(found)
    return "\n".join(lowered(section, say_in) for section in (made[:1] if brief else made))
