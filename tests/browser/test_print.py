"""What leaves the printer: every section, nothing folded, the cases in one run."""

from __future__ import annotations

import io
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest

import reports
from interpret.results.audits import SECTIONS, Audit
from reports.catalogue import report_words
from tests.browser.chromium import opened
from tests.reports import sample

pytestmark = pytest.mark.browser


def printed(browser: Any, path: Path, **options: Any) -> str:
    pypdf = pytest.importorskip("pypdf", reason="pypdf is not installed")
    page = opened(browser, path, **options).page
    made = page.pdf()
    page.context.close()
    return "\n".join(sheet.extract_text() for sheet in pypdf.PdfReader(io.BytesIO(made)).pages)


def letters(text: str) -> str:
    """Without white space, which is the printer's business, and with the characters that a font stands in for."""
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", text))


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
@pytest.mark.parametrize(("audit", "locale"), [(sample.full(n_cases=30), "en"), (sample.chinese(), "zh")])
def test_the_pdf_holds_every_section_unfolded(
    browser: Any, tmp_path: Path, audit: Audit, locale: str, script: bool
) -> None:
    path = reports.render(audit, tmp_path / "r.html", locale)
    found = letters(printed(browser, path, java_script_enabled=script, color_scheme="dark"))
    say = report_words(locale)
    for number, key in enumerate(SECTIONS):
        assert letters(f"{number}{say.name('section_name', key)}") in found, key
    # Tables that are folded on screen.
    for name in (say("fact.versions"), "transformers", "minimum_accuracy", say("appendix.lead")):
        assert letters(name) in found


def test_printed_are_all_cases_that_match(browser: Any, report: Path) -> None:
    found = printed(browser, report)
    assert found.count("shown as an error") == sum(case.rule == "error" for case in sample.full(n_cases=60).cases)
    assert letters("Cases 1 to 60 of 60 that match") in letters(found)
    assert "Copy as JSON" not in found
    page = opened(browser, report).page
    page.emulate_media(media="print")
    for what in (".contents", ".tools", ".pager", ".scores"):
        assert not page.locator(what).first.is_visible()
    page.context.close()


@pytest.mark.parametrize("audit", [sample.full(), sample.chinese()], ids=["en", "zh"])
def test_no_table_is_wider_than_the_paper(browser: Any, tmp_path: Path, audit: Audit) -> None:
    """On A4 within its margins: what scrolls on a screen would be cut off there."""
    path = reports.render(audit, tmp_path / "r.html", "zh" if audit.title.startswith("外") else "en")
    page = opened(browser, path, viewport={"width": 672, "height": 1000}).page
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    cut = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth + 1)"
        ".map(box => box.getAttribute('aria-label'))"
    )
    assert cut == []
    page.context.close()
