"""Usage, output and errors of the command line, with the calls below it replaced by recorders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import interpret
import interpret_lm_cli
from interpret.cli.app import app
from interpret.cli.auditing import summary
from interpret.cli.capturing import size_of
from interpret.cli.shell import colours, command_line, show
from interpret.errors import InconclusiveError, LoadError, UsageError
from interpret.readers.texts import Texts
from interpret.results import audits
from interpret.results.audits import Audit
from interpret.results.record import Estimate, Message
from tests.conftest import ROOT
from tests.results.test_store import attribution, audit

COMMANDS = [
    [],
    ["demo"],
    ["info"],
    ["capture"],
    ["attribute"],
    ["attention"],
    ["probe"],
    ["probe", "run"],
    ["probe", "erase"],
    ["compare"],
    ["audit"],
    ["report"],
    ["report", "render"],
    ["report", "diff"],
    ["report", "check"],
    ["report", "verify"],
    ["report", "sign"],
]


def call(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args])


class Stored:
    """What `capture_to` would return."""

    data: ClassVar = {"name": "reviews.csv"}
    examples: ClassVar = pd.DataFrame({"n_truncated": [0, 7]})
    sites = ("embed", "z.0", "q.0")
    n_tokens, n_bytes, n_shards, dtype, pool = 1234, 56789, 3, "bfloat16", None

    def __len__(self) -> int:
        return 2


class Explained:
    """What `attribute_to` would return."""

    quality: ClassVar[dict[str, Any] | None] = None

    def __init__(self, path: Path) -> None:
        self.examples_path = path

    def summary(self) -> dict[str, Any]:
        return {
            "data": "reviews.csv",
            "n_examples": 1234,
            "n_tokens": 56789,
            "n_truncated": 2,
            "n_windowed": 3,
            "n_partly_read": 1,
            "method": "shap",
            "unit": "word",
            "targets": {"neg": 234, "pos": 1000},
            "convergence_delta_median": 0.0123,
            "convergence_delta_max": 0.5,
            "quality": self.quality,
        }


class Model:
    """What `interpret.load` would return; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def info(self) -> dict[str, Any]:
        return {"name": "m", "labels": ["neg", "pos"], "parameters": 12345, "adapter": None}

    def sites(self) -> pd.DataFrame:
        columns = ["site", "layer", "axes", "shape", "available", "reason"]
        rows = [
            ["resid_post", 0, ("example", "position", "d_model"), (None, None, 8), True, None],
            ["resid_post", 1, ("example", "position", "d_model"), (None, None, 8), True, None],
            ["final_norm", None, ("example", "position", "d_model"), None, False, "there is none"],
        ]
        return pd.DataFrame(rows, columns=columns)

    def capture_to(self, path: Path, dataset: Texts, sites: list[str], **options: Any) -> Stored:
        self.asked.update(path=path, texts=dataset, sites=sites, **options)
        return Stored()

    def attribute(self, texts: list[str], **options: Any) -> Any:
        self.asked.update(texts=texts, **options)
        return attribution()

    def attribute_to(self, path: Path, dataset: Texts, **options: Any) -> Any:
        self.asked.update(path=path, texts=dataset, **options)
        return Explained(path.with_name("examples"))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    made = Model()

    def load(source: str, **options: Any) -> Model:
        made.asked.update(source=source, load=options)
        return made

    monkeypatch.setitem(interpret.__dict__, "load", load)
    return made


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\ngood,pos\nbad,neg\nso so,neg\n", encoding="utf-8")
    return path


@pytest.fixture
def audited(monkeypatch: pytest.MonkeyPatch, model: Model) -> dict[str, Any]:
    """Replaces the audit and its report; `audited["result"]` is what the audit returns."""
    import reports

    asked: dict[str, Any] = {"result": audit()}

    def run(lm: Any, dataset: Path, **options: Any) -> Audit:
        asked.update(lm=lm, dataset=dataset, **options)
        result: Audit = asked["result"]
        return result

    def render(record: Audit, path: Path, locale: str = "en") -> Path:
        path.write_text(f"report {locale}", encoding="utf-8")
        return path

    monkeypatch.setitem(interpret.__dict__, "audit", run)
    monkeypatch.setattr(reports, "render", render)
    return asked


# --- help, version, start-up ---


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help_without_markup(command: list[str], flag: str) -> None:
    result = call(*command, flag)
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    assert "╭" not in result.stdout
    assert "\x1b" not in result.stdout


def test_probe_help_is_that_of_run() -> None:
    assert "--label" in call("probe", "--help").stdout
    assert call("probe", "--help").stdout == call("probe", "run", "--help").stdout


def test_version() -> None:
    assert call("--version").stdout == f"interpret-lm {interpret.__version__}\n"


def test_help_imports_nothing_heavy_and_is_fast() -> None:
    code = (
        "import sys, interpret_lm_cli\n"
        "sys.argv = ['interpret', '--help']\n"
        "try:\n    interpret_lm_cli.main()\n"
        "except SystemExit as done:\n    assert not done.code, done.code\n"
        "heavy = {'torch', 'numpy', 'pandas', 'transformers', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    # 0.2 s on an idle machine; the bound leaves room for a busy one and still finds an import of torch.
    assert seconds < 5


def test_another_interpret_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "interpret").mkdir()
    for content, said in [
        ("", "belongs to another distribution"),
        ("import nowhere_to_be_found", "cannot be"),
    ]:
        (tmp_path / "interpret" / "__init__.py").write_text(content)
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.path.append({str(ROOT)!r})\n"
        code += "import interpret_lm_cli; interpret_lm_cli.main()"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert said in done.stderr
        assert "InterpretML" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_our_own_package_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr("interpret.cli.main", lambda: called.append(True))
    interpret_lm_cli.main()
    assert called == [True]


# --- usage ---


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["audit"],
        ["audit", "m"],
        ["audit", "m", "d.csv", "--nonsense"],
        ["audit", "m", "d.csv", "--locale", "fr"],
        ["audit", "m", "d.csv", "--limit", "0"],
        ["info", "m", "--task", "juggling"],
        ["capture", "m", "d.csv"],
        ["probe", "m"],
        ["report", "render"],
        ["attribute", "m", "--text", "a", "--seed", "-1"],
        ["info", "m", "--jsn"],
    ],
)
def test_wrong_usage_is_2(args: list[str]) -> None:
    result = call(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.endswith('-h"\n')
    assert "Value error" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_without_a_command_there_is_help() -> None:
    result = call("report")
    assert result.exit_code == 2
    assert "Usage:" in result.stderr + result.stdout
    assert "error:" not in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["attribute", "m"], "nothing to explain: give either --text or DATA"),
        (["attribute", "m", "--text", " "], "--text is empty"),
        (["attribute", "m", "blank.csv"], "blank.csv, line 2: the text is empty"),
        (["attribute", "./no-model", "--text", "a"], "there is no model folder './no-model'"),
        (["info", "m", "--adapter", "./no-lora"], "there is no adapter folder './no-lora'"),
        (["audit", "m", "nowhere.csv"], "there is no file nowhere.csv"),
        (["audit", "m", "d.csv", "--base", "./no-base"], "there is no base model folder './no-base'"),
        (["audit", "m", "d.csv", "--label-column", "stars"], "d.csv has no column 'stars'"),
        (["audit", "m", "d.csv", "--no-header", "--columns", ","], "leave a column without a name"),
        (["probe", "m", "nowhere.conllu", "--label", "upos"], "there is no file nowhere.conllu"),
        (["probe", "m", "d.csv", "--test", "nowhere.csv"], "there is no file nowhere.csv"),
        (["probe", "m", "d.csv", "--label", "stars"], "d.csv has no column 'stars'"),
        (["attribute", "m", "--text", "a", "--out", "d.csv/a.csv"], "cannot be written"),
        (["attribute", "m", "--text", "a", "--out", "folder.csv"], "must be a file, but it is a folder"),
        (["attribute", "m", "d.csv", "--text", "a"], "either --text or DATA"),
        (
            ["attribute", "m", "--text", "caf\udce9 good"],
            "--text holds the byte 0xe9 (character 3), which is not UTF-",
        ),
        (["attribute", "m", "--text", "a", "--text", "\ud83d"], "--text number 2 holds half of a surrogate pair"),
        (["attention", "m", "--text", "caf\udce9", "--out", "v.html"], "--text holds the byte 0xe9"),
        (["attribute", "m", "--text", "a", "--target", "gold"], "labels of DATA"),
        (["attribute", "m", "--text", "a", "--against", "neg"], "name it with --target"),
        (["attribute", "m", "--text", "a", "--out", "a.pdf"], "cannot write a.pdf"),
        (["attribute", "m", "--text", "a", "--response", "b", "--max-new-tokens", "2"], "give one"),
        (["attribute", "m", "d.csv", "--out", "a.parquet", "--segmenter", "re:split"], "cannot record"),
        (["attribute", "m", "--text", "a", "--segmenter", "re"], "re names no function"),
        (["attribute", "m", "--text", "a", "--segmenter", "re:nowhere"], "re:nowhere cannot be imported"),
        (["attribute", "m", "--text", "a", "--segmenter", "no_such_module:f"], "cannot be imported"),
        (["attribute", "m", "--text", "a", "--option", "n_steps"], "names no option with a value"),
        (["attribute", "m", "--text", "a", "--option", "n_steps=1", "--option", "n-steps=2"], "given twice"),
        (["attribute", "m", "--text", "a", "--option", "seed=1"], "seed is no option of a method"),
        (["attribute", "m", "d.csv", "--out", "a.csv", "--overwrite"], "--overwrite is about the tables"),
        (["attribute", "m", "--text", "a", "--doc-stride", "3"], "needs --long-text windows"),
        (["attribute", "m", "d.csv", "--id-column", "text"], "--id-column is about the tables"),
        (["attribute", "m", "blank.csv", "--out", "a.parquet"], "blank.csv, line 2: the text is empty"),
        (["attribute", "m", "nowhere.csv", "--out", "a.parquet"], "there is no file nowhere.csv"),
        (["attribute", "m", "d.csv", "--out", "a.parquet", "--text-column", "x"], "d.csv has no column 'x'"),
        (["attribute", "m", "d.csv", "--out", "a.parquet", "--id-column", "x"], "d.csv has no column 'x'"),
        (["attribute", "m", "d.csv", "--out", "folder.parquet"], "must be a file, but it is a folder"),
        (["attribute", "m", "nowhere.csv"], "there is no file nowhere.csv"),
        (["audit", "m", "d.csv", "--config", "nowhere.yaml"], "there is no file nowhere.yaml"),
        (["report", "render", "nowhere"], "that folder does not exist"),
    ],
)
def test_wrong_requests_are_one_sentence(
    args: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("d.csv").write_text("text,label\ngood,pos\n")
    Path("blank.csv").write_text('text,label\n" ",pos\n')
    Path("folder.csv").mkdir()
    Path("folder.parquet").mkdir()
    result = call(*args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("a\nb"), 2, "error: a b"),
        (LoadError("no such model"), 3, "error: no such model"),
        (InconclusiveError("too few rows"), 4, "error: too few rows"),
        (PermissionError(13, "Permission denied", "/x"), 3, "error: Permission denied: /x"),
        (ValueError("first\nsecond"), 3, "error: unexpected ValueError: first; run it again with --debug"),
        (ValueError(), 3, "error: unexpected ValueError: no message"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_exit_codes(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str) -> None:
    def load(source: str, **options: Any) -> None:
        raise error

    monkeypatch.setitem(interpret.__dict__, "load", load)
    result = call("info", "m")
    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    if isinstance(error, Exception):
        assert "Traceback" in call("info", "m", "--debug").stderr


# --- info, capture, attribute ---


def test_info(model: Model) -> None:
    result = call("info", "some/model", "--adapter", "a", "--task", "causal-lm", "--device", "cpu")
    assert result.exit_code == 0
    assert model.asked["source"] == "some/model"
    assert model.asked["load"] == {
        "adapter": "a",
        "revision": None,
        "task": "causal-lm",
        "device": "cpu",
        "dtype": "auto",
        "trust_remote_code": False,
    }
    lines = result.stdout.splitlines()
    assert "parameters  12,345" in lines
    assert "resid_post    0-1     example, position, d_model 8" in lines
    assert "final_norm            not available: there is none" in lines
    assert "loading some/model" in result.stderr


def test_info_json_is_one_object(model: Model) -> None:
    plain = json.loads(call("info", "m", "--json").stdout)
    assert plain["parameters"] == 12345
    assert plain["sites"][2]["layer"] is None


def test_capture(model: Model, reviews: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    args = ["capture", "m", reviews, "--sites", "embed, z.0", "--sites", "q", "--limit", 2, "--out", out]
    result = call(*args, "--store-dtype", "bfloat16", "--max-bytes", "1.5 MB", "--batch-tokens", 99)
    assert result.exit_code == 0, result.stderr
    texts = model.asked["texts"]
    assert (texts.texts, texts.ids, texts.labels, texts.name) == (
        ("good", "bad"),
        ("0", "1"),
        ("pos", "neg"),
        "reviews.csv",
    )
    assert model.asked["path"] == out
    assert model.asked["sites"] == ["embed", "z.0", "q"]
    assert (model.asked["dtype"], model.asked["pool"], model.asked["overwrite"]) == ("bfloat16", None, False)
    assert (model.asked["max_bytes"], model.asked["shard_bytes"], model.asked["token_budget"]) == (
        1_500_000,
        64_000_000,
        99,
    )
    assert result.stdout.splitlines() == [
        "examples  2 of reviews.csv; 1 cut to the model's window",
        "tokens    1,234",
        "sites     embed, z.0, q.0",
        "rows      every token",
        "dtype     bfloat16",
        "size      56,789 bytes in 3 shards",
        str(out),
    ]
    plain = json.loads(call(*args, "--json", "--pool", "cls", "--overwrite").stdout)
    assert (model.asked["pool"], model.asked["overwrite"], model.asked["max_bytes"]) == ("cls", True, 10**10)
    assert plain["path"] == str(out)
    assert (plain["n_examples"], plain["n_tokens"], plain["n_truncated"], plain["n_left_out"]) == (2, 1234, 1, 0)


def test_capture_names_rows_by_a_column_and_leaves_out_bad_ones(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "d.tsv"
    path.write_text("id\ttext\nx\tgood\ny\t \nz\tbad\n")
    args = ["capture", "m", path, "--sites", "q", "--out", tmp_path / "out", "--id-column", "id"]
    refused = call(*args)
    assert refused.exit_code == 2
    assert "d.tsv, line 3: the text is empty" in refused.stderr
    assert model.asked == {}
    result = call(*args, "--skip-bad-rows")
    assert result.exit_code == 0, result.stderr
    assert "left out 1 bad rows of d.tsv" in result.stderr
    assert model.asked["texts"].ids == ("x", "z")


def test_an_interrupted_capture_says_how_to_go_on(
    model: Model, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "capture_to", interrupted)
    result = call("capture", "m", reviews, "--sites", "q", "--out", tmp_path / "out")
    assert result.exit_code == 130
    assert "run the same command again to go on" in result.stderr
    assert result.stderr.endswith("interrupted\n")


@pytest.mark.parametrize(
    ("written", "size"),
    [("10GB", 10**10), ("1.5 mb", 1_500_000), ("2GiB", 2**31), ("7", 7), ("3k", 3000), ("5B", 5)],
)
def test_sizes(written: str, size: int) -> None:
    assert size_of(written, "--max-bytes") == size


@pytest.mark.parametrize("written", ["", "GB", "-1", "1e9", "10 XB", "i", "5iB", "0", "0.1", "nan", "1,5GB"])
def test_what_is_no_size(written: str) -> None:
    with pytest.raises(UsageError, match="--max-bytes"):
        size_of(written, "--max-bytes")


def test_a_wrong_out_costs_no_work(model: Model, reviews: Path) -> None:
    result = call("capture", "m", reviews, "--sites", "q", "--out", reviews)
    assert result.exit_code == 2
    assert "must be a folder" in result.stderr
    assert model.asked == {}


@pytest.mark.parametrize("name", ["out", "out/a.csv"])
def test_an_out_that_cannot_be_written_costs_no_work(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(**_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    result = call("attribute", "m", "--text", "a", "--out", tmp_path / name)
    assert result.exit_code == 2
    assert "(Permission denied); name another place" in result.stderr
    assert model.asked == {}


def test_attribute_texts(model: Model) -> None:
    result = call("attribute", "m", "--text", "a", "--text", "b", "--unit", "token", "--no-quality", "--seed", 3)
    assert result.exit_code == 0, result.stderr
    assert model.asked["texts"] == ["a", "b"]
    assert model.asked["unit"] == "token"
    assert model.asked["quality"] is False
    assert model.asked["seed"] == 3
    assert model.asked["target"] is None
    assert "good" in result.stdout


@pytest.mark.parametrize("tables", [False, True])
def test_attribute_long_texts(model: Model, tmp_path: Path, tables: bool) -> None:
    out = ["--out", tmp_path / "a.parquet"] if tables else []
    assert call("attribute", "m", "--text", "a", *out).exit_code == 0
    assert (model.asked["long_text"], model.asked["doc_stride"]) == ("truncate", None)
    assert call("attribute", "m", "--text", "a", "--long-text", "windows", "--doc-stride", 3, *out).exit_code == 0
    assert (model.asked["long_text"], model.asked["doc_stride"]) == ("windows", 3)


@pytest.mark.parametrize(
    ("args", "target", "gold"),
    [
        (["--target", "pos"], "pos", None),
        (["--target", "1"], 1, None),
        (["--target", "pos", "--against", "0"], ("pos", 0), None),
        (["--target", "gold", "--limit", "2"], "gold", [1, 0]),
        (["--target", "gold", "--label-map", "pos=0,neg=1"], "gold", [0, 1, 1]),
    ],
)
def test_attribute_targets(model: Model, reviews: Path, args: list[str], target: Any, gold: Any) -> None:
    assert call("attribute", "m", reviews, *args).exit_code == 0
    assert model.asked["target"] == target
    assert model.asked["gold"] == gold


@pytest.mark.parametrize("out", [[], ["--out", "a.parquet"]])
def test_attribute_passes_on_what_attribute_takes(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    args = ["--baseline", "delete", "--at", "-1", "--response", " so", "--option", "max-evals=64"]
    values = ["--option", "tolerance=0.5", "--option", "layer=embed", "--option", "cut=none", "--option", "x=True"]
    assert call("attribute", "m", "--text", "a", *args, *values, *out).exit_code == 0
    asked = model.asked
    assert (asked["baseline"], asked["at"], asked["response"], asked["max_evals"]) == ("delete", -1, " so", 64)
    assert (asked["tolerance"], asked["layer"], asked["cut"], asked["x"]) == (0.5, "embed", None, True)


def test_attribute_lets_the_model_write_and_segments(model: Model) -> None:
    assert call("attribute", "m", "--text", "a", "--max-new-tokens", 5, "--segmenter", "textwrap:wrap").exit_code == 0
    assert (model.asked["response"], model.asked["max_new_tokens"]) == (True, 5)
    assert model.asked["segmenter"] is textwrap.wrap


@pytest.mark.parametrize(
    "flag", [["--text-column", "a"], ["--label-map", "a=0"], ["--limit", 1], ["--no-header"], ["--skip-bad-rows"]]
)
def test_attribute_refuses_what_is_about_rows_beside_a_text(model: Model, flag: list[Any]) -> None:
    result = call("attribute", "m", "--text", "a", *flag)
    assert result.exit_code == 2
    assert f"{flag[0]} is about the rows of DATA" in result.stderr
    assert model.asked == {}


def test_attribute_refuses_a_label_map_that_nothing_reads(model: Model, reviews: Path) -> None:
    result = call("attribute", "m", reviews, "--target", "pos", "--label-map", "a=0")
    assert result.exit_code == 2
    assert "for --target gold" in result.stderr
    assert model.asked == {}


def test_attribute_asks_for_nothing_that_was_not_given(model: Model) -> None:
    assert call("attribute", "m", "--text", "a").exit_code == 0
    named = {"target", "method", "unit", "quality", "long_text", "doc_stride", "gold", "seed"}
    assert set(model.asked) == {"source", "load", "texts", *named}
    assert (model.asked["long_text"], model.asked["doc_stride"]) == ("truncate", None)


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.html", "a"])
def test_attribute_out(model: Model, tmp_path: Path, name: str) -> None:
    out = tmp_path / "new" / name
    result = call("attribute", "m", "--text", "x", "--out", out)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(out)
    content = (out / "attribution.json" if name == "a" else out).read_text("utf-8")
    assert "good" in content
    plain = json.loads(call("attribute", "m", "--text", "x", "--json", "--out", out).stdout)
    assert plain["path"] == str(out)
    assert plain["attribution"]["examples"][0]["scores"] == [0.0, 0.25, -1.5, 3.0]


def test_attribute_writes_tables_of_a_data_set(
    model: Model, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "deep" / "scores.parquet"
    args = ["attribute", "m", reviews, "--out", out, "--limit", 2, "--target", "pos", "--against", "0", "--seed", 4]
    result = call(*args, "--method", "shap", "--no-quality", "--unit", "token", "--id-column", "label", "--overwrite")
    assert result.exit_code == 0, result.stderr
    texts = model.asked["texts"]
    assert (texts.texts, texts.ids, texts.labels) == (("good", "bad"), ("pos", "neg"), ("pos", "neg"))
    asked = {name: model.asked[name] for name in ("path", "target", "method", "unit", "quality", "seed", "overwrite")}
    assert asked == {
        "path": out, "target": ("pos", 0), "method": "shap", "unit": "token", "quality": False, "seed": 4,
        "overwrite": True,
    }  # fmt: skip
    assert result.stdout.splitlines() == [
        "texts         1,234 of reviews.csv; 2 cut to the model's window; 3 read in several windows, 1 of them in part",
        "tokens        56,789",
        "method        shap, one score per word",
        "explained     'pos' 1,000, 'neg' 234",
        "completeness  error 0.012 in the median, 0.500 at most",
        "quality       not measured: nothing shows that these scores say more than random words would",
        str(out.with_name("examples")),
        str(out),
    ]
    quality = {
        "n": 9, "verdict": "better_than_random", "difference": 0.2, "difference_ci_low": 0.1,
        "difference_ci_high": 0.3, "above_95_share": 0.25, "n_random": 20,
    }  # fmt: skip
    monkeypatch.setattr(Explained, "quality", quality)
    lines = call(*args).stdout.splitlines()
    assert model.asked["quality"] == "auto"
    assert "better than random: the probability falls +0.200 [+0.100, +0.300] further" in lines[5]
    assert "25.0% of single texts above the 95th percentile of 20 random rankings" in lines[6]
    plain = json.loads(call(*args, "--json").stdout)
    assert (plain["path"], plain["n_left_out"], plain["quality"]) == (str(out), 0, quality)


def test_tables_of_texts_and_of_rows_without_the_bad_ones(model: Model, tmp_path: Path) -> None:
    out = tmp_path / "a.parquet"
    assert call("attribute", "m", "--text", "a", "--text", "b", "--out", out).exit_code == 0
    assert model.asked["texts"].texts == ("a", "b")
    path = tmp_path / "d.csv"
    path.write_text("text\ngood\n \n")
    result = call("attribute", "m", path, "--out", out, "--skip-bad-rows")
    assert "left out 1 bad rows of d.csv" in result.stderr
    assert model.asked["texts"].texts == ("good",)


def test_interrupted_tables_say_how_to_go_on(
    model: Model, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "attribute_to", interrupted)
    result = call("attribute", "m", reviews, "--out", tmp_path / "a.parquet")
    assert result.exit_code == 130
    assert "run the same command again to go on" in result.stderr


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
    ],
)
def test_colours_only_where_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", type("Out", (), {"isatty": lambda _: terminal})())
    assert colours() is coloured


def test_bad_rows_are_said(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("x\t1\ny\nz\t0\n")
    args = ["attribute", "m", path, "--no-header", "--columns", "text,label"]
    assert "--skip-bad-rows" in call(*args).stderr
    result = call(*args, "--skip-bad-rows")
    assert "left out 1 bad rows of a.tsv, the first at line 2" in result.stderr
    assert model.asked["texts"] == ["x", "z"]


# --- probe ---


@pytest.mark.parametrize("verb", [["probe"], ["probe", "run"]])
def test_probe(monkeypatch: pytest.MonkeyPatch, model: Model, tmp_path: Path, verb: list[str]) -> None:
    asked: dict[str, Any] = {}

    def probe(lm: Any, data: Path, test: Path | None, **options: Any) -> Any:
        asked.update(lm=lm, data=data, test=test, **options)
        return attribution()

    monkeypatch.setitem(interpret.__dict__, "probe", probe)
    monkeypatch.chdir(tmp_path)
    for name in ("a.conllu", "b.conllu"):
        Path(name).touch()
    Path("a.csv").write_text("text,label\ngood,pos\n")
    result = call(*verb, "m", "a.conllu", "--label", "upos", "--test", "b.conllu", "--out", tmp_path / "p")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(tmp_path / "p")
    assert asked["lm"] is model
    assert (asked["data"], asked["test"], asked["label"]) == (Path("a.conllu"), Path("b.conllu"), "upos")
    assert "sites" not in asked
    plain = json.loads(
        call(*verb, "m", "a.csv", "--sites", "embed,z.0", "--no-header", "--columns", "text, label", "--json").stdout
    )
    assert plain["path"] is None
    assert asked["sites"] == ["embed", "z.0"]
    assert asked["columns"] == ["text", "label"]


# --- audit, demo, report ---


def check(verdict: Any) -> audits.Check:
    return audits.Check(
        check="accuracy",
        verdict=verdict,
        value=0.5,
        threshold=0.8,
        ci_low=0.4,
        ci_high=0.6,
        why=Message(code="x"),
    )


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [([], 0), (["pass"], 0), (["pass", "fail"], 1), (["inconclusive"], 4), (["fail", "inconclusive"], 1)],
)
def test_audit_writes_everything_whatever_the_verdict(
    audited: dict[str, Any], reviews: Path, tmp_path: Path, verdicts: list[str], code: int
) -> None:
    audited["result"] = audit(check_rows=tuple(map(check, verdicts)))
    out = tmp_path / "out"
    result = call("audit", "m", reviews, "--out", out, "--locale", "zh")
    assert result.exit_code == code, result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == str(out / "report.html")
    assert (out / "report.html").read_text() == "report zh"
    assert Audit.load(out).title == "T"
    assert "labels        neg = neg (0); matched by name" in lines
    assert "accuracy      0.500 [0.100, 0.900], n = 2; majority 1.000" in lines
    assert any("below the majority rate" in line for line in lines)
    assert ("checks        no criteria declared" in lines) == (not verdicts)
    for verdict in verdicts:
        assert f"  {verdict:<13} accuracy: 0.500 [0.400, 0.600], threshold 0.800" in lines


def test_audit_options_reach_the_facade(audited: dict[str, Any], reviews: Path, tmp_path: Path) -> None:
    config = tmp_path / "audit.yaml"
    config.write_text("explained: 5\ncriteria_on: 2024-05-01\nintended_use.who: us\n")
    (tmp_path / "base").mkdir()
    switches = "--limit 2 --seed 1 --label-map a=0 --columns text,b --no-header --slice-column s --skip-bad-rows"
    named = [
        "--base",
        tmp_path / "base",
        "--config",
        config,
        "--title",
        "My audit",
        "--out",
        tmp_path / "out",
    ]
    result = call("audit", "some/model", reviews, *named, *switches.split())
    assert result.exit_code == 0, result.stderr
    assert audited["config"] == {"explained": 5, "criteria_on": "2024-05-01", "intended_use": {"who": "us"}}
    assert audited["base"] == str(tmp_path / "base")
    assert audited["header"] is False
    assert audited["columns"] == ["text", "b"]
    assert audited["progress"] is True
    assert (audited["seed"], audited["limit"], audited["slices"]) == (1, 2, "s")
    assert audited["title"] == "My audit"
    assert audited["skip_bad_rows"] is True
    assert audited["command"] == (
        "interpret audit some/model reviews.csv --base base --config audit.yaml --title 'My audit' "
        "--slice-column s --seed 1 --limit 2 --label-map a=0 --no-header --columns text,b --skip-bad-rows"
    )
    assert str(tmp_path) not in audited["command"]


@pytest.mark.parametrize(("content", "said"), [("a: [", "line 1: not YAML"), ("- a\n", "key: value")])
def test_a_broken_config_is_named(audited: dict[str, Any], tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "c.yaml").write_text(content)
    result = call("audit", "m", "d.csv", "--config", tmp_path / "c.yaml")
    assert result.exit_code == 2
    assert said in result.stderr


def test_audit_json(audited: dict[str, Any], reviews: Path, tmp_path: Path) -> None:
    audited["result"] = audit(check_rows=(check("fail"),))
    result = call("audit", "m", reviews, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 1
    plain = json.loads(result.stdout)
    assert plain["path"] == str(tmp_path / "out" / "report.html")
    assert plain["exit_code"] == 1
    assert plain["accuracy"]["value"] == 0.5
    assert plain["checks"][0]["verdict"] == "fail"
    assert plain["labels"]["rule"] == "name"


def test_a_model_without_labels_is_summarised(audited: dict[str, Any], reviews: Path, tmp_path: Path) -> None:
    audited["result"] = audit(performance=None)
    result = call("audit", "m", reviews, "--out", tmp_path / "out")
    assert "accuracy" not in result.stdout
    performance = audit().performance
    assert performance is not None
    missing = Estimate(name="accuracy", value=None)
    audited["result"] = audit(performance=audits.Performance(**{**vars(performance), "metrics": (missing,)}))
    assert "accuracy      not measured" in call("audit", "m", reviews, "--out", tmp_path / "out").stdout


def test_a_base_that_is_not_compared_is_said() -> None:
    why = Message(code="section.base_without_head", params={"base": "b"})
    part = audits.Coverage(section="comparison", status="not_run", why=why)
    others = [c for c in audit().coverage if c.section != "comparison"]
    made = audit()
    object.__setattr__(made, "coverage", (*others, part))
    assert any("not compared: the base model b has no trained" in line for line in summary(made))
    why = Message(code="section.parts_not_compared", params={"parts": "outputs,explanations"})
    part = audits.Coverage(section="comparison", status="partial", why=why)
    object.__setattr__(made, "coverage", (*others, part))
    assert "base          not compared: Outputs, Explanations" in summary(made)


def test_demo(audited: dict[str, Any], model: Model, tmp_path: Path) -> None:
    result = call("demo", "--out", tmp_path / "d")
    assert result.exit_code == 0, result.stderr
    assert Path(model.asked["source"]).name == "tuned"
    assert Path(audited["base"]).name == "base"
    assert audited["dataset"].name == "reviews.csv"
    assert audited["command"] == "interpret demo"
    assert result.stdout.splitlines()[-1] == str(tmp_path / "d" / "report.html")


def test_render(audited: dict[str, Any], tmp_path: Path) -> None:
    audit().save(tmp_path / "a")
    assert call("report", "render", tmp_path / "a").stdout == f"{tmp_path / 'a' / 'report.html'}\n"
    out = tmp_path / "zh.html"
    result = call("report", "render", tmp_path / "a", "--out", out, "--locale", "zh", "--json")
    assert json.loads(result.stdout) == {"path": str(out)}
    assert out.read_text() == "report zh"


def test_a_damaged_audit_is_a_run_time_error(tmp_path: Path) -> None:
    audit().save(tmp_path)
    (tmp_path / "audit.json").write_text("{}")
    result = call("report", "render", tmp_path)
    assert result.exit_code == 3
    assert "audit.json is damaged or was changed" in result.stderr


def test_command_line_hides_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    line = command_line("audit", "./model", Path("/home/me/d.csv"), base="org/name", adapter="~/secret/lora", x=None)
    assert line == "interpret audit model d.csv --base org/name --adapter lora"
    assert command_line("audit", ".") == f"interpret audit {tmp_path.name}"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes of this kind")
@pytest.mark.parametrize("args", [["info", "--families"], ["--help"]])
def test_a_reader_that_goes_away_is_no_check_that_failed(args: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    code = f"import sys; sys.argv[1:] = {args!r}; import interpret_lm_cli; interpret_lm_cli.main()"
    try:
        done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    finally:
        os.close(write)
    # What bash says of `yes | head -1`, by SIGPIPE.
    shell = subprocess.run(["bash", "-c", "yes | head -1; echo ${PIPESTATUS[0]}"], capture_output=True, check=True)
    assert done.returncode == int(shell.stdout.split()[-1]) == 141
    assert done.stderr == b""


def test_what_reorders_text_is_shown_as_its_code_point_whatever_named_it(
    capsys: pytest.CaptureFixture[str], audited: dict[str, Any], reviews: Path
) -> None:
    hidden = "safe\u202egpj.exe\x1b[2J\u2066"
    made = audit()
    mapping = replace(made.data.mapping, rule="name", pairs={hidden: 0}, names={hidden: hidden})
    audited["result"] = replace(
        made,
        identity=replace(made.identity, name=hidden, labels=(hidden, "other")),
        data=replace(made.data, name=hidden, mapping=mapping),
    )
    odd = reviews.rename(reviews.with_name(f"{hidden}.csv"))
    for result in (call("audit", "m", odd, "--out", odd.parent / hidden), call("audit", "m", f"{odd}.missing")):
        assert result.stderr
        assert result.exit_code == (2 if ".missing" in result.stderr else 0), result.stderr
        for shown in (result.stdout, result.stderr):
            assert not {"\u202e", "\x1b", "\u2066"} & set(shown)
        assert "⟨U+202E⟩" in result.stderr
    show("\x1b[1mours\x1b[0m", coloured=True)
    # Our own colours go to a terminal as they are, and elsewhere nowhere.
    assert capsys.readouterr().out == "ours\n"


@pytest.mark.parametrize("verb", ["attribute", "audit", "capture", "compare"])
def test_a_model_without_a_tokenizer_is_refused_before_it_is_loaded(
    model: Model, reviews: Path, tmp_path: Path, verb: str
) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    given = [folder, folder] if verb == "compare" else [folder]
    result = call(verb, *given, reviews, *(["--sites", "embed"] if verb == "capture" else []), "--out", tmp_path / "o")
    assert result.exit_code == 3
    assert "the model bare has no tokenizer: its folder holds none of tokenizer.json, " in result.stderr
    assert f"save_pretrained({str(folder)!r})" in result.stderr
    assert "loading" not in result.stderr
    # What a model is can be said without one.
    assert call("info", folder).exit_code == 0


def test_the_help_of_an_audit_names_every_kind_of_data() -> None:
    shown = " ".join(call("audit", "-h").stdout.split())
    assert all(suffix in shown for suffix in (".csv", ".tsv", ".jsonl", ".parquet", ".conllu", ".json file"))
