"""The report: pure, strict, complete, honest about what failed or was not run, and small."""

from __future__ import annotations

import ast
import base64
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reports
from interpret.errors import InterpretError, UsageError
from interpret.results.audits import SECTIONS, Audit, Check, Coverage
from interpret.results.messages import LOCALES, placeholders, visible
from interpret.results.record import Message
from interpret.results.style import component_css
from reports.catalogue import CATALOGUES, report_words
from reports.explorer import explorer_data, listing_of
from reports.html import page
from reports.sections import sections
from tests.reports import sample

GOLDEN = Path(__file__).parent / "golden"
AUDITS = {
    "full": sample.full(),
    "failed": sample.full("not_better"),
    "chinese": sample.chinese(),
    "minimal": sample.minimal(),
    "hostile": sample.hostile(),
}


class _Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.stack.append("")

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] in self.raw:
            self.raw[self.stack[-1]].append(data)
        else:
            self.words.append(data)


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("name", AUDITS)
def test_the_page_is_strict_and_repeatable(name: str, locale: str) -> None:
    html = page(AUDITS[name], locale)
    assert html == page(AUDITS[name], locale)
    found = _Page(html)
    tags = [tag for tag, _ in found.tags]
    scripts = [a.get("type") for t, a in found.tags if t == "script"]
    assert scripts == (["application/json", None] if AUDITS[name].cases else [None])
    assert tags.count("style") == 1
    assert not set(tags) & {"img", "iframe", "link", "object", "embed", "base"}
    policy = next(a["content"] for t, a in found.tags if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(found.raw[kind][-1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for tag, attributes in found.tags:
        assert "style" not in attributes, tag
        assert not [key for key in attributes if key.startswith("on")], tag
        for key in ("src", "href"):
            assert (attributes.get(key) or "#").startswith("#")
    ids = [a["id"] for _, a in found.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert [i for i in ids if i in SECTIONS] == list(SECTIONS)
    links = [a["href"] for t, a in found.tags if t == "a"]
    assert {str(link)[1:] for link in links} <= set(ids)
    assert found.tags[0][1]["lang"] == {"en": "en", "zh": "zh-CN"}[locale]
    assert {"header", "nav", "main", "footer"} <= set(tags)


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("name", AUDITS)
def test_every_section_stands_in_the_text(name: str, locale: str) -> None:
    shown = reports.text(AUDITS[name], locale)
    say = report_words(locale)
    for number, key in enumerate(SECTIONS):
        assert f"\n{number}. {say.name('section_name', key)}\n" in shown


@pytest.mark.parametrize("locale", LOCALES)
def test_the_text_is_the_golden_one(locale: str) -> None:
    """Set UPDATE_GOLDEN=1 to write it anew, then read the difference."""
    target = GOLDEN / f"report.{locale}.txt"
    shown = reports.text(sample.full() if locale == "en" else sample.chinese(), locale)
    if os.environ.get("UPDATE_GOLDEN"):
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(shown.encode("utf-8"))
    assert shown == target.read_text(encoding="utf-8")


def test_render_writes_the_page_and_returns_its_path(tmp_path: Path) -> None:
    target = reports.render(sample.full(), tmp_path / "deep" / "report.html")
    assert target == tmp_path / "deep" / "report.html"
    made = target.read_bytes()
    assert made == page(sample.full(), "en").encode("utf-8")
    assert b"\r" not in made


def test_budgets(tmp_path: Path) -> None:
    assert reports.render(sample.minimal(), tmp_path / "m.html").stat().st_size <= 150_000
    assert reports.render(sample.full(n_cases=80), tmp_path / "f.html").stat().st_size <= 1_500_000
    assert reports.render(sample.large(), tmp_path / "l.html").stat().st_size <= 3_000_000


def data_of(html: str) -> dict[str, Any]:
    """What the page holds for its script."""
    found = re.search(r'<script type="application/json" id="case-data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    held: dict[str, Any] = json.loads(found[1])
    return held


def test_the_first_page_of_cases_stands_in_the_file_and_all_of_them_in_its_data() -> None:
    html = page(sample.large(1200), "en")
    assert html.count("<article ") == 25
    assert "The first 25 of 1,200 cases." in html
    held = data_of(html)
    assert len(held["cases"]) == 1200
    shown = re.findall(r'<article id="(case-\d+)"', html)
    assert shown == [case[0] for case in held["cases"][:25]]


def test_the_data_hold_what_was_explained() -> None:
    """Text, words and scores put together again from the compact form are those of the audit."""
    for name in ("full", "chinese", "hostile"):
        audit = AUDITS[name]
        held = data_of(page(audit, "en"))
        by_row = {case.row: case for case in audit.cases}
        for _, facets, _, children in held["cases"]:
            facet = dict(zip(held["columns"], facets, strict=True))
            case = by_row[facet["row"]]
            kind, text, places, scores, heat, *raw = children[0]
            assert kind == "tokens"
            # As JavaScript counts: in units of UTF-16.
            units = text.encode("utf-16-le", "surrogatepass")
            words, at = [], 0
            for gap, length in zip(places[::2], places[1::2], strict=True):
                at += gap
                words.append(units[2 * at : 2 * (at + length)].decode("utf-16-le", "surrogatepass"))
                at += length
            explained = case.attribution.words()
            assert words == [visible(word.word) for word in explained]
            assert [float(s) for s in scores.split(" ")] == [float(f"{word.score:.3g}") for word in explained]
            assert len(heat) == len(words)
            assert (raw[0] if raw else text) == case.attribution.text.replace("\ud800", "\ufffd")
            assert facet["rule"] == case.rule
            assert facet["confidence"] == round(case.confidence, 4)


def test_nothing_in_the_data_can_end_its_element() -> None:
    marks = "</script> <!-- & \u2028 \u2029 \ud800 \U0001f642"
    case = replace(sample.cases()[0], attribution=sample.example(marks), prediction=marks, slice=marks)
    listing = listing_of(sections(replace(sample.full(), cases=(case,))))
    assert listing is not None
    made = explorer_data(listing, report_words("en"))
    assert not set(made) & set("<>&\u2028\u2029\ud800")
    made.encode("utf-8")
    assert "\U0001f642" in json.loads(made)["cases"][0][3][0][1]


def test_long_cases_do_not_explode_the_file() -> None:
    case = replace(sample.cases()[0], attribution=sample.example("wonderful cold " * 2_000))
    audit = replace(sample.full(), cases=tuple(replace(case, row=i) for i in range(300)))
    assert len(page(audit, "en").encode()) <= 3_000_000


def test_a_large_report_warns_and_one_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = reports.render(sample.full(), tmp_path / "r.html").stat().st_size
    monkeypatch.setattr(reports, "WARN_BYTES", size - 1)
    with pytest.warns(UserWarning, match=r"opens slowly.*errors_shown"):
        reports.render(sample.full(), tmp_path / "warned.html")
    assert (tmp_path / "warned.html").exists()
    monkeypatch.setattr(reports, "MAX_BYTES", size - 1)
    with pytest.raises(UsageError, match=r"one file may have .* 5 cases .*random_shown"):
        reports.render(sample.full(), tmp_path / "refused.html")
    assert not (tmp_path / "refused.html").exists()


def test_what_was_not_run_says_so_and_why() -> None:
    shown = reports.text(sample.minimal())
    for number, why in (
        (4, "the data has no labels"),
        (5, "no base model was given"),
        (6, "no slices were given"),
        (7, "too few texts: 3, and 5 are needed"),
        (10, "not available for the task none"),
        (12, "not available for the task causal-lm"),
    ):
        section = shown.split(f"\n{number}. ")[1].split(f"\n{number + 1}. ")[0]
        assert f"[– not run] {why}" in section
    assert "none declared" in shown
    assert "Quality not measured" in shown
    assert shown.count("– not supplied") == 5


def test_failed_explanations_are_shown_as_failed() -> None:
    audit = AUDITS["failed"]
    muted = {section.key for section in sections(audit) if section.muted}
    assert muted == {"global_attribution", "cases"}
    html = page(audit, "en")
    assert html.count('class="muted-section"') == 2
    assert html.count("Do not draw conclusions from this section.") == 2
    assert "No better than random" in html
    assert not any(section.muted for section in sections(sample.full()))


def test_the_limits_are_always_printed() -> None:
    for audit in AUDITS.values():
        shown = " ".join(reports.text(audit).split())
        for sentence in (
            "not a conformity assessment",
            "Attribution is not causation",
            "Encoded is not used",
            "Attention is not explanation",
            "overlap with the training data was not examined",
            "Signature",
        ):
            assert sentence in shown


def test_criteria_and_findings_are_told_apart() -> None:
    shown = reports.text(sample.full())
    assert "Declared criteria: 0 of 1 met  [? inconclusive]" in shown
    assert "Criteria declared by A. Reviewer on 2025-02-03." in shown
    bare = replace(sample.full(), check_rows=sample.checks(declared=False))
    shown = reports.text(bare)
    assert "Declared criteria: none declared" in shown
    # Nothing is called met or missed where nobody set a bar.
    verdict = shown.split("1. Identity")[0]
    assert "✓ met" not in verdict
    assert "✓ yes" in verdict


def test_changed_weights_are_not_hidden() -> None:
    whole = sample.full()
    changed = replace(whole, identity=replace(whole.identity, weights_sha256_after="0" * 64))
    assert "Model left as it was: no  [✗ changed during the audit]" in reports.text(changed)
    for name in ("config_sha256_after", "tokenizer_sha256_after"):
        other = replace(whole, identity=replace(whole.identity, **{name: "0" * 64}))
        assert "Model left as it was: no  [✗ changed during the audit]" in reports.text(other)
        assert f"after: {'0' * 64}" in reports.text(other)


def test_a_code_without_words_stops_the_report() -> None:
    why = Message(code="check.of_the_future")
    check = Check(
        check="new", verdict="pass", value=None, threshold=None, ci_low=None, ci_high=None, why=why, kind="integrity"
    )
    with pytest.raises(InterpretError, match=r"check\.of_the_future"):
        reports.text(replace(sample.full(), check_rows=(check,)))
    coverage = (Coverage(section="limits", status="not_run", why=Message(code="nope")),)
    with pytest.raises(InterpretError, match="nope"):
        page(replace(sample.full(), coverage=coverage), "zh")


def test_unknown_locales_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the locales are en, zh"):
        reports.render(sample.full(), tmp_path / "r.html", "fr")


def test_hostile_text_stays_text() -> None:
    audit = AUDITS["hostile"]
    html = page(audit, "en")
    assert "<img" not in html
    assert sample.HOSTILE not in html
    assert "\u202e" not in html
    assert "\x07" not in html
    assert sample.HOSTILE in "".join(_Page(html).words)


def test_both_catalogues_have_the_same_codes_and_parameters() -> None:
    en, zh = (json.loads((CATALOGUES / f"{locale}.json").read_text(encoding="utf-8")) for locale in LOCALES)
    assert en.keys() == zh.keys()
    for code in en:
        assert placeholders(en[code]) == placeholders(zh[code]), code


def test_a_chinese_report_holds_no_english_prose() -> None:
    shown = reports.text(sample.chinese(), "zh")
    body = shown.split("14. ")[0]
    assert not re.search(r"\b(the|and|was|with|from|not)\b", body)


def test_markup_is_declared_safe_in_one_module_only() -> None:
    root = Path(reports.__file__).parent
    for source in [*root.glob("**/*.py"), *(root.parent / "interpret").glob("**/*.py")]:
        content = source.read_text(encoding="utf-8")
        if source != root / "html.py":
            assert "Markup(" not in content, source
    for template in (root / "templates").iterdir():
        content = template.read_text(encoding="utf-8")
        assert "|safe" not in content.replace(" ", "")
        assert "style=" not in content


def test_the_script_is_small_and_builds_no_markup() -> None:
    script = (Path(reports.__file__).parent / "assets" / "report.js").read_text(encoding="utf-8")
    assert len(script.encode()) <= 30_000
    for banned in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "XMLHttp"):
        assert banned not in script


def test_reports_import_only_results_what_compares_them_sites_and_errors() -> None:
    allowed = ("interpret.results", "interpret.saved", "interpret.errors", "interpret.sites")
    for source in Path(reports.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith(("torch", "transformers", "captum", "shap", "bertviz"))
                if name.startswith("interpret"):
                    assert name.startswith(allowed), name


def test_an_audit_is_not_changed_by_rendering() -> None:
    audit: Audit = sample.full()
    before = repr(audit)
    page(audit, "en")
    assert repr(audit) == before


def test_a_saved_audit_renders_to_the_same_bytes(tmp_path: Path) -> None:
    """Saving sorts mappings by name; nothing on the page may follow the order of a mapping."""
    for name, audit in AUDITS.items():
        loaded = Audit.load(audit.save(tmp_path / name))
        for locale in LOCALES:
            assert page(loaded, locale) == page(audit, locale), name


def test_two_processes_with_other_hash_seeds_write_the_same_bytes(tmp_path: Path) -> None:
    sample.full(n_cases=30).save(tmp_path / "audit")
    code = (
        "import sys, reports; from interpret.results.audits import Audit;"
        "reports.render(Audit.load(sys.argv[1]), sys.argv[2], sys.argv[3])"
    )
    for locale in LOCALES:
        made = []
        for seed in ("1", "2718"):
            target = tmp_path / f"{locale}{seed}.html"
            environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(reports.__file__).parents[1])}
            command = [sys.executable, "-c", code, str(tmp_path / "audit"), str(target), locale]
            subprocess.run(command, check=True, env=environment, cwd=tmp_path, timeout=300)
            made.append(target.read_bytes())
        assert made[0] == made[1]
        assert len(made[0]) > 50_000


def test_verdict_colours_stay_apart_for_the_colour_blind() -> None:
    """Pass, fail and undecided, seen with protanopia and deuteranopia (Machado et al. 2009, severity 1)."""
    sight: dict[str, Any] = {
        "normal": np.eye(3),
        "protanopia": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "deuteranopia": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.01182, 0.04294, 0.968881],
        ],
    }
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])

    def lab(colour: str, seen: Any) -> Any:
        value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        xyz = to_xyz @ np.clip(np.asarray(seen) @ linear, 0, 1) / [0.9505, 1.0, 1.089]
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    css = component_css(notebook=False)
    themes = [dict(re.findall(r"--(\w+):(#\w{6})", part)) for part in css.split("@media")[:2]]
    for theme, (name, seen) in itertools.product(themes, sight.items()):
        for a, b in itertools.combinations(("good", "bad", "wait"), 2):
            assert np.linalg.norm(lab(theme[a], seen) - lab(theme[b], seen)) > 20, (a, b, name)


def test_a_topic_that_lacks_two_things_is_one_topic() -> None:
    audit = sample.full()
    partial = next(row for row in audit.coverage if row.status == "partial")
    again = replace(audit, coverage=(*audit.coverage, partial, partial))
    assert "1 of them only in part" in reports.text(audit)
    assert "1 of them only in part" in reports.text(again)
