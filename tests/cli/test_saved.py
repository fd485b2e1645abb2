"""The embedded demo model audited on the command line; then everything that is done with the saved audit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

from interpret.cli.app import app
from interpret.demo import paths
from interpret.results.audits import Audit
from interpret.results.store import save_record
from tests.reports import sample_diff

CONFIG = {
    "explained": 6,
    "errors_shown": 2,
    "random_shown": 2,
    "compared": 0,
    "randomised": 0,
    "attention": 0,
    "probed": 0,
    "bootstraps": 100,
    "minimum_accuracy": 0.5,
    "criteria_by": "QA",
    "criteria_on": "2026-01-02",
}
LIMIT = 90


def call(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `audit/`, its `audit.yaml` and `junit.xml`, as `interpret audit` wrote them."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "audit.yaml").write_text(yaml.safe_dump(CONFIG))
    demo = paths()
    args = ["--config", folder / "audit.yaml", "--limit", str(LIMIT), "--junit", folder / "junit.xml"]
    result = call("audit", demo.tuned, demo.reviews, *args, "--out", folder / "audit")
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def audit(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "audit", tmp_path / "audit"))


def worse(folder: Path, out: Path) -> Path:
    """The audit saved as if the model had answered a third of the examples wrongly for sure."""
    audit = Audit.load(folder)
    found = audit.examples
    assert found is not None
    assert found.gold is not None
    predicted = found.predicted.copy()
    predicted[::3] = 1 - found.gold[::3]
    object.__setattr__(found, "predicted", predicted)
    return save_record(audit, out)


# --- audit --junit, check


def test_junit_of_an_audit_is_that_of_check(made: Path, tmp_path: Path) -> None:
    written = made / "junit.xml"
    root = ElementTree.parse(written).getroot()
    assert root.tag == "testsuites"
    assert (root.get("failures"), root.get("errors")) == ("0", "0")
    result = call("report", "check", made / "audit", "--junit", tmp_path / "again.xml")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "again.xml").read_bytes() == written.read_bytes()
    assert result.stdout.splitlines()[-1] == str(tmp_path / "again.xml")
    assert "Minimum accuracy" in result.stdout
    assert "junit" not in Audit.load(made / "audit").command


@pytest.mark.parametrize(
    ("bar", "verdict", "code"), [(0.01, "pass", 0), (0.999, "fail", 1), ("its accuracy", "inconclusive", 4)]
)
def test_a_bar_set_later_decides_the_exit_code_and_is_marked(
    audit: Path, tmp_path: Path, bar: float | str, verdict: str, code: int
) -> None:
    performance = Audit.load(audit).performance
    assert performance is not None
    (tmp_path / "late.yaml").write_text(
        yaml.safe_dump({"minimum_accuracy": bar if bar != "its accuracy" else performance.metrics[0].value})
    )
    args = ["--config", tmp_path / "late.yaml", "--junit", tmp_path / "j.xml"]
    before = {p.name: p.read_bytes() for p in audit.iterdir()}
    result = call("report", "check", audit, *args)
    assert result.exit_code == code, result.stderr
    assert "Minimum accuracy (post hoc)" in result.stdout
    plain = json.loads(call("report", "check", audit, *args, "--json").stdout)
    assert plain["exit_code"] == code
    assert [(c["post_hoc"], c["verdict"]) for c in plain["checks"] if c["kind"] == "criterion"] == [
        (False, "pass"),
        (True, verdict),
    ]
    root = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert (root.get("failures"), root.get("errors")) == (str(int(code == 1)), str(int(code == 4)))
    assert {p.name: p.read_bytes() for p in audit.iterdir()} == before
    assert "事后设定" in call("report", "check", audit, *args, "--locale", "zh").stdout


def test_check_of_changed_numbers_warns(audit: Path) -> None:
    loaded = Audit.load(audit)
    checks = tuple(c for c in loaded.check_rows if c.kind != "criterion")
    object.__setattr__(loaded, "check_rows", checks)
    save_record(loaded, audit)
    result = call("report", "check", audit)
    assert "do not give the verdicts it was saved with (minimum_accuracy)" in result.stderr
    assert result.exit_code == 0


def test_wrong_requests_of_check(audit: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("minimum_acuracy: 1\n")
    result = call("report", "check", audit, "--config", tmp_path / "c.yaml")
    assert result.exit_code == 2
    assert "config has no key 'minimum_acuracy'" in result.stderr
    result = call("report", "check", audit, "--junit", tmp_path)
    assert result.exit_code == 2
    assert "--junit" in result.stderr
    assert call("report", "check", tmp_path / "nowhere").exit_code == 2


# --- diff


def test_diff_names_regressions_and_exits_1(audit: Path, tmp_path: Path) -> None:
    new = worse(audit, tmp_path / "new")
    result = call("report", "diff", audit, new, "--out", tmp_path / "d.html")
    assert result.exit_code == 1, result.stderr
    assert "✗ regression" in result.stdout
    assert result.stdout.splitlines()[-1] == str(tmp_path / "d.html")
    assert "script-src &#39;none&#39;" in (tmp_path / "d.html").read_text(encoding="utf-8")
    plain = json.loads(call("report", "diff", audit, new, "--out", tmp_path / "d.html", "--json").stdout)
    assert plain["exit_code"] == 1
    assert "accuracy" in {c["quantity"] for c in plain["changes"] if c["verdict"] == "regression"}
    # Seen from the other side it is an improvement.
    back = call("report", "diff", new, audit, "--out", tmp_path / "d.html", "--locale", "zh")
    assert back.exit_code == 0
    assert "✓ 改进" in back.stdout


def test_diff_of_equals_exits_0(audit: Path, made: Path, tmp_path: Path) -> None:
    result = call("report", "diff", made / "audit", audit, "--out", tmp_path / "d.html")
    assert result.exit_code == 0
    assert "Regressions: 0  [✓ none]" in result.stdout


def test_three_planted_regressions_on_the_command_line(tmp_path: Path) -> None:
    old, new = (a.save(tmp_path / a.title) for a in sample_diff.pair(planted=True))
    result = call("report", "diff", old, new, "--out", tmp_path / "d.html")
    assert result.exit_code == 1
    assert "Regressions: 3  [✗ regression]" in result.stdout
    for name in ("Calibration error", "Right answers on “negated”", "Explanations: gain over random words"):
        assert name in result.stdout


def test_diff_of_other_data_is_refused_unless_forced(audit: Path, tmp_path: Path) -> None:
    loaded = Audit.load(audit)
    found = loaded.examples
    assert found is not None
    content = found.content.copy()
    content[:10] = np.arange(10, dtype=np.uint8)[:, None]
    object.__setattr__(found, "content", content)
    other = save_record(loaded, tmp_path / "other")
    result = call("report", "diff", audit, other, "--out", tmp_path / "d.html")
    assert result.exit_code == 2
    assert f"{LIMIT - 10} examples are in common" in result.stderr
    assert "--force" in result.stderr
    assert not (tmp_path / "d.html").exists()
    result = call("report", "diff", audit, other, "--out", tmp_path / "d.html", "--force")
    assert result.exit_code == 0
    assert "The data differ." in result.stdout


# --- verify, sign


def test_verify_measures_a_sample_again(audit: Path) -> None:
    demo = paths()
    result = call("report", "verify", audit, "--model", demo.tuned, "--data", demo.reviews, "--sample", "12")
    assert result.exit_code == 0, result.stdout
    assert "12 rows are answered the same" in result.stdout
    assert "cases were explained again" in result.stdout
    assert "Internally consistent, not authenticated" in " ".join(result.stdout.split())
    plain = json.loads(call("report", "verify", audit, "--json").stdout)
    assert (plain["outcome"], plain["exit_code"], plain["deviations"]) == ("consistent", 0, [])


def test_verify_reads_the_data_as_the_audit_did(made: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(paths().reviews)[["label", "text"]].head(LIMIT)
    data, out = tmp_path / "d.tsv", tmp_path / "audit"
    data.write_text("".join(f"{label}\t{text}\n" for label, text in rows.to_numpy()), encoding="utf-8")
    asked = ["audit", paths().tuned, data, "--no-header", "--columns", "label,text"]
    assert call(*asked, "--config", made / "audit.yaml", "--out", out).exit_code in (0, 1, 4)
    verify = ["report", "verify", out, "--model", paths().tuned, "--data", data, "--sample", "3"]
    result = call(*verify)
    assert result.exit_code == 0, result.output
    assert "reading d.tsv as the audit did: --no-header --columns label,text" in result.stderr
    assert call(*verify, "--no-header", "--columns", "label,text").stdout == result.stdout
    # What is given counts, and what would have helped is named.
    result = call(*verify, "--no-header")
    assert result.exit_code == 2
    assert "the column 'text', and d.tsv has column_1, column_2" in result.stderr
    assert "--columns" in result.stderr


def test_verify_against_another_model_lists_what_deviates(audit: Path, tmp_path: Path) -> None:
    demo = paths()
    other = worse(audit, tmp_path / "forged")
    result = call("report", "verify", other, "--model", demo.tuned, "--data", demo.reviews, "--sample", "90")
    assert result.exit_code == 1
    assert "Deviations beyond tolerance" in result.stdout
    assert "Does not follow from the stored answers or settings: confusion, accuracy" in result.stdout
    result = call("report", "verify", audit, "--model", demo.base, "--data", demo.reviews)
    assert result.exit_code == 1
    assert "a text-classification model was audited" in result.stdout


def test_verify_finds_a_changed_digit(audit: Path) -> None:
    path = audit / "audit.json"
    text = path.read_text(encoding="utf-8")
    place = text.index('"n_used": 90') + len('"n_used": ')
    path.write_text(text[:place] + "8" + text[place + 1 :], encoding="utf-8")
    result = call("report", "verify", audit)
    assert result.exit_code == 1
    assert "it was changed or damaged" in result.stdout
    assert "文件被改动" in call("report", "verify", audit, "--locale", "zh").stdout


@pytest.mark.parametrize(("locale", "words"), [("en", "audit.json is missing"), ("zh", "缺少 audit.json")])
def test_verify_says_that_the_record_is_missing(audit: Path, locale: str, words: str) -> None:
    (audit / "audit.json").unlink()
    result = call("report", "verify", audit, "--locale", locale)
    assert result.exit_code == 1
    assert words in " ".join(result.stdout.split())


def test_wrong_requests_of_verify(audit: Path, tmp_path: Path) -> None:
    result = call("report", "verify", audit, "--model", "m")
    assert result.exit_code == 2
    assert "--model is given without --data" in result.stderr
    assert call("report", "verify", tmp_path).exit_code == 2
    assert call("report", "verify", audit, "--public-key", tmp_path / "none.pem").exit_code == 2


def test_sign_and_verify(audit: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="the extra interpret-lm[sign] is not installed")
    from tests.saved.test_signing import public, write_keys

    key = write_keys(tmp_path / "keys")
    result = call("report", "sign", audit, "--key", key)
    assert result.exit_code == 0, result.stderr
    fingerprint = result.stdout.splitlines()[0].removeprefix("key").strip()
    assert result.stdout.splitlines()[-1] == str(audit / "SHA256SUMS.sig")
    result = call("report", "verify", audit, "--public-key", public(key))
    assert result.exit_code == 0
    assert fingerprint in result.stdout
    assert "what SHA256SUMS lists is authenticated" in " ".join(result.stdout.split())
    # The signed report stays; another language goes elsewhere.
    result = call("report", "render", audit, "--locale", "zh")
    assert result.exit_code == 2
    assert "is signed" in result.stderr
    assert call("report", "render", audit, "--locale", "zh", "--out", tmp_path / "zh.html").exit_code == 0
    other = write_keys(tmp_path / "keys", "other")
    result = call("report", "verify", audit, "--public-key", public(other))
    assert result.exit_code == 1
    assert "another key signed" in result.stdout


def test_rendering_again_in_the_folder_renews_its_sum(audit: Path) -> None:
    assert call("report", "render", audit, "--locale", "zh").exit_code == 0
    result = call("report", "verify", audit)
    assert result.exit_code == 0, result.stdout
    assert "Rendered again (zh)" in result.stdout


# --- an audit into the folder of another


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def again(made: Path, out: Path, *args: str | Path, model: Path | None = None, data: Path | None = None) -> Result:
    """The audit of `made`, asked for once more, into another folder."""
    demo = paths()
    asked = ["audit", model or demo.tuned, data or demo.reviews, "--config", made / "audit.yaml", "--limit", str(LIMIT)]
    return call(*asked, *args, "--out", out)


def test_a_finished_audit_of_another_request_stays(made: Path, audit: Path, tmp_path: Path) -> None:
    demo, before = paths(), held(audit)
    lines = demo.reviews.read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "other.csv").write_text("".join(lines[:60]), encoding="utf-8")
    for result, said in (
        (again(made, audit, data=tmp_path / "other.csv"), "other data (reviews.csv);"),
        (again(made, audit, model=demo.base), "another model (tuned)"),
        (again(made, audit, "--base", demo.base), "another base (none);"),
        (again(made, audit, "--limit", "80"), "another configuration;"),
        (again(made, audit, "--seed", "1"), "another seed (0)"),
    ):
        assert result.exit_code == 2, result.output
        assert f"{audit} holds a finished audit of" in result.stderr
        assert said in result.stderr
        assert "--overwrite" in result.stderr
        assert held(audit) == before
    result = again(made, audit, "--overwrite", data=tmp_path / "other.csv")
    assert result.exit_code in (0, 1, 4), result.stderr
    assert Audit.load(audit).data.name == "other.csv"


def test_the_same_audit_is_made_again_whatever_a_budget_left_of_it(made: Path, audit: Path) -> None:
    # What counts is what was asked for: a saved audit of which a budget lowered counts is of the same request.
    saved = Audit.load(audit)
    lowered = {**saved.config, "explained": 3, "limit": 40, "reduced_from.explained": 6, "reduced_from.limit": LIMIT}
    demo, before = paths(), (audit / "audit.json").read_bytes()
    result = again(made, audit)
    assert result.exit_code == 0, result.stderr
    assert (audit / "audit.json").read_bytes() == before
    small = audit.with_name("small.yaml")
    small.write_text(yaml.safe_dump(lowered))
    result = call("audit", demo.tuned, demo.reviews, "--config", small, "--out", audit, "--overwrite")
    assert result.exit_code in (0, 4), result.stderr
    assert (audit / "audit.json").read_bytes() != before
    result = again(made, audit)
    assert result.exit_code == 0, result.stderr
    assert (audit / "audit.json").read_bytes() == before


def test_a_signed_audit_is_never_replaced(made: Path, audit: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="the extra interpret-lm[sign] is not installed")
    from tests.saved.test_signing import write_keys

    assert call("report", "sign", audit, "--key", write_keys(tmp_path / "keys")).exit_code == 0
    before = held(audit)
    other = tmp_path / "other.csv"
    other.write_text("text,label\ngood,positive\n")
    for result in (
        again(made, audit),
        again(made, audit, data=other),
        again(made, audit, "--overwrite", data=other),
        call("demo", "--out", audit, "--overwrite"),
    ):
        assert result.exit_code == 2
        assert f"{audit} is signed (SHA256SUMS.sig)" in result.stderr
        assert held(audit) == before


def test_an_audit_that_cannot_be_read_is_not_replaced(made: Path, audit: Path) -> None:
    (audit / "audit.json").write_text("{}")
    result = again(made, audit)
    assert result.exit_code == 2
    assert "holds an audit that cannot be read" in result.stderr
    assert (audit / "audit.json").read_text() == "{}"
