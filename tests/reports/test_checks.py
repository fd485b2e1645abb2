"""Checks as text and as JUnit XML: green exactly when the exit code is 0, whatever the checks are called."""

from __future__ import annotations

import itertools
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from interpret.results.audits import Check, exit_code
from interpret.results.messages import LOCALES
from interpret.results.record import Message
from interpret.results.views import to_text
from interpret.saved.diffing import compare_audits
from reports.checks import check_text, junit
from tests.reports import sample, sample_diff
from tests.reports.sample_diff import criterion

VERDICTS = ("pass", "fail", "inconclusive", "not_run")
WHY = Message(code="check.not_measured")


def check(kind: str, verdict: str) -> Check:
    return replace(criterion(verdict, 0.8), check=f"{kind}_{verdict}", kind=kind)  # type: ignore[arg-type]


def counts(element: ElementTree.Element) -> dict[str, int]:
    return {name: int(element.get(name, "-1")) for name in ("tests", "failures", "errors", "skipped")}


@pytest.mark.parametrize("locale", LOCALES)
def test_green_is_the_exit_code_0(locale: str) -> None:
    kinds = ("criterion", "integrity", "finding")
    for verdicts in itertools.product(VERDICTS, repeat=len(kinds)):
        rows = [check(kind, verdict) for kind, verdict in zip(kinds, verdicts, strict=True)]
        root = ElementTree.fromstring(junit(rows, "an audit", locale))
        red = counts(root)["failures"] + counts(root)["errors"]
        assert (red == 0) == (exit_code(rows) == 0), verdicts
        assert (counts(root)["failures"] > 0) == (exit_code(rows) == 1), verdicts


def test_the_counts_are_those_of_the_elements() -> None:
    rows = [check(kind, verdict) for kind in ("criterion", "integrity", "finding") for verdict in VERDICTS]
    root = ElementTree.fromstring(junit(rows, "an audit"))
    suites = root.findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["criteria: an audit", "findings: an audit"]
    for element in (root, *suites):
        tags = {"failures": "failure", "errors": "error", "skipped": "skipped", "tests": "testcase"}
        assert counts(element) == {name: len(element.findall(f".//{tag}")) for name, tag in tags.items()}
    assert counts(root) == {"tests": 12, "failures": 2, "errors": 2, "skipped": 5}
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(set(names)) == 12
    failed = root.find(".//testcase[@name='criterion_fail']/failure")
    assert failed is not None
    assert failed.get("type") == "fail"
    assert failed.get("message", "").startswith(
        "Criterion fail: not met, +0.800 (+0.780 to +0.820), required: +0.800. "
    )
    assert junit(rows, "an audit") == junit(rows, "an audit")


def test_a_criterion_of_later_is_a_case_of_its_own() -> None:
    early, late = criterion("fail", 0.7), replace(criterion("pass", 0.7), threshold=0.6, post_hoc=True)
    root = ElementTree.fromstring(junit([early, late], "t"))
    assert [case.get("name") for case in root.iter("testcase")] == [
        "minimum_accuracy",
        "minimum_accuracy (post hoc, 0.6)",
    ]
    shown = check_text([early, late], "t")
    assert "Minimum accuracy (post hoc)" in shown
    assert "not declared when the audit was run" in shown
    assert "事后设定" in check_text([late], "t", "zh")


def test_without_criteria_that_is_said() -> None:
    assert "No criteria declared" in check_text(sample.checks(declared=False), "t")
    root = ElementTree.fromstring(junit([], "t"))
    assert counts(root) == {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}


@pytest.mark.parametrize("evil", [sample.HOSTILE, "\" ' & ]]> <!-- \x00 \x0b \ud800 \ufffe \u202e", "名称 🙂 \r\n\t"])
def test_hostile_names_stay_text(evil: str) -> None:
    rows = [replace(criterion("fail", 0.7), check=evil, why=WHY), replace(criterion("pass", 0.9), check=evil)]
    made = junit(rows, evil)
    root = ElementTree.fromstring(made)
    assert [child.tag for child in root] == ["testsuite", "testsuite"]
    assert [child.tag for child in root[0]] == ["testcase", "testcase"]
    assert counts(root)["failures"] == 1
    for banned in ("\x00", "\x0b", "\u202e", "\ufffe"):
        assert banned not in made.decode("utf-8")
    if evil == sample.HOSTILE:
        assert root[0][0].get("name") == evil


@pytest.mark.parametrize("name", ["max_flip_rate", "max_group_difference", "minimum_accuracy"])
@pytest.mark.parametrize(("locale", "written"), [("en", "10.0% (2.2 to 35.7)"), ("zh", "10.0%（2.2 至 35.7）")])
def test_shares_are_percentages_wherever_they_stand(name: str, locale: str, written: str) -> None:
    row = replace(criterion("pass", 0.1), check=name, ci_low=0.022, ci_high=0.357, threshold=0.9)
    for shown in (check_text([row], "an audit", locale), junit([row], "an audit", locale).decode()):
        assert written in shown
        assert "90.0%" in shown.replace(written, "")
        assert "+" not in shown
    old, new = sample_diff.pair(planted=False)
    moved = [replace(audit, check_rows=(replace(row, threshold=bar),)) for audit, bar in ((old, 0.9), (new, 0.8))]
    text = to_text(compare_audits(*moved), locale=locale)
    assert "10.0%" in text
    assert all(bar in text for bar in ("90.0%", "80.0%"))
