"""The report of a comparison in Chromium: silent, within the window, its texts in the order of either change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import reports
from tests.browser.chromium import CONTRAST, opened
from tests.reports import sample, sample_comparison

pytestmark = pytest.mark.browser
FOUND = sample_comparison.with_moved(20)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "locale"), [("whole", "en"), ("whole", "zh"), ("hostile", "en")])
def test_the_page_is_silent_and_readable(browser: Any, tmp_path: Path, name: str, locale: str, scheme: str) -> None:
    comparison = FOUND if name == "whole" else sample.hostile().comparison
    assert comparison is not None
    path = reports.render_comparison(comparison, tmp_path / "c.html", locale)
    found = opened(browser, path, color_scheme=scheme)
    page = found.page
    for width in (1440, 375):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    ratio, where = page.evaluate(CONTRAST)
    assert ratio >= 4.5, where
    for key in ("outputs", "weights", "activations", "attention"):
        assert page.locator(f"#{key} svg").first.is_visible()
    assert page.evaluate("document.querySelectorAll('img, iframe, [style], [onmouseover]').length") == 0
    assert (found.console, found.dialogs, found.requests) == ([], [], [path.as_uri()])
    page.context.close()


def test_texts_are_read_in_the_order_of_either_change(browser: Any, tmp_path: Path) -> None:
    page = opened(browser, reports.render_comparison(FOUND, tmp_path / "c.html")).page
    rows = "[...document.querySelectorAll('article')].map(a => Number(a.id.replace('text-', '')))"
    assert page.evaluate(rows) == [one.row for one in FOUND.moved]
    page.locator("select[name=sort]").select_option("explanation_change-down")
    known = [one for one in FOUND.moved if one.explanation_change is not None]
    expected = sorted(known, key=lambda one: -(one.explanation_change or 0.0))
    unknown = [one.row for one in FOUND.moved if one.explanation_change is None]
    assert page.evaluate(rows) == [*(one.row for one in expected), *unknown]
    page.locator("select[data-facet=changed]").select_option("changed")
    assert set(page.evaluate(rows)) == {one.row for one in FOUND.moved if one.base != one.tuned}
    page.context.close()
