"""The page of a comparison: pure, strict, complete in both languages, deaf to hostile text."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import reports
from interpret.errors import UsageError
from interpret.results.audits import Audit
from interpret.results.diffs import AuditDiff
from interpret.results.messages import LOCALES
from interpret.results.views import to_html, to_text
from interpret.saved.diffing import compare_audits
from reports.catalogue import report_words
from reports.diffs import DIFF_SECTIONS, diff_text
from reports.html import diff_page
from tests.reports import sample, sample_diff
from tests.reports.sample_diff import criterion
from tests.reports.test_report import _Page


def _found(name: str) -> AuditDiff:
    if name == "hostile":
        return compare_audits(*sample_diff.hostile())
    old, new = sample_diff.pair(planted=name != "same")
    if name == "bare":
        old, new = (replace(_without_slices(audit), explanation_quality=None) for audit in (old, new))
    if name == "checks":
        old = replace(old, check_rows=(criterion("pass", 0.9),))
        new = replace(new, check_rows=(criterion("fail", 0.7), replace(criterion("fail", 0.1), check="other")))
    return compare_audits(old, new)


def _without_slices(audit: Audit) -> Audit:
    assert audit.examples is not None
    none = np.full(len(audit.examples), -1)
    return replace(audit, examples=replace(audit.examples, slices=(), slice_index=none))


NAMES = ("planted", "same", "hostile", "bare", "checks")


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_strict_and_repeatable(name: str, locale: str) -> None:
    found = _found(name)
    html = diff_page(found, locale)
    assert html == diff_page(_found(name), locale)
    page = _Page(html)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("style") == 1
    assert not set(tags) & {"script", "img", "iframe", "link", "object", "embed", "base"}
    policy = next(str(a["content"]) for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256("".join(page.raw["style"]).encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; script-src 'none'")
    for tag, attributes in page.tags:
        assert "style" not in attributes, tag
        assert not [key for key in attributes if key.startswith("on")], tag
        for key in ("src", "href"):
            assert (attributes.get(key) or "#").startswith("#")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert [i for i in ids if i in DIFF_SECTIONS] == list(DIFF_SECTIONS)
    assert tags.count("caption") == tags.count("table")
    assert page.tags[0][1]["lang"] == {"en": "en", "zh": "zh-CN"}[locale]
    say = report_words(locale)
    shown = diff_text(found, locale)
    for number, key in enumerate(DIFF_SECTIONS):
        assert f"{number}. {say(f'diff_section.{key}')}\n" in shown


def test_regressions_are_named_on_top_and_nothing_is_hidden() -> None:
    shown = diff_text(_found("planted"), brief=True)
    assert "Regressions: 3  [✗ regression]" in shown
    for name in ("Calibration error", "Right answers on “negated”", "Explanations: gain over random words"):
        assert re.search(rf"{name}.*✗ regression", shown)
    assert "1. All examples" not in shown
    same = diff_text(_found("same"))
    assert "Regressions: 0  [✓ none]" in same
    assert same.count("✓ no example differs") == 6
    assert "The weights are the same." in same
    checks = diff_text(_found("checks"), brief=True)
    assert re.search(r"Minimum accuracy +✓ met +✗ not met +90.0% +70.0% +80.0% +✗ regression", checks)
    assert "no such check" in diff_text(_found("checks"))
    bare = " ".join(diff_text(_found("bare")).split())
    assert "Explanations are not compared" in bare
    assert "Neither audit has slices" in bare


def test_a_forced_comparison_says_so_first() -> None:
    old, new = sample_diff.pair(planted=False)
    assert new.examples is not None
    gold = new.examples.gold.copy()  # type: ignore[union-attr]
    gold[:7] = 1 - gold[:7]
    found = compare_audits(old, replace(new, examples=replace(new.examples, gold=gold)), force=True)
    shown = " ".join(diff_text(found, brief=True).split())
    assert "The data differ. Compared are the 473 examples in common, of 480 in the old audit and 480 in the" in shown
    assert "7 examples in common have another label now" in shown


def test_hostile_text_stays_text() -> None:
    html = diff_page(_found("hostile"), "en")
    assert "<img" not in html
    assert "<s>" not in html
    assert "\u202e" not in html
    assert "\x07" not in html
    assert sample.HOSTILE in "".join(_Page(html).words)


def test_a_chinese_page_holds_no_english_prose() -> None:
    for name in ("planted", "bare", "checks"):
        assert not re.search(r"\b(the|and|was|with|from|not|of)\b", diff_text(_found(name), "zh"))


def test_diff_writes_the_page_of_audits_or_of_their_folders(tmp_path: Path) -> None:
    old, new = sample_diff.pair(planted=True)
    first = reports.diff(old, new, tmp_path / "deep" / "a.html")
    second = reports.diff(old.save(tmp_path / "old"), str(new.save(tmp_path / "new")), tmp_path / "b.html")
    assert first == tmp_path / "deep" / "a.html"
    assert first.read_bytes() == second.read_bytes() == diff_page(compare_audits(old, new), "en").encode()
    assert first.stat().st_size <= 150_000
    other = replace(new, examples=None)
    with pytest.raises(UsageError, match="run that audit again"):
        reports.diff(old, other, tmp_path / "c.html")
    assert not (tmp_path / "c.html").exists()


def test_records_show_themselves() -> None:
    found = _found("planted")
    assert "Regressions" in to_text(found)
    assert "<script" not in to_html(found)
    old, _ = sample_diff.pair(planted=True)
    assert old.examples is not None
    assert "plain: a short text can be guessed from them" in to_text(old.examples)
