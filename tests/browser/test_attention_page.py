"""Attention pages in Chromium, offline: drawn, silent, asking for nothing, and deaf to markup in tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interpret.results.attention import AttentionPatterns
from reports.bertviz import head_view, model_view
from tests.browser.chromium import opened
from tests.reports.test_bertviz import HOSTILE, patterns

pytestmark = pytest.mark.browser

OPACITIES = "[...document.querySelectorAll('#attention line')].map(l => +l.getAttribute('stroke-opacity'))"
TOKENS = ("[CLS]", "a", "film", "to", "see", "[SEP]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en", "zh"])
def test_the_head_view_is_drawn(browser: Any, tmp_path: Path, scheme: str, locale: str) -> None:
    record = patterns(2, 3, TOKENS)
    path = head_view(record, path=tmp_path / "v.html", locale=locale).path
    assert path is not None
    found = opened(browser, path, color_scheme=scheme)
    page = found.page
    assert page.locator("#vis svg #attention line").count() == 3 * 6 * 6
    opacities = page.evaluate(OPACITIES)
    np.testing.assert_allclose(opacities, record.weights[0].ravel() / 3, atol=2e-4)
    assert page.locator("#vis text").all_text_contents()[:6] == list(TOKENS)
    page.locator("#layer").select_option("1")
    opacities = page.evaluate(OPACITIES)
    np.testing.assert_allclose(opacities, record.weights[1].ravel() / 3, atol=2e-4)
    # One head alone, then the lines of one token.
    page.locator("#vis > svg > g:last-child rect").nth(1).dblclick()
    assert np.count_nonzero(page.evaluate(OPACITIES)) == 6 * 6
    page.locator("#left text").nth(2).hover()
    assert page.locator("#attention line[visibility=visible]").count() == 3 * 6
    assert found.console == []
    assert found.requests == [path.as_uri()]
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_model_view_is_drawn(browser: Any, tmp_path: Path, scheme: str) -> None:
    path = model_view(patterns(2, 3, TOKENS), path=tmp_path / "v.html").path
    assert path is not None
    found = opened(browser, path, color_scheme=scheme)
    page = found.page
    assert page.locator("#vis svg line").count() == 2 * 3 * 6 * 6
    page.locator("#vis svg rect[style]").nth(4).click()
    assert page.locator("text.detail").text_content() == "Layer 1, Head 1"
    assert found.console == []
    assert found.requests == [path.as_uri()]
    page.context.close()


@pytest.mark.parametrize("view", [head_view, model_view])
def test_markup_in_a_token_is_text(browser: Any, tmp_path: Path, view: Any) -> None:
    weights = np.full((1, 1, len(HOSTILE), len(HOSTILE)), 1 / len(HOSTILE))
    path = view(AttentionPatterns.of(weights, HOSTILE, model=HOSTILE[0]), path=tmp_path / "v.html").path
    found = opened(browser, path)
    page = found.page
    if view is model_view:
        page.locator("#vis svg rect[style]").first.click()
    page.wait_for_timeout(200)
    assert page.locator("#vis text").filter(has_text=HOSTILE[0]).count() == 2
    assert page.evaluate("document.querySelectorAll('img, s, iframe').length") == 0
    assert page.evaluate("document.querySelectorAll('script').length") == 2
    assert found.dialogs == []
    assert found.console == []
    assert found.requests == [path.as_uri()]
    page.context.close()


def test_the_policy_stops_markup_that_was_not_escaped(browser: Any, tmp_path: Path) -> None:
    """With the escaping broken on purpose nothing runs or is loaded either."""
    path = tmp_path / "v.html"
    html = head_view(patterns()).html.replace("<h1>", "<h1><img src=x onerror=alert(1)><script>alert(2)</script>")
    path.write_text(html, encoding="utf-8")
    found = opened(browser, path)
    found.page.wait_for_timeout(200)
    assert found.dialogs == []
    assert found.page.evaluate("document.querySelector('img').naturalWidth") == 0
    assert sum("Content Security Policy" in said for said in found.console) == 3, "image, handler and script"
    found.page.context.close()


def test_a_notebook_shows_it_in_a_frame(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "notebook.html"
    cells = "".join(head_view(patterns(tokens=TOKENS))._repr_html_() for _ in range(2))
    path.write_text(f"<!doctype html><meta charset=utf-8><title>t</title>{cells}", encoding="utf-8")
    found = opened(browser, path)
    for frame in found.page.frames[1:]:
        frame.locator("#attention").wait_for(state="attached")
        assert frame.locator("#attention line").count() == 3 * 6 * 6
    assert len(found.page.frames) == 3
    assert found.console == []
    assert [url for url in found.requests if not url.startswith("about:")] == [path.as_uri()]
    found.page.context.close()
