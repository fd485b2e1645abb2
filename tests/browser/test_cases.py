"""The cases explorer: filters, orders and pages against the audit itself, addresses, copies, and the keyboard."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import reports
from interpret.results.audits import Case
from tests.browser.chromium import is_silent, opened
from tests.reports import sample

pytestmark = pytest.mark.browser

CASES = sample.full(n_cases=60).cases
LISTED = sorted(CASES, key=lambda case: ("pinned", "error", "moved", "random").index(case.rule))


def correct(case: Case) -> str:
    return "right" if case.label == case.prediction else "wrong"


def percentile(case: Case) -> float | None:
    return None if case.attribution.quality is None else case.attribution.quality.percentile


@pytest.fixture
def page(browser: Any, report: Path) -> Any:
    found = opened(browser, report, permissions=["clipboard-read", "clipboard-write"])
    yield found.page
    assert is_silent(found, report)
    found.page.context.close()


def shown(page: Any) -> list[int]:
    """Rows of all cases that match, page by page."""
    out: list[int] = []
    while True:
        out += [
            int(name.removeprefix("case-"))
            for name in page.evaluate("[...document.querySelectorAll('article')].map(a => a.id)")
        ]
        step = page.locator('[data-step="1"]')
        if not step.is_visible() or step.get_attribute("aria-disabled") == "true":
            return out
        step.click()


def test_the_script_makes_the_same_elements_as_the_file(browser: Any, tmp_path: Path) -> None:
    """Case by case the markup with JavaScript is that without, but for what only a script can offer."""
    strip = """() => [...document.querySelectorAll('article')].map(a => {
      const copy = a.cloneNode(true);
      copy.querySelectorAll('.copy, .scores').forEach(e => e.remove());
      copy.querySelectorAll('h3').forEach(e => e.removeAttribute('id'));
      return copy.outerHTML;
    })"""
    for name, audit, locale in (
        ("plain", sample.full(n_cases=30), "en"),
        ("chinese", sample.chinese(), "zh"),
        ("hostile", sample.hostile(), "zh"),
    ):
        path = reports.render(audit, tmp_path / f"{name}.html", locale)
        static = opened(browser, path, java_script_enabled=False).page
        # Without JavaScript in the page it can still be asked from outside.
        before = static.evaluate(strip)
        static.context.close()
        live = opened(browser, path).page
        assert live.evaluate(strip) == before
        assert len(before) == min(25, len(audit.cases))
        live.context.close()


@pytest.mark.parametrize(
    ("facet", "value", "fits"),
    [
        ("correct", "wrong", lambda case: correct(case) == "wrong"),
        ("class", "negative", lambda case: case.prediction == "negative"),
        ("slice", "names", lambda case: case.slice == "names"),
        ("rule", "random", lambda case: case.rule == "random"),
        ("changed", "changed", lambda case: case.base_prediction != case.prediction),
    ],
)
def test_filters_show_what_the_audit_holds(page: Any, facet: str, value: str, fits: Callable[[Case], bool]) -> None:
    page.locator(f"select[data-facet={facet}]").select_option(value)
    expected = [case.row for case in LISTED if fits(case)]
    assert 0 < len(expected) < 60
    option = page.locator(f"select[data-facet={facet}] option:checked").inner_text()
    assert option.endswith(f"({len(expected)})")
    assert page.get_by_role("status").inner_text() == (
        f"Cases 1 to {min(25, len(expected))} of {len(expected)} that match (60 in all)"
    )
    assert shown(page) == expected


def test_what_is_said_without_a_script_goes_with_it(page: Any) -> None:
    assert page.locator(".no-script").count() == 0


def test_filters_and_text_work_together_and_can_be_cleared(page: Any) -> None:
    page.locator("select[data-facet=class]").select_option("positive")
    page.get_by_role("searchbox", name="Text contains").fill(" SHOWER ")
    expected = [c.row for c in LISTED if c.prediction == "positive" and "shower" in c.attribution.text.lower()]
    assert shown(page) == expected
    page.get_by_role("searchbox").fill("no such words")
    assert page.locator("article").count() == 0
    assert page.get_by_role("status").inner_text() == "No case matches."
    page.get_by_role("button", name="Clear filters").click()
    assert shown(page) == [case.row for case in LISTED]


@pytest.mark.parametrize(
    ("order", "key", "down"),
    [
        ("row", lambda case: case.row, False),
        ("confidence-down", lambda case: case.confidence, True),
        ("confidence-up", lambda case: case.confidence, False),
        ("percentile-up", percentile, False),
        ("percentile-down", percentile, True),
        ("output_change-down", lambda case: case.output_change, True),
        ("explanation_change-down", lambda case: case.explanation_change, True),
    ],
)
def test_orders(page: Any, order: str, key: Callable[[Case], float | None], down: bool) -> None:
    page.locator("select[name=sort]").select_option(order)
    known = [case for case in LISTED if key(case) is not None]
    expected: Sequence[Case] = sorted(known, key=lambda case: (-1 if down else 1) * (key(case) or 0.0))
    unknown = [case for case in LISTED if key(case) is None]
    assert shown(page) == [case.row for case in (*expected, *unknown)]


def test_a_case_has_an_address(browser: Any, report: Path) -> None:
    found = opened(browser, report, fragment="#case-59")
    page = found.page
    assert page.locator("#case-59").is_visible()
    assert page.evaluate("document.activeElement.id") == "case-59"
    # One that the filters hide is shown all the same.
    page.locator("select[data-facet=correct]").select_option("wrong")
    page.evaluate("window.location.hash = '#case-58'")
    page.locator("#case-58").wait_for(state="visible")
    assert page.locator("select[data-facet=correct]").input_value() == ""
    assert page.locator("#case-58").bounding_box()["y"] < 800
    page.evaluate("window.location.hash = '#case-%E0%A4%A'")
    page.evaluate("window.location.hash = '#limits'")
    assert found.console == []
    page.context.close()


def test_a_case_is_copied_as_json(page: Any) -> None:
    page.locator("#case-2").get_by_role("button", name="Copy as JSON").click()
    page.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText().then(JSON.parse)")
    case = next(case for case in CASES if case.row == 2)
    assert copied["row"] == 2
    assert copied["text"] == case.attribution.text
    assert (copied["label"], copied["class"], copied["rule"]) == (case.label, case.prediction, case.rule)
    assert copied["confidence"] == round(case.confidence, 4)
    assert copied["words"] == [[word.word, float(f"{word.score:.3g}")] for word in case.attribution.words()]


def test_what_is_copied_is_the_text_and_not_how_it_is_shown(browser: Any, tmp_path: Path) -> None:
    audit = sample.hostile()
    path = reports.render(audit, tmp_path / "r.html")
    page = opened(browser, path, permissions=["clipboard-read", "clipboard-write"]).page
    for case in audit.cases[:3]:
        page.locator(f"#case-{case.row} .copy").click()
        page.locator(f"#case-{case.row}").get_by_role("button", name="Copied").wait_for()
        copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
        assert copied["text"] == case.attribution.text.replace("\ud800", "\ufffd")
    page.context.close()


def test_every_score_can_be_read_without_a_mouse(page: Any) -> None:
    fold = page.locator("#case-2 details")
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    rows = fold.locator("tbody tr").all_inner_texts()
    words = next(case for case in CASES if case.row == 2).attribution.words()
    assert len(rows) == len(words)
    strongest = max(words, key=lambda word: abs(word.score))
    assert rows[0].split("\t") == [strongest.word, f"{strongest.score:+.3g}".replace("-", "\u2212")]


def test_the_whole_path_by_keyboard(page: Any) -> None:
    """Every control is reached by Tab in reading order, shows that it is, and works; nothing keeps the focus."""
    page.get_by_role("combobox", name="Answer", exact=True).focus()
    reached = []
    for _ in range(12):
        reached.append(
            page.evaluate("(e => e.dataset.facet || e.name || e.className || e.tagName)(document.activeElement)")
        )
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", reached
        page.keyboard.press("Tab")
    assert reached[:10] == "correct class changed slice rule q sort clear permalink copy".split()
    page.get_by_role("button", name="Next").focus()
    for _ in range(2):
        page.keyboard.press("Enter")
    # The button that leads no further keeps the focus, or the reader would fall back to the top of the page.
    assert page.evaluate("document.activeElement.dataset.step") == "1"
    assert page.get_by_text("Page 3 of 3").is_visible()
    page.keyboard.press("Enter")
    assert page.get_by_text("Page 3 of 3").is_visible()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    assert page.get_by_text("Page 2 of 3").is_visible()
    assert page.get_by_role("status").get_attribute("aria-live") in (None, "polite")
