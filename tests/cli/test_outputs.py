"""Nothing that a command writes takes the place of what it reads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from interpret.cli.app import app
from interpret.demo import paths
from interpret.results.store import REPORT, SUMS
from tests.reports import sample_diff

REVIEWS = "text,label\ngood,pos\nbad,neg\n"


def call(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data under several names, a configuration, a model and a saved audit."""
    monkeypatch.chdir(tmp_path)
    Path("reviews.csv").write_text(REVIEWS)
    os.link("reviews.csv", "hard.csv")
    Path("soft.json").symlink_to("reviews.csv")
    Path("data").mkdir()
    Path("data/comparison.csv").write_text(REVIEWS)
    Path("data/s.examples.parquet").write_bytes(b"no table")
    Path("c.yaml").write_text("explained: 3\n")
    Path("p.toml").write_text(
        'model = "m"\ndata = "reviews.csv"\nlabel = "label"\nout = "probed"\njunit = "hard.csv"\n'
    )
    shutil.copytree(paths().tuned, "m")
    sample_diff.pair(planted=False)[0].save("a")
    return tmp_path


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "line",
    [
        "attribute m reviews.csv --no-quality --out reviews.csv",
        "attribute m reviews.csv --no-quality --out ./data/../reviews.csv",
        "attribute m reviews.csv --no-quality --out hard.csv",
        "attribute m reviews.csv --no-quality --out soft.json",
        "attribute m --text good --out m/config.json",
        "audit m reviews.csv --out m",
        "audit m reviews.csv --config c.yaml --out new --junit c.yaml",
        "audit m reviews.csv --out new --junit hard.csv",
        "audit m reviews.csv --base m --out m",
        "capture m reviews.csv --sites embed --out m",
        "compare m m reviews.csv --out new --report hard.csv",
        "compare m m data/comparison.csv --out data",
        "probe m reviews.csv --label label --out new --junit reviews.csv",
        "probe --config p.toml",
        "probe --config p.toml --junit p.toml",
        "report check a --junit a/audit.json",
        "report check a --config c.yaml --junit c.yaml",
        "report diff a a --out a/audit.json",
        "report render a --out a/audit.json",
        f"report render a --out a/{SUMS}",
    ],
)
def test_no_output_replaces_an_input(here: Path, line: str) -> None:
    before = bytes_of(here)
    result = call(*line.split())
    assert result.exit_code == 2, result.output
    assert "would replace" in result.stderr
    assert "name another place" in result.stderr
    after = bytes_of(here)
    assert {name: after.get(name) for name in before} == before


def test_outputs_are_written_again_beside_what_is_read(here: Path) -> None:
    """A command that is given again renews what it wrote, also in a folder that it reads."""
    for line in (
        "report check a --junit a/checks.xml",
        "report diff a a --out a/diff.html",
        "report render a",
        f"report render a --out a/{REPORT}",
        "attribute m reviews.csv --no-quality --limit 1 --out m/scores.csv",
    ):
        for _ in range(2):
            result = call(*line.split())
            assert result.exit_code in (0, 1, 4), (line, result.stderr)
    assert Path("m/scores.csv").read_text().startswith("example,")


def test_a_text_that_reads_like_a_file_is_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    import interpret

    class RefusedError(Exception):
        pass

    def load(*_: Any, **__: Any) -> None:
        raise RefusedError

    monkeypatch.setitem(interpret.__dict__, "load", load)
    assert "RefusedError" in call("attribute", "m", "--text", "hard.csv", "--out", "hard.csv").stderr
