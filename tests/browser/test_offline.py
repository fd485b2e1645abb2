"""The report in Chromium, offline: silent, complete without JavaScript, and deaf to hostile text."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import reports
from interpret.results.audits import Audit
from tests.reports import sample

pytestmark = pytest.mark.browser

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no chromium on this machine")
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield made
        made.close()


class Opened(NamedTuple):
    page: Any
    console: list[str]
    requests: list[str]
    dialogs: list[str]


def opened(browser: Any, path: Path, *, fragment: str = "", **options: Any) -> Opened:
    context = browser.new_context(offline=True, **options)
    page = context.new_page()
    found = Opened(page, [], [], [])
    page.on("console", lambda message: found.console.append(message.text))
    page.on("pageerror", lambda error: found.console.append(str(error)))
    page.on("request", lambda request: found.requests.append(request.url))

    def dismiss(dialog: Any) -> None:
        found.dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.goto(path.as_uri() + fragment)
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reports.render(sample.full(n_cases=60), tmp_path_factory.mktemp("report") / "report.html")


AUDITS: dict[str, tuple[Audit, str]] = {
    "english": (sample.full(), "en"),
    "chinese": (sample.chinese(), "zh"),
    "minimal": (sample.minimal(), "en"),
    "hostile": (sample.hostile(), "en"),
}


@pytest.mark.parametrize("name", AUDITS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_error_and_no_request(browser: Any, tmp_path: Path, name: str, scheme: str) -> None:
    audit, locale = AUDITS[name]
    path = reports.render(audit, tmp_path / "r.html", locale)
    found = opened(browser, path, color_scheme=scheme)
    assert found.console == []
    assert found.requests == [path.as_uri()]
    for width in (1440, 375):
        found.page.set_viewport_size({"width": width, "height": 800})
        assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    found.page.context.close()


def test_hostile_text_does_nothing(browser: Any, tmp_path: Path) -> None:
    found = opened(browser, reports.render(sample.hostile(), tmp_path / "r.html"))
    page = found.page
    assert page.title() == f"Audit {sample.HOSTILE}"
    assert page.locator("h1").inner_text() == f"Audit {sample.HOSTILE}"
    assert page.evaluate("document.querySelectorAll('img, iframe, object, embed, s').length") == 0
    assert page.evaluate("document.querySelectorAll('script').length") == 1
    assert page.evaluate("document.querySelectorAll('[onmouseover], [onerror], [style]').length") == 0
    assert found.dialogs == []
    assert sample.HOSTILE in page.locator("#cases").inner_text()
    page.locator("select[name=slice]").select_option(index=1)
    assert page.locator("article:visible").count() > 0
    assert found.console == []
    page.context.close()


def test_without_javascript_everything_is_there(browser: Any, report: Path) -> None:
    found = opened(browser, report, java_script_enabled=False)
    page = found.page
    assert page.locator("#verdict .tiles").is_visible()
    assert page.locator("#verdict table").count() == 2
    assert page.locator("#performance svg").is_visible()
    assert page.locator("article:visible").count() == 60
    assert page.locator(".tools").count() == 0
    page.context.close()


def test_cases_are_paged_filtered_and_addressed(browser: Any, report: Path) -> None:
    found = opened(browser, report)
    page = found.page
    visible = page.locator("article:visible")
    assert visible.count() == 25
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Next").click()
    assert visible.count() == 10
    page.locator("select[name=correct]").select_option("wrong")
    assert visible.count() == 12
    page.get_by_role("searchbox", name="Text contains").fill("SHOWER")
    assert 0 < visible.count() <= 12
    page.get_by_role("searchbox", name="Text contains").fill("no such words")
    assert visible.count() == 0
    assert page.get_by_text("No case matches.").is_visible()
    page.evaluate("window.location.hash = '#case-58'")
    page.locator("#case-58").wait_for(state="visible")
    assert found.console == []
    page.context.close()
    again = opened(browser, report, fragment="#case-59")
    assert again.page.locator("#case-59").is_visible()
    again.page.context.close()


def test_a_case_is_copied_as_json(browser: Any, report: Path) -> None:
    found = opened(browser, report, permissions=["clipboard-read", "clipboard-write"])
    page = found.page
    page.locator("#case-2").get_by_role("button", name="Copy as JSON").click()
    page.get_by_text("Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText().then(JSON.parse)")
    assert copied["id"] == "case-2"
    assert copied["text"] == sample.TEXTS[2]
    assert ["never", -1.5] in copied["words"]
    page.context.close()


def test_the_keyboard_reaches_the_verdict_first(browser: Any, report: Path) -> None:
    page = opened(browser, report).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#verdict"
    assert page.locator(".skip").is_visible()
    page.context.close()


def test_print_holds_every_case_and_section(browser: Any, report: Path) -> None:
    page = opened(browser, report).page
    page.emulate_media(media="print")
    assert not page.locator(".contents").is_visible()
    assert not page.locator(".tools").is_visible()
    assert page.pdf().startswith(b"%PDF")
    page.context.close()


_CONTRAST = """() => {
  const light = c => { const v = c / 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const lum = c => 0.2126 * light(c[0]) + 0.7152 * light(c[1]) + 0.0722 * light(c[2]);
  const read = s => { const n = s.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n.length > 3 ? n[3] : 1]; };
  const behind = e => {
    const layers = [];
    for (let x = e; x; x = x.parentElement) layers.push(read(getComputedStyle(x).backgroundColor));
    let out = [255, 255, 255];
    for (const l of layers.reverse()) out = out.map((c, i) => l[3] * l[i] + (1 - l[3]) * c);
    return out;
  };
  let worst = [99, ''];
  for (const e of document.querySelectorAll('main *, nav *, header *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    if (e.closest('svg') || e.closest(':disabled') || !e.getClientRects().length) continue;
    const a = lum(read(getComputedStyle(e).color)), b = lum(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 120)];
  }
  return worst;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_at_least_that_of_wcag_aa(browser: Any, report: Path, scheme: str) -> None:
    page = opened(browser, report, color_scheme=scheme).page
    ratio, where = page.evaluate(_CONTRAST)
    assert ratio >= 4.5, where
    page.context.close()
