"""The command line on a real, tiny, random model: nothing below it is replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from interpret.capture.store import open_store
from interpret.cli.app import app
from interpret.results.audits import Audit
from interpret.results.explanations import Attribution
from tests.tiny import LABELS, TEXTS, tiny


def call(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    made, tokenizer = tiny("bert", "text-classification")
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "d.tsv"
    rows = [f"{text}\t{LABELS[i % len(LABELS)]}" for i, text in enumerate(TEXTS)]
    path.write_text("text\tlabel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_info(model: Path) -> None:
    plain = json.loads(call("info", model, "--json").stdout)
    assert plain["name"] == "tiny-bert"
    assert plain["labels"] == list(LABELS)
    assert {"resid_post", "attn_pattern"} <= {row["site"] for row in plain["sites"]}
    assert "tiny-bert" in call("info", model).stdout


def test_a_missing_model_is_one_sentence(tmp_path: Path) -> None:
    result = call("info", tmp_path / "nowhere")
    assert result.exit_code in (2, 3)
    assert "nowhere" in result.stderr
    assert "unexpected" not in result.stderr


def test_a_layer_that_is_not_there_is_wrong_usage(model: Path, data: Path, tmp_path: Path) -> None:
    result = call("capture", model, data, "--sites", "resid_post.99", "--out", tmp_path / "c")
    assert result.exit_code == 2
    assert "resid_post.99" in result.stderr


def test_capture_writes_a_store_and_goes_on_with_it(model: Path, data: Path, tmp_path: Path) -> None:
    args = ["capture", model, data, "--sites", "resid_post,attn_pattern.0", "--out", tmp_path / "c"]
    result = call(*args, "--store-dtype", "float16")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(tmp_path / "c")
    store = open_store(tmp_path / "c")
    assert store.sites == ("resid_post.0", "resid_post.1", "attn_pattern.0")
    assert list(store.examples.label) == [LABELS[i % len(LABELS)] for i in range(len(TEXTS))]
    manifest = (tmp_path / "c" / "manifest.json").read_bytes()
    assert str(tmp_path).encode() not in manifest
    plain = json.loads(call(*args, "--store-dtype", "float16", "--json").stdout)
    assert plain["n_examples"] == len(TEXTS)
    assert plain["n_bytes"] == store.n_bytes
    assert (tmp_path / "c" / "manifest.json").read_bytes() == manifest
    other = call(*args)
    assert other.exit_code == 2
    assert "its dtype is float16, asked was float32" in other.stderr
    too_large = call(*args, "--max-bytes", "1kB", "--overwrite")
    assert too_large.exit_code == 2
    assert "more than max_bytes=1,000" in too_large.stderr
    assert (tmp_path / "c" / "manifest.json").read_bytes() == manifest


def test_attribute_saves_what_it_shows(model: Path, data: Path, tmp_path: Path) -> None:
    args = ["attribute", model, data, "--limit", "3", "--method", "gradient_x_input", "--no-quality"]
    result = call(*args, "--target", "gold", "--out", tmp_path / "a")
    assert result.exit_code == 0, result.stderr
    saved = Attribution.load(tmp_path / "a")
    assert [example.text for example in saved] == list(TEXTS[:3])
    assert [example.target.label for example in saved] == list(LABELS)
    again = json.loads(call(*args, "--target", "gold", "--json").stdout)
    assert again["attribution"] == saved.to_dict()


def test_a_text_beyond_the_window_is_cut_or_read_in_windows_and_either_is_said(model: Path, tmp_path: Path) -> None:
    text = " ".join(TEXTS)
    args = ["attribute", model, "--text", text, "--text", "bad", "--method", "gradient_x_input"]
    cut = call(*args)
    assert cut.exit_code == 0, cut.stderr
    assert "Tokens cut off before the model saw the text: " in " ".join(cut.stdout.split())
    assert "windows" not in cut.stdout
    result = call(*args, "--long-text", "windows", "--doc-stride", "10", "--out", tmp_path / "a")
    assert result.exit_code == 0, result.stderr
    assert "cut off" not in result.stdout
    assert "read in 2 windows of at most 64 tokens, neighbours sharing 10." in " ".join(result.stdout.split())
    long, short = Attribution.load(tmp_path / "a")
    assert long.windows is not None
    assert long.windows.bounds.tolist() == [[1, 63], [53, len(long.tokens) - 1]]
    assert long.quality is not None
    assert short.windows is None
    tables = call(*args, "--long-text", "windows", "--out", tmp_path / "a.parquet")
    assert "2 of texts; 1 read in several windows" in tables.stdout
    assert pd.read_parquet(tmp_path / "a.examples.parquet")["n_windows"].tolist() == [2, 1]
    assert pd.read_parquet(tmp_path / "a.examples.parquet")["n_truncated"].tolist() == [0, 0]


def test_attribute_over_a_data_set_goes_on_and_refuses_another_request(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    args = ["attribute", model, data, "--method", "gradient_x_input", "--target", "gold", "--out", out]
    result = call(*args)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(out)
    tokens = pd.read_parquet(out)
    examples = pd.read_parquet(tmp_path / "scores.examples.parquet")
    assert examples["target"].tolist() == [LABELS[i % len(LABELS)] for i in range(len(TEXTS))]
    assert len(tokens) == examples["n_tokens"].sum()
    written = (tmp_path / "scores.manifest.json").read_bytes()
    assert str(tmp_path).encode() not in written
    plain = json.loads(call(*args, "--json").stdout)
    assert plain["n_examples"] == len(TEXTS)
    # A text of one word has but one ranking.
    assert plain["quality"]["n"] == sum(len(text.split()) > 1 for text in TEXTS) == len(TEXTS) - 1
    other = call(*args, "--no-quality")
    assert other.exit_code == 2
    assert "its options.quality is auto, asked was False" in other.stderr
    assert len(other.stderr.splitlines()) == 2  # the first says that the model is loaded
    assert (tmp_path / "scores.manifest.json").read_bytes() == written
    wrong = call("attribute", model, data, "--target", "nosuch", "--out", tmp_path / "b.parquet")
    assert wrong.exit_code == 2
    assert "has no label 'nosuch'" in wrong.stderr
    assert not list(tmp_path.glob("b.*"))


@pytest.mark.slow
def test_an_audit_run_again_gives_the_same_bytes(model: Path, data: Path, tmp_path: Path) -> None:
    counts = ["explained", "compared", "randomised", "attention", "errors_shown", "random_shown"]
    config = tmp_path / "small.yaml"
    config.write_text("".join(f"{name}: 2\n" for name in counts) + "probed: 0\nbootstraps: 100\nminimum_accuracy: 1\n")
    first, second = tmp_path / "first", tmp_path / "second"
    result = call("audit", model, data, "--base", model, "--config", config, "--out", first)
    # A random model is not right about every text, though eight texts may be too few to be sure of it.
    assert result.exit_code in (1, 4), result.stderr
    assert result.stdout.splitlines()[-1] == str(first / "report.html")
    assert Audit.load(first).command == "interpret audit tiny-bert d.tsv --base tiny-bert --config small.yaml --seed 0"
    assert str(tmp_path) not in (first / "audit.json").read_text("utf-8")

    # The resolved configuration, under the same name, stands for the one that was written by hand.
    config.write_bytes((first / "audit.resolved.yaml").read_bytes())
    again = call("audit", model, data, "--base", model, "--config", config, "--out", second, "--locale", "zh")
    assert again.exit_code == result.exit_code, again.stderr
    # All but the report, which is in another language.
    sums = [(out / "SHA256SUMS").read_text("utf-8").splitlines() for out in (first, second)]
    assert [line for line in sums[0] if "report.html" not in line] == [s for s in sums[1] if "report.html" not in s]
    assert len(sums[0]) == 4

    report = (second / "report.html").read_bytes()
    assert call("report", "render", second, "--locale", "zh").exit_code == 0
    assert (second / "report.html").read_bytes() == report


def test_a_configuration_to_start_from(tmp_path: Path) -> None:
    path = tmp_path / "new" / "audit.yaml"
    result = call("audit", "--init", path)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{path}\n"
    assert "# texts explained, a random sample" in path.read_text(encoding="utf-8")
    again = call("audit", "--init", path)
    assert again.exit_code == 2
    assert "would overwrite" in again.stderr


def test_a_plan_runs_nothing_and_writes_nothing(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call("audit", model, data, "--plan", "--out", out)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "plan for tiny-bert on d.tsv, 8 examples"
    assert any(line.startswith("predictions") and " 8 " in line for line in lines)
    assert any("comparison" in line and "not run: no base model was given" in line for line in lines)
    assert lines[-1].startswith("about ")
    assert not out.exists()
    plain = json.loads(call("audit", model, data, "--plan", "--json", "--budget", "1h").stdout)
    assert plain["budget_seconds"] == 3600
    assert plain["reduced_from"] == {}
    assert call("audit", model, data, "--budget", "soon").exit_code == 2


def test_an_audit_that_was_killed_goes_on(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "audit.yaml"
    config.write_text("explained: 5\ncompared: 0\nrandomised: 0\nbootstraps: 100\n", encoding="utf-8")
    asked = ["audit", model, data, "--config", config, "--budget", "1h"]
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert call(*asked, "--out", whole).exit_code == 0

    def killed(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("interpret.auditing.stages.attention_section", killed)
        result = call(*asked, "--out", out)
        assert result.exit_code == 130
    assert (out / ".partial" / "explanations" / "partial.json").is_file()
    assert not (out / "audit.json").exists()
    result = call(*asked, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert not (out / ".partial").exists()
    # The report says when it was made.
    for name in ("audit.json", "arrays.safetensors", "audit.resolved.yaml"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    # What a budget came to is run again from the counts, to the same bytes.
    again = call("audit", model, data, "--config", out / "audit.resolved.yaml", "--out", tmp_path / "again")
    assert again.exit_code == 0, again.stderr
    assert (tmp_path / "again" / "audit.json").read_bytes() == (whole / "audit.json").read_bytes()
