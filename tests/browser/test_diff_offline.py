"""The page of a comparison in Chromium, offline: silent, within the window, deaf to hostile text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import reports
from interpret.saved.diffing import compare_audits
from tests.browser.chromium import CONTRAST, opened
from tests.reports import sample, sample_diff

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "locale"), [("planted", "en"), ("planted", "zh"), ("hostile", "en")])
def test_the_page_is_silent_and_readable(browser: Any, tmp_path: Path, name: str, locale: str, scheme: str) -> None:
    pair = sample_diff.hostile() if name == "hostile" else sample_diff.pair(planted=True)
    path = reports.render_diff(compare_audits(*pair), tmp_path / "d.html", locale)
    found = opened(browser, path, color_scheme=scheme)
    page = found.page
    for width in (1440, 375):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    ratio, where = page.evaluate(CONTRAST)
    assert ratio >= 4.5, where
    assert page.locator("#result .tiles").is_visible()
    assert page.locator("#slices svg").is_visible()
    assert page.evaluate("document.querySelectorAll('script, img, iframe, [style], [onmouseover]').length") == 0
    assert found.console == []
    assert found.dialogs == []
    assert found.requests == [path.as_uri()]
    if name == "hostile":
        assert sample.HOSTILE in page.locator("#slices").inner_text()
    page.context.close()
