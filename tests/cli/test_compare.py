"""`interpret compare` on tiny models: what is printed and written, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from interpret.cli.app import app
from interpret.results.comparisons import Comparison
from tests.tiny import LABELS, TEXTS, tiny

QUICK = ["--explanations", "0", "--device", "cpu"]


def call(*args: str | Path) -> Result:
    return CliRunner().invoke(app, ["compare", *(str(a) for a in args)])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("base", "tuned")):
        made, tokenizer = tiny("bert", "text-classification", seed)
        made.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder / "base", folder / "tuned"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "d.tsv"
    rows = [f"{text}\t{LABELS[i % len(LABELS)]}" for i, text in enumerate(TEXTS)]
    path.write_text("text\tlabel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_what_changed_is_printed_and_written(pair: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    out = tmp_path / "changed"
    result = call(*pair, data, "--out", out, "--locale", "zh", *QUICK)
    assert result.exit_code == 0, result.stderr
    assert "比较之前" in result.stdout
    assert result.stdout.splitlines()[-1] == str(out)
    found = Comparison.load(out)
    assert (found.base_name, found.tuned_name, found.changed) == ("base", "tuned", True)
    assert len(pd.read_csv(out / "comparison.csv")) == len(found.rows)
    page = (out / "comparison.html").read_text(encoding="utf-8")
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert 'lang="zh-CN"' in page
    assert str(tmp_path) not in page
    plain = json.loads(call(*pair, data, "--parts", "weights", "--json", *QUICK).stdout)
    assert {row["part"] for row in plain["comparison"]["rows"]} == {"weights"}


def test_a_report_is_written_and_can_be_rendered_again(pair: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "changed", tmp_path / "changed.html"
    result = call(*pair, data, "--parts", "weights,outputs", "--report", report, *QUICK)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(report)
    made = report.read_bytes()
    # With a folder besides: the same page there, and from the saved record the same bytes again.
    both = call(*pair, data, "--parts", "weights,outputs", "--report", report, "--out", out, *QUICK)
    assert both.stdout.splitlines()[-1] == str(out)
    assert (out / "comparison.html").read_bytes() == report.read_bytes() == made
    again = CliRunner().invoke(app, ["report", "render", str(out), "--out", str(tmp_path / "again.html")])
    assert again.exit_code == 0, again.stderr
    assert (tmp_path / "again.html").read_bytes() == made
    assert str(tmp_path).encode() not in made


def test_a_model_beside_itself_exits_with_4(pair: tuple[Path, Path], data: Path) -> None:
    result = call(pair[0], pair[0], data, *QUICK)
    assert result.exit_code == 4
    assert "Nothing changed: base and tuned are the same model" in result.stdout


def test_probes_of_what_is_no_class_are_refused_before_a_model_is_loaded(
    pair: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    sets = tmp_path / "sets.jsonl"
    sets.write_text("".join(json.dumps({"text": text, "label": ["a"]}) + "\n" for text in TEXTS), encoding="utf-8")
    result = call(*pair, data, "--probe-data", sets, *QUICK)
    plain = CliRunner().invoke(app, ["probe", "compare", *map(str, pair), str(sets), "--device", "cpu"])
    for one in (result, plain):
        assert one.exit_code == 2
        assert "the labels label of sets.jsonl are of kind 'multilabel'" in one.stderr
        assert len(one.stderr.strip().splitlines()) == 1, one.stderr


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["./no-base", "./no-tuned", "d.tsv"], "there is no base model folder './no-base'"),
        (["base", "tuned", "nowhere.tsv"], "there is no file nowhere.tsv"),
        (["base", "tuned", "d.tsv", "--parts", "logits"], "--parts names 'logits'; there are weights"),
        (["base", "tuned", "d.tsv", "--label", "upos"], "give their data with --probe-data FILE as well"),
        (["base", "tuned", "d.tsv", "--probe-data", "no.conllu"], "there is no file no.conllu"),
    ],
)
def test_wrong_usage_is_one_sentence(
    args: list[str], sentence: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    result = call(*args)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
