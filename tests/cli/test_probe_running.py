"""`interpret probe run` on the embedded model: its folder, criteria and exit codes, a configuration file."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

import interpret
from tests.cli.test_cli import call

DEMO = Path(__file__).parents[2] / "interpret" / "demo"
MODEL, DATA = DEMO / "tuned", DEMO / "reviews.csv"
FAST = ("--device", "cpu", "--codes", "none", "--bootstraps", "100", "--controls", "2")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("probed") / "out"
    result = call("probe", MODEL, DATA, "--label", "label,slice", "--sites", "resid_post.3", *FAST, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(out)
    return out


def test_criteria_decide_the_exit_code_and_stand_in_junit(out: Path, tmp_path: Path) -> None:
    asked = ("probe", "run", MODEL, DATA, "--label", "label", "--label", "slice", "--sites", "resid_post.3", *FAST)
    junit = tmp_path / "junit.xml"
    met = call(*asked, "--out", out, "--require", "slice accuracy >= 20%", "--junit", junit)
    assert met.exit_code == 0, met.stderr
    assert "nothing is left to do" in met.stderr
    missed = call(*asked, "--out", out, "--require", "slice accuracy >= 20%", "--require", "accuracy > 0.999",
                  "--junit", junit, "--json")  # fmt: skip
    assert missed.exit_code == 1
    said = json.loads(missed.stdout)
    assert [check["verdict"] for check in said["checks"]] == ["pass", "fail"]
    suite = ElementTree.fromstring(junit.read_bytes()).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    value = pd.read_parquet(out / "results.parquet").query(
        "task == 'label' and probe == 'logistic' and metric == 'accuracy'"
    )["value"]
    undecided = call(*asked, "--out", out, "--require", f"label accuracy >= {value.item()}")
    assert undecided.exit_code == 4
    assert "undecided" in undecided.stdout or "inconclusive" in undecided.stdout
    wrong = call(*asked, "--require", "stars accuracy >= 1")
    assert wrong.exit_code == 2
    assert "'stars'" in wrong.stderr
    assert "loading" not in wrong.stderr
    # Without --label it is known as well which labels there are.
    early = call("probe", "run", MODEL, DATA, *FAST, "--require", "label acuracy >= 1")
    assert early.exit_code == 2
    assert "has the word 'acuracy'" in early.stderr
    assert "loading" not in early.stderr
    # What was measured is shown, whatever a criterion names.
    nowhere = call(*asked, "--out", out, "--require", "layer 9 accuracy >= 1")
    assert nowhere.exit_code == 2
    assert "names was measured; measured were" in nowhere.stderr
    assert "Probes for 2 labels" in nowhere.stdout


def test_tables_are_read_as_the_verb_reads_them(tmp_path: Path) -> None:
    """The label column by its usual names, and words in lists: what Python takes is not refused at the door."""
    header, _, rest = DATA.read_text(encoding="utf-8").partition("\n")
    usual = tmp_path / "usual.csv"
    usual.write_text(header.replace("label", "sentiment") + "\n" + rest, encoding="utf-8")
    lists = tmp_path / "lists.jsonl"
    line = json.dumps({"tokens": ["very", "good"], "labels": ["x", "y"]})
    lists.write_text(f"{line}\n" * 30, encoding="utf-8")
    found = call("probe", "run", MODEL, usual, "--sites", "resid_post.3", *FAST, "--json")
    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout)["probe"]["task"] == "sentiment"
    words = call("probe", "run", MODEL, lists, "--sites", "resid_post.3", *FAST)
    assert "labelled words" in words.stderr
    none = tmp_path / "none.csv"
    none.write_text(header.replace("label", "other") + "\n" + rest, encoding="utf-8")
    lost = call("probe", "run", MODEL, none, *FAST)
    assert lost.exit_code == 2
    assert "name one with --label" in lost.stderr
    assert "loading" not in lost.stderr


def test_a_file_has_the_same_keys_as_the_flags_and_flags_win(out: Path, tmp_path: Path) -> None:
    config = tmp_path / "probe.toml"
    config.write_text(
        f'model = "{MODEL}"\ndata = "{DATA}"\nlabel = ["label", "slice"]\nsites = "resid_post.0-3"\ncodes = "none"\n'
        f'device = "cpu"\nbootstraps = 100\ncontrols = 2\nskip-bad-rows = false\nout = "{tmp_path / "a"}"\n'
        'require = "slice accuracy >= 20%"\n',
        encoding="utf-8",
    )
    result = call("probe", "run", "--config", config, "--sites", "resid_post.3", "--out", tmp_path / "b")
    assert result.exit_code == 0, result.stderr
    assert not (tmp_path / "a").exists()
    frames = [pd.read_parquet(folder / "results.parquet") for folder in (out, tmp_path / "b")]
    pd.testing.assert_frame_equal(*frames)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("layers = 3", "unknown key layers; it takes model, data, label, test, store, sites, require"),
        ("seed = 1.5", "seed is 1.5; "),
        ("seed = true", "seed is True; it must be one word or number"),
        ('codes = "some"', "'none', 'task', 'all'"),
        ('no_header = "yes"', "it must be true or false"),
        ("label = ", "cannot read --config"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(line: str, said: str, tmp_path: Path) -> None:
    config = tmp_path / "probe.toml"
    config.write_text(line + "\n", encoding="utf-8")
    result = call("probe", "run", MODEL, DATA, "--config", config)
    assert result.exit_code == 2
    assert said in result.stderr


def test_without_data_the_missing_argument_is_named() -> None:
    result = call("probe", "run", MODEL)
    assert result.exit_code == 2
    assert "DATA is missing" in result.stderr
    nowhere = call("probe", "run", MODEL, DATA, "--config", "nowhere.toml")
    assert nowhere.exit_code == 2
    assert "nowhere.toml" in nowhere.stderr


def test_the_command_line_measures_what_the_verb_measures(tmp_path: Path) -> None:
    """Nothing but what was asked is handed on, so that the defaults are those of Python; the plan counts the same."""
    defaults = {name: inspect.signature(verb).parameters["codes"].default for name, verb in
                (("probe", interpret.probe), ("plan", interpret.plan_probes))}  # fmt: skip
    assert defaults == {"probe": "task", "plan": "task"}
    asked = ("probe", "run", MODEL, DATA, "--label", "label", "--sites", "resid_post.3", "--device", "cpu")
    result = call(*asked, "--bootstraps", "20", "--json")
    assert result.exit_code == 0, result.stderr
    metrics = {row["metric"] for row in json.loads(result.stdout)["probe"]["rows"]}
    assert "description_length_bits" in metrics
