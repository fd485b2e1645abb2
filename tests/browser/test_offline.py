"""The report in Chromium, offline: silent, complete without JavaScript, and deaf to hostile text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import reports
from interpret.results.audits import SECTIONS, Audit
from interpret.results.messages import visible
from tests.browser.chromium import CONTRAST, is_silent, opened
from tests.reports import sample
from tests.reports.drenched import drenched

pytestmark = pytest.mark.browser

AUDITS: dict[str, tuple[Audit, str]] = {
    "english": (sample.full(), "en"),
    "chinese": (sample.chinese(), "zh"),
    "minimal": (sample.minimal(), "en"),
    "failed": (sample.full("not_better"), "zh"),
    "hostile": (sample.hostile(), "en"),
}


@pytest.mark.parametrize("name", AUDITS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_no_error_and_no_request(browser: Any, tmp_path: Path, name: str, scheme: str, script: bool) -> None:
    audit, locale = AUDITS[name]
    path = reports.render(audit, tmp_path / "r.html", locale)
    found = opened(browser, path, color_scheme=scheme, java_script_enabled=script)
    for width in (1440, 768, 375):
        found.page.set_viewport_size({"width": width, "height": 800})
        # What is wider than the page scrolls in a box of its own.
        box = found.page.locator("main").bounding_box()
        assert box["x"] + box["width"] <= width
        if script:
            assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    assert is_silent(found, path)
    found.page.context.close()


_ALIEN = "img, iframe, object, embed, link, base, s, b, textarea, [onmouseover], [onerror], [onload], [style]"


@pytest.mark.parametrize("locale", ["en", "zh"])
def test_hostile_text_in_every_field_does_nothing(browser: Any, tmp_path: Path, locale: str) -> None:
    audit, n_replaced = drenched(sample.full(n_cases=30))
    assert n_replaced > 300
    path = reports.render(audit, tmp_path / "r.html", locale)
    found = opened(browser, path)
    page = found.page
    assert page.title() == " ".join(visible(audit.title).split())
    assert page.evaluate(f"document.querySelectorAll({_ALIEN!r}).length") == 0
    assert page.evaluate("[...document.scripts].map(s => s.type)") == ["application/json", ""]
    shown = page.evaluate("document.body.textContent")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    for what in (audit.identity.name, audit.data.name, audit.cases[0].prediction, *audit.intended_use.values()):
        assert visible(what) in shown
    # The controls work on such facets, the next page and single cases too.
    for select in page.locator("select[data-facet]").all():
        select.select_option(index=1)
        assert page.locator("article").count() > 0
        select.select_option(index=0)
    page.get_by_role("searchbox").fill("</script>")
    page.get_by_role("button", name="Clear" if locale == "en" else "清除").click()
    page.locator('[data-step="1"]').click()
    page.locator("article summary").first.click()
    assert page.evaluate(f"document.querySelectorAll({_ALIEN!r}).length") == 0
    page.emulate_media(media="print")
    assert is_silent(found, path)
    page.context.close()


def test_without_javascript_everything_is_there(browser: Any, report: Path) -> None:
    found = opened(browser, report, java_script_enabled=False)
    page = found.page
    assert page.locator("#verdict .tiles").count() == 2
    assert page.locator("#verdict table").count() == 2
    for key in SECTIONS:
        assert page.locator(f"#{key} > h2").is_visible()
    for key in ("performance", "slices", "global_attribution", "explanation_quality", "attention", "probes"):
        assert page.locator(f"#{key} svg").first.is_visible()
        assert page.locator(f"#{key} table").count() > 0
    assert page.locator("article:visible").count() == 25
    assert page.get_by_text("The first 25 of 60 cases.").is_visible()
    assert page.locator(".tools").count() == 0
    page.context.close()


def test_the_keyboard_reaches_the_verdict_first(browser: Any, report: Path) -> None:
    page = opened(browser, report).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#verdict"
    assert page.locator(".skip").is_visible()
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_failed_explanations_lose_their_colour(browser: Any, tmp_path: Path, scheme: str) -> None:
    """Sections 7 and 9 are greyed out with the reason, and every case keeps its own mark."""
    path = reports.render(sample.full("not_better", n_cases=30), tmp_path / "r.html")
    page = opened(browser, path, color_scheme=scheme).page
    grey = page.evaluate(
        "[...document.querySelectorAll('figure svg, .tokens')].map(e => [e.closest('main > section').id,"
        " getComputedStyle(e).filter])"
    )
    assert {key for key, how in grey if how == "grayscale(1)"} == {"global_attribution", "cases"}
    assert not [key for key, how in grey if key in ("global_attribution", "cases") and how != "grayscale(1)"]
    for key in ("global_attribution", "cases"):
        assert page.locator(f"#{key} .note.failure").inner_text().startswith("Failed Shown without colour: section 8")
    marks = page.evaluate("[...document.querySelectorAll('article')].map(a => a.querySelectorAll('p .badge').length)")
    assert marks == [1] * 25
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_at_least_that_of_wcag_aa(browser: Any, report: Path, scheme: str) -> None:
    page = opened(browser, report, color_scheme=scheme).page
    ratio, where = page.evaluate(CONTRAST)
    assert ratio >= 4.5, where
    page.context.close()
