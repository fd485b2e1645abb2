"""`interpret probe compare` and `probe plan` on the embedded pair: exit codes, files, a configuration, a second run."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.test_cli import call

DEMO = Path(__file__).parents[2] / "interpret" / "demo"
ASKED = ("probe", "compare", DEMO / "base", DEMO / "tuned", DEMO / "reviews.csv", "--label", "label")
SITE = ("--sites", "resid_post.3", "--device", "cpu")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared") / "out"
    result = call(*ASKED, *SITE, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(out)
    return out


def test_it_writes_results_probes_and_a_figure(out: Path) -> None:
    names = {path.name for path in out.iterdir()}
    assert names >= {"results.parquet", "summary.json", "manifest.json", "probes.safetensors", "layers.svg"}
    frame = pd.read_parquet(out / "results.parquet")
    assert set(frame["layer"].dropna()) == {3}
    assert json.loads((out / "summary.json").read_text(encoding="utf-8"))


def test_a_second_run_takes_what_is_there_and_ends_in_the_same_bytes(out: Path) -> None:
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    result = call(*ASKED, *SITE, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_the_exit_code_says_whether_the_criterion_is_met(out: Path) -> None:
    assert call(*ASKED, *SITE, "--out", out, "--max-loss", "0.9").exit_code == 0
    # The other way round the last layer loses about 25 points, whose interval lies above one.
    swapped = ("probe", "compare", DEMO / "tuned", DEMO / "base", *ASKED[4:])
    lost = call(*swapped, *SITE, "--max-loss", "0.01")
    assert lost.exit_code == 1, lost.stdout
    assert call(*swapped, *SITE, "--max-loss", "0.25").exit_code == 4


def test_options_from_a_file(tmp_path: Path, out: Path) -> None:
    config = tmp_path / "probe.toml"
    config.write_text('label = "label"\nsites = "resid_post.3"\n', encoding="utf-8")
    result = call(*ASKED[:5], "--config", config, "--device", "cpu", "--out", tmp_path / "again")
    assert result.exit_code == 0, result.stderr
    again = pd.read_parquet(tmp_path / "again" / "results.parquet")
    pd.testing.assert_frame_equal(again, pd.read_parquet(out / "results.parquet"))
    config.write_text("labels = 1\n", encoding="utf-8")
    wrong = call(*ASKED[:5], "--config", config)
    assert wrong.exit_code == 2
    assert "labels" in wrong.stderr


def test_a_plan_says_what_would_be_done_and_does_nothing(tmp_path: Path) -> None:
    asked = ("probe", "plan", DEMO / "tuned", DEMO / "reviews.csv", "--label", "label")
    result = call(*asked, "--device", "cpu", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["plan"]["task"] == "label"
    both = call(*asked[:4], "--label", "label,slice", "--device", "cpu")
    assert both.exit_code == 0, both.stderr
    assert both.stdout.count("plan for probes of") == 2
    assert both.stdout.splitlines()[-1].startswith("together about ")
