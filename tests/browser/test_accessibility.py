"""No violation of WCAG 2.2 A and AA that axe-core can find, in light and dark, English and Chinese."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import reports
from interpret.results.audits import Audit
from tests.browser.chromium import opened
from tests.reports import sample

pytestmark = pytest.mark.browser

AUDITS: dict[str, tuple[Audit, str]] = {
    "english": (sample.full(), "en"),
    "chinese": (sample.chinese(), "zh"),
    "failed": (sample.full("not_better"), "zh"),
    "minimal": (sample.minimal(), "zh"),
    "hostile": (sample.hostile(), "en"),
}
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core, which a package for Playwright brings along."""
    spec = find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("axe-core is not there: axe-playwright-python is not installed")
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Any, axe: str) -> list[str]:
    # Given to the page from outside: its policy would rightly block a script that is put in.
    page.evaluate(axe)
    found = page.evaluate("tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", TAGS)
    assert len(found["passes"]) > 15
    return [f"{one['id']}: {node['html'][:200]}" for one in found["violations"] for node in one["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", AUDITS)
def test_axe_finds_nothing(browser: Any, axe: str, tmp_path: Path, name: str, scheme: str) -> None:
    audit, locale = AUDITS[name]
    path = reports.render(audit, tmp_path / "r.html", locale)
    page = opened(browser, path, color_scheme=scheme, viewport={"width": 1200, "height": 900}).page
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert violations(page, axe) == []
    page.context.close()


@pytest.mark.parametrize("locale", ["en", "zh"])
def test_axe_finds_nothing_on_a_telephone(browser: Any, axe: str, tmp_path: Path, locale: str) -> None:
    path = reports.render(sample.full(), tmp_path / "r.html", locale)
    page = opened(browser, path, viewport={"width": 375, "height": 800}).page
    assert violations(page, axe) == []
    page.context.close()


def test_axe_would_find_something(browser: Any, axe: str, report: Path) -> None:
    page = opened(browser, report).page
    page.evaluate(
        "document.querySelector('input[type=search]').parentElement.replaceWith(document.createElement('input'))"
    )
    assert [one for one in violations(page, axe) if one.startswith("label:")]
    page.context.close()
