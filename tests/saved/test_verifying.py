"""A saved audit examined without its model: every changed byte of it is found, and what is not covered is said."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reports
from interpret.errors import MissingFileError, UsageError
from interpret.results.audits import Audit
from interpret.results.messages import LOCALES
from interpret.results.store import REPORT, SIGNATURE, SUMS, read_sums
from interpret.results.verification import Deviation, Verification
from interpret.results.views import to_html
from interpret.saved.sums import list_report, refuse_if_signed
from interpret.saved.verifying import examine
from reports.renderer import renderer
from reports.verifying import report_finding, verification_text
from tests.reports import sample, sample_diff


def consistent() -> Audit:
    """A made-up audit whose numbers follow from its answers."""
    old, _ = sample_diff.pair(planted=False)
    return replace(old, cases=())


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = consistent().save(tmp_path_factory.mktemp("saved") / "audit")
    reports.render(Audit.load(folder), folder / REPORT)
    list_report(folder)
    return folder


@pytest.fixture
def saved(rendered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rendered, tmp_path / "audit"))


def statuses(folder: Path) -> dict[str, str]:
    findings, _ = examine(folder)
    return {f.subject or f.part: f.status for f in findings}


def renew_sums(folder: Path) -> None:
    """What somebody does who changes a file and does not want it seen."""
    names = sorted(read_sums(folder / SUMS))
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines))


def test_what_was_saved_is_found_to_be_so(saved: Path) -> None:
    assert statuses(saved) == {
        "arrays.safetensors": "holds",
        "audit.json": "holds",
        "audit.resolved.yaml": "holds",
        "report.html": "holds",
        "run.json": "not_covered",
        "record": "holds",
        "numbers": "holds",
        "signature": "skipped",
    }
    findings, audit = examine(saved)
    assert audit is not None
    assert report_finding(saved, audit).status == "holds"
    found = Verification(title="t", findings=findings)
    assert (found.outcome, found.exit_code) == ("consistent", 0)
    shown = " ".join(verification_text(found).split())
    assert "Internally consistent, not authenticated" in shown


def test_the_sums_are_those_that_sha256sum_would_write(saved: Path) -> None:
    lines = (saved / SUMS).read_text().splitlines()
    assert lines == [
        f"{hashlib.sha256((saved / name).read_bytes()).hexdigest()}  {name}"
        for name in ("arrays.safetensors", "audit.json", "audit.resolved.yaml", "report.html")
    ]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(which=st.floats(0, 1, exclude_max=True), by=st.integers(1, 9))
def test_any_changed_digit_is_found(tmp_path: Path, which: float, by: int) -> None:
    folder = tmp_path / "audit"
    if not folder.exists():
        consistent().save(folder)
    path = folder / "audit.json"
    whole = path.read_bytes()
    places = [m.start() for m in re.finditer(rb"[0-9]", whole)]
    place = places[int(which * len(places))]
    digit = str((int(whole[place : place + 1]) + by) % 10).encode()
    try:
        path.write_bytes(whole[:place] + digit + whole[place + 1 :])
        findings, audit = examine(folder)
        assert audit is None
        assert Verification(title="t", findings=findings).exit_code == 1
        assert {f.subject for f in findings if f.why.code == "verify.file_changed"} == {"audit.json"}
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["arrays.safetensors", "audit.resolved.yaml", "report.html"])
def test_a_changed_or_missing_file_is_named(saved: Path, name: str) -> None:
    path = saved / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert statuses(saved)[name] == "differs"
    path.unlink()
    assert statuses(saved)[name] == "differs"


def test_sums_that_are_gone_damaged_or_cut_are_found(saved: Path) -> None:
    whole = (saved / SUMS).read_text()
    for content in ("", whole.replace("  audit.json", "  ../audit.json"), whole.split("\n", 1)[1], "nonsense\n"):
        (saved / SUMS).write_text(content)
        assert "differs" in statuses(saved).values(), content
    (saved / SUMS).unlink()
    assert statuses(saved)["sums"] == "differs"
    twice = whole + whole
    (saved / SUMS).write_text(twice)
    assert statuses(saved)["sums"] == "differs"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda r: r["performance"]["metrics"][0].__setitem__("value", 0.99), "accuracy"),
        (lambda r: r["performance"].__setitem__("majority_rate", 0.1), "majority_rate"),
        (lambda r: r["performance"]["calibration_error"].__setitem__("value", 0.0), "expected_calibration_error"),
        (lambda r: r["performance"]["slices"][1]["accuracy"].__setitem__("value", 1.0), "slice negated"),
        (lambda r: r["data"].__setitem__("n_used", 4800), "n_used"),
        (lambda r: r["config"].__setitem__("minimum_accuracy", 0.1), "audit.resolved.yaml"),
    ],
)
def test_numbers_that_do_not_follow_are_found_even_under_new_sums(saved: Path, change, named: str) -> None:  # type: ignore[no-untyped-def]
    path = saved / "audit.json"
    plain = json.loads(path.read_text(encoding="utf-8"))
    change(plain["record"])
    path.write_text(json.dumps(plain, sort_keys=True, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    renew_sums(saved)
    findings, audit = examine(saved)
    assert audit is not None
    (numbers,) = [f for f in findings if f.part == "numbers"]
    assert numbers.status == "differs"
    assert named in str(numbers.why.params["names"]).split("\n")
    # And the report beside it says something else than this audit would.
    if named == "accuracy":
        assert report_finding(saved, audit).status == "differs"


def test_swapped_answers_are_found(saved: Path) -> None:
    audit = Audit.load(saved)
    table = audit.examples
    assert table is not None
    wrong = table.predicted.copy()
    wrong[:5] = 1 - wrong[:5]
    replace(audit, examples=replace(table, predicted=wrong)).save(saved)
    (numbers,) = [f for f in examine(saved)[0] if f.part == "numbers"]
    assert {"confusion", "accuracy"} <= set(str(numbers.why.params["names"]).split("\n"))


def test_a_case_that_the_table_does_not_know_is_found(saved: Path) -> None:
    audit = Audit.load(saved)
    replace(audit, cases=sample.cases()[:1]).save(saved)
    (numbers,) = [f for f in examine(saved)[0] if f.part == "numbers"]
    assert f"case {sample.cases()[0].row}" in str(numbers.why.params["names"])


def test_a_report_is_compared_in_every_language_and_only_by_its_own_renderer(saved: Path) -> None:
    audit = Audit.load(saved)
    for locale in LOCALES:
        reports.render(audit, saved / REPORT, locale)
        found = report_finding(saved, audit)
        assert (found.status, found.why.params["locale"]) == ("holds", locale)
    whole = (saved / REPORT).read_bytes()
    (saved / REPORT).write_bytes(whole.replace(b"480", b"490", 1))
    assert report_finding(saved, audit).status == "differs"
    other = renderer().rsplit(" ", 1)[0] + " 0123456789abcdef"
    (saved / REPORT).write_bytes(whole.replace(renderer().encode(), other.encode()))
    found = report_finding(saved, audit)
    assert (found.status, found.why.code) == ("skipped", "verify.report_other_renderer")
    assert found.why.params == {"found": other, "own": renderer()}
    (saved / REPORT).write_bytes(re.sub(b'<meta name="generator"[^>]*>', b"", whole))
    assert report_finding(saved, audit).status == "skipped"
    (saved / REPORT).unlink()
    assert report_finding(saved, audit).why.code == "verify.report_none"
    # A run told differently is a report told differently.
    reports.render(replace(audit, run=replace(audit.run, started="2020-01-01T00:00:00+00:00")), saved / REPORT)
    assert report_finding(saved, audit).status == "differs"


def test_a_report_in_another_language_does_not_make_the_audit_unreadable(saved: Path) -> None:
    reports.render(Audit.load(saved), saved / REPORT, "zh")
    Audit.load(saved)
    assert statuses(saved)["report.html"] == "differs"
    list_report(saved)
    assert statuses(saved)["report.html"] == "holds"


def test_what_is_signed_is_not_written_anew(saved: Path) -> None:
    (saved / SIGNATURE).write_bytes(b"x" * 64)
    with pytest.raises(UsageError, match="is signed"):
        refuse_if_signed(saved)
    with pytest.raises(UsageError, match="is signed"):
        list_report(saved)
    # Another audit saved over it was not what was signed.
    replace(consistent(), title="other").save(saved)
    assert not (saved / SIGNATURE).exists()


def test_an_audit_of_before_the_table_is_skipped_and_not_suspected(tmp_path: Path) -> None:
    folder = replace(sample.full(), examples=None).save(tmp_path)
    assert statuses(folder)["numbers"] == "skipped"


def test_a_place_without_audit_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no audit\.json"):
        examine(tmp_path)


@pytest.mark.parametrize("locale", LOCALES)
def test_results_are_shown_with_hostile_names_as_text(saved: Path, locale: str) -> None:
    (saved / "<img src=x onerror=alert(1)>.txt").write_text("x")
    (saved / "audit.json").write_text("{")
    findings, audit = examine(saved)
    assert audit is None
    deviations = tuple(
        Deviation(row=i, quantity=quantity, saved=a, again=b)
        for i, (quantity, a, b) in enumerate(
            [("prediction", sample.HOSTILE, "b\u202e"), ("confidence", 0.5, 0.25), ("scores", None, 0.00004)]
        )
    )
    found = Verification(title=sample.HOSTILE, findings=findings, deviations=deviations)
    assert found.outcome == "differs"
    shown = verification_text(found, locale)
    assert "\u202e" not in shown
    assert "0.250" in shown
    assert "<img" not in to_html(found, locale=locale)
    assert list(found.to_frame().columns) == ["part", "subject", "status", "why"]
    assert Verification.load(found.save(saved / "v")) == found


def test_verification_reads_only(saved: Path) -> None:
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in saved.iterdir()}
    _, audit = examine(saved)
    assert audit is not None
    report_finding(saved, audit)
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in saved.iterdir()} == before
    assert isinstance(audit.examples.content, np.ndarray)  # type: ignore[union-attr]
