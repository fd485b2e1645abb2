"""The report of a comparison: pure, strict, complete in both languages, deaf to hostile text, open about gaps."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

import reports
from interpret.results.comparisons import Comparison, NotCompared
from interpret.results.messages import LOCALES
from interpret.results.record import Message
from reports.catalogue import report_words
from reports.comparing import COMPARED_SECTIONS, comparison_text
from reports.html import comparison_page
from tests.reports import sample, sample_comparison
from tests.reports.test_report import _Page, data_of

BARE = Comparison(
    base_name="base",
    tuned_name="tuned",
    rows=(),
    only_base_right=None,
    only_tuned_right=None,
    p_value=None,
    not_compared=(NotCompared(part="outputs", why=Message(code="not_compared.no_head", params={"name": "base"})),),
)
COMPARISONS = {
    "whole": sample_comparison.with_moved(),
    "hostile": sample.hostile().comparison,
    "bare": BARE,
    "same": replace(sample_comparison.comparison(), changed=False),
}


def found(name: str) -> Comparison:
    one = COMPARISONS[name]
    assert one is not None
    return one


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("name", COMPARISONS)
def test_the_page_is_strict_and_repeatable(name: str, locale: str) -> None:
    html = comparison_page(found(name), locale)
    assert html == comparison_page(found(name), locale)
    page = _Page(html)
    tags = [tag for tag, _ in page.tags]
    assert not set(tags) & {"img", "iframe", "link", "object", "embed", "base"}
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv")) or ""
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.raw[kind][-1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    for tag, attributes in page.tags:
        assert "style" not in attributes, tag
        assert not [key for key in attributes if key.startswith("on")], tag
        for key in ("src", "href"):
            assert (attributes.get(key) or "#").startswith("#")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert [i for i in ids if i in COMPARED_SECTIONS] == list(COMPARED_SECTIONS)
    assert {str(a["href"])[1:] for t, a in page.tags if t == "a"} <= set(ids)


@pytest.mark.parametrize("locale", LOCALES)
def test_every_section_is_there_and_an_empty_one_says_why(locale: str) -> None:
    say = report_words(locale)
    shown = comparison_text(found("bare"), locale)
    for number, key in enumerate(COMPARED_SECTIONS):
        assert f"{number}. {say.name('compared_section', key)}" in shown
    assert say("not_compared.no_head", name="base") in shown
    assert say("compared.no_probes") in shown
    assert say("compared.not_asked") in shown
    html = comparison_page(found("bare"), locale)
    assert html.count('class="absent"') == len(COMPARED_SECTIONS) - 3
    assert "case-data" not in re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)


def test_the_result_says_what_stands_out() -> None:
    rows = [
        replace(r, value=-0.2, ci_low=-0.3, ci_high=-0.1)
        if (r.name, r.slice) == ("accuracy_difference", "names")
        else r
        for r in sample_comparison.comparison().rows
    ]
    shown = " ".join(comparison_text(replace(found("whole"), rows=tuple(rows))).split())
    assert "On the slice “names” accuracy changed by −20.0 points (−30.0 to −10.0)." in shown
    # Its interval (0.59 to 0.83) lies above that of all texts (0.36 to 0.48); that of "plain" does not.
    assert "Outputs moved further on the slice “negated” than over all texts" in shown
    assert "on the slice “plain” than" not in shown
    assert "Nothing changed" in comparison_text(found("same"))


def test_texts_that_moved_are_data_with_both_changes() -> None:
    held = data_of(comparison_page(found("whole"), "en"))
    assert len(held["cases"]) == 30
    column = held["columns"].index("output_change"), held["columns"].index("explanation_change")
    values = [(case[1][column[0]], case[1][column[1]]) for case in held["cases"]]
    for one, (output, explanation) in zip(found("whole").moved, values, strict=True):
        assert output == pytest.approx(one.kl_bits, abs=1e-4)
        assert explanation == (None if one.explanation_change is None else pytest.approx(one.explanation_change))
    # Both models' scores of the same text stand there.
    assert all(sum(child[0] == "tokens" for child in case[3]) == 2 for case in held["cases"])


def test_hostile_text_stays_text() -> None:
    for name in ("hostile", "whole"):
        html = comparison_page(found(name), "en")
        assert "<img" not in html
        assert "<s>" not in html
        assert "\u202e" not in html
        assert "\x07" not in html
        assert sample.HOSTILE in "".join(_Page(html).words)


def test_a_chinese_page_holds_no_english_prose() -> None:
    for name in ("whole", "bare", "same"):
        shown = comparison_text(replace(found(name), moved=()), "zh")
        words = "|".join(sample_comparison.WORDS)
        assert not re.search(rf"\b(?!(?:{words})\b)(the|and|was|with|from|not|of)\b", shown)


def test_it_is_written_as_one_small_file(tmp_path: Path) -> None:
    path = reports.render_comparison(found("whole"), tmp_path / "deep" / "c.html", "zh")
    assert path.read_bytes() == comparison_page(found("whole"), "zh").encode()
    assert path.stat().st_size <= 300_000
