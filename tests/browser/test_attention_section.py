"""Section 10 in Chromium: the chosen pattern drawn from its bytes, a drawing without JavaScript, tokens as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reports
from tests.browser.chromium import opened
from tests.reports import sample

pytestmark = pytest.mark.browser

#: Weight by cell, from the paths: the shade of each is its opacity.
CELLS = """() => [...document.querySelectorAll('.pattern svg path')].flatMap(path =>
  [...path.getAttribute('d').matchAll(/M(\\d+) (\\d+)h(\\d+)/g)].map(m =>
    [(m[2] - 118) / m[3], (m[1] - 122) / m[3], +path.getAttribute('fill-opacity') / 0.9]))"""


def drawn(page: Any, n: int) -> np.ndarray[Any, Any]:
    found = np.zeros((n, n))
    for row, column, shade in page.evaluate(CELLS):
        found[int(row), int(column)] = shade
    return found


def shades(weights: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    out: np.ndarray[Any, Any] = np.ceil(weights.astype(np.float64) * 16 / 255) / 16
    return out


def test_the_chosen_head_of_the_chosen_case_is_drawn(browser: Any, tmp_path: Path) -> None:
    audit = sample.full()
    assert audit.attention is not None
    assert audit.attention.maps is not None
    found = opened(browser, reports.render(audit, tmp_path / "r.html"))
    page = found.page
    section = page.locator("#attention")
    section.locator(".pattern").wait_for()
    # The head with the largest effect of those shown is there first; the still picture has gone.
    first = int(section.locator("select[name=head]").input_value())
    effects = {(row.layer, row.head): abs(row.effect) for row in audit.attention.ablations}
    assert max(effects[head] for head in audit.attention.maps.heads) == effects[audit.attention.maps.heads[first]]
    one, two = audit.attention.maps.maps
    np.testing.assert_allclose(drawn(page, 6), shades(one.weights[first]), atol=1e-6)
    section.locator("select[name=head]").select_option("3")
    page.locator(".pattern svg[aria-label*='layer 3']").wait_for()
    np.testing.assert_allclose(drawn(page, 6), shades(one.weights[3]), atol=1e-6)
    strongest = section.locator(".pattern tbody tr").first.locator("td").all_inner_texts()
    assert strongest == ["[CLS]", "was", "78.4%"], "200/255, the first in reading order"
    section.locator("select[name=case]").select_option("1")
    page.locator(".pattern svg[aria-label*='Row 4']").wait_for()
    np.testing.assert_allclose(drawn(page, 5), shades(two.weights[3]), atol=1e-6)
    assert section.locator(".pattern svg text").all_text_contents()[:2] == ["[CLS]", "[CLS]"]
    assert found.console == []
    page.context.close()


def test_without_javascript_one_pattern_is_drawn(browser: Any, tmp_path: Path) -> None:
    found = opened(browser, reports.render(sample.full(), tmp_path / "r.html"), java_script_enabled=False)
    figures = found.page.locator("#attention figure")
    assert figures.count() == 4
    assert figures.last.locator("svg").is_visible()
    assert "cold" in figures.last.text_content()
    assert found.page.locator("#attention select").count() == 0
    found.page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_tokens_are_text(browser: Any, tmp_path: Path, scheme: str) -> None:
    found = opened(browser, reports.render(sample.hostile(), tmp_path / "r.html"), color_scheme=scheme)
    page = found.page
    page.locator(".pattern svg").wait_for()
    page.wait_for_timeout(100)
    shown = page.locator(".pattern tbody").text_content()
    assert sample.HOSTILE in shown
    assert "</template>" in shown
    assert "\u202e" not in shown
    assert page.evaluate("document.querySelectorAll('img, iframe, s').length") == 0
    assert found.dialogs == []
    assert found.console == []
    page.context.close()


def test_a_narrow_page_scrolls_the_drawing_not_the_page(browser: Any, tmp_path: Path) -> None:
    page = opened(browser, reports.render(sample.full(), tmp_path / "r.html")).page
    page.locator(".pattern svg").wait_for()
    page.set_viewport_size({"width": 375, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.context.close()
