"""Erasure as a verb and on the command line: what they read, record, show and refuse."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

import interpret
from interpret.analyzers.probing.erasure import erasure
from interpret.cli.app import app
from interpret.errors import UsageError
from interpret.readers.probe_data import ProbeData
from interpret.results.erasure import Erasure, ErasureVerdict
from interpret.results.messages import LOCALES
from interpret.results.record import Message
from tests import planted
from tests.tiny import tiny

SITE = "resid_post.1"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts with the planted cue's name and the model's class as a number."""
    data = planted.sentences(260, seed=3)
    path = tmp_path_factory.mktemp("erase") / "texts.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = [[text, planted.LABELS[label], label] for text, label in zip(data.texts, data.labels, strict=True)]
        csv.writer(file).writerows([["text", "cue", "class"], *rows])
    return path


@pytest.fixture(scope="module")
def found(table: Path) -> Erasure:
    lm = interpret.attach(*planted.trained(), name="planted")
    return interpret.erasure(lm, table, label="cue", site=SITE, task_label="class", n_random=2)


def test_labels_are_matched_with_the_classes_of_the_model(found: Erasure) -> None:
    data = planted.sentences(260, seed=3)
    texts = ProbeData.of_texts(data.texts, [planted.LABELS[label] for label in data.labels], name="t", task="cue")
    gold = ([[label] for label in data.labels], None)
    direct = erasure(planted.handle(), texts, site=SITE, gold=gold, n_random=2, progress=False)
    assert found.to_dict() == direct.to_dict()
    accuracy = found.row("task_accuracy", "original")
    assert accuracy is not None
    assert accuracy.value is not None
    assert accuracy.value > 0.95


def test_saved_and_shown(found: Erasure, tmp_path: Path) -> None:
    assert Erasure.load(found.save(tmp_path / "erased")).to_dict() == found.to_dict()
    frame = found.to_frame()
    assert list(frame.columns) == "part measure condition value ci_low ci_high n".split()
    assert (frame.ci_low <= frame.value + 1e-12).all()
    for locale in LOCALES:
        text = repr(found.show(locale))
        near = found.row("nearest_neighbours", "erased")
        assert near is not None
        assert near.value is not None
        assert f"{100 * near.value:.1f}%" in text
        assert "style=" not in found.show(locale).html.replace("<style>", "")
    assert "Linearly erased" in repr(found.show())


def test_every_verdict_and_reason_has_words(found: Erasure) -> None:
    """What `judge` can say, with the parameters that it gives."""
    reasons = {
        code: {"margin": 0.02}
        for code in ("used", "not_used", "not_available", "availability_unclear", "effect_unclear")
    }
    reasons |= {"not_erased": {}, "no_output": {}, "control_breaks": {"share": 0.3, "limit": 0.1}}
    for locale in LOCALES:
        said = set()
        for code, params in reasons.items():
            why = Message(code=f"erasure_why.{code}", params=params)
            said.add(repr(replace(found, why=why).show(locale)))
        for verdict in get_args(ErasureVerdict):
            said.add(repr(replace(found, verdict=verdict).show(locale)))
        # The verdict and the reason of the record itself are among them.
        assert len(said) == len(reasons) + len(get_args(ErasureVerdict)) - 1


def test_what_the_model_has_no_use_for_is_refused(table: Path) -> None:
    lm = interpret.attach(*tiny("bert", "masked-lm"), name="tiny")
    with pytest.raises(UsageError, match="masked-lm"):
        interpret.erasure(lm, table, label="cue", site=SITE, task_label="class")
    with pytest.raises(UsageError, match="one at a time"):
        interpret.erasure(lm, table, label="cue", site="resid_post")


def test_command_line(table: Path, tmp_path: Path) -> None:
    model, tokenizer = planted.trained()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    args = ["probe", "erase", str(tmp_path / "model"), str(table), "--label", "cue", "--site", SITE]
    args += ["--task-label", "class", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, args)
    saved = Erasure.load(tmp_path / "out")
    assert done.exit_code == (4 if saved.verdict == "inconclusive" else 0), done.output
    assert done.stdout.rstrip().splitlines()[-1] == str(tmp_path / "out")
    as_json = CliRunner().invoke(app, [*args[:-2], "--json"])
    assert json.loads(as_json.stdout)["erasure"] == saved.to_dict()
    wrong = CliRunner().invoke(app, [*args[:7], "nowhere.0"])
    assert wrong.exit_code == 2
    assert "nowhere" in wrong.stderr
