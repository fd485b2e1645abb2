"""`interpret attention` writes one offline page, or says in one sentence why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from interpret.demo import paths
from tests.cli.test_cli import call
from tests.reports.test_bertviz import Read


def test_it_writes_the_page(tmp_path: Path) -> None:
    out = tmp_path / "new" / "view.html"
    text = "A lovely room."
    result = call(
        "attention", paths().tuned, "--text", text, "--sites", "attn_pattern.1-2", "--out", out, "--locale", "zh"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out)
    data = Read(out.read_text(encoding="utf-8")).data
    assert data["include_layers"] == [1, 2]
    assert data["attention"][0]["left_text"][0] == "[CLS]"
    assert data["words"]["layer"] == "层"
    result = call("attention", paths().tuned, "--text", text, "--view", "model", "--out", out)
    assert result.exit_code == 0, result.output
    assert Read(out.read_text(encoding="utf-8")).data["root_div_id"] == "model"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", " ", "--out", "v.html"], "--text is empty"),
        (["--text", "a", "--out", "v.pdf"], "--out ends in .html"),
        (["--text", "a", "--out", "v.html", "--sites", "attn"], "unknown site 'attn'"),
        (["--text", "a", "--out", "v.html", "--sites", "resid_post"], "needs whole patterns"),
        (["--text", "a"], "--out"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("attention", paths().tuned, *options)
    assert result.exit_code != 0
    said = result.stderr if result.stderr else str(result.exception)
    assert message in said
    assert not (tmp_path / "v.html").exists()
