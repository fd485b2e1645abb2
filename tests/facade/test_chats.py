"""Chats of a data set: the tables, and the command line on a saved model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import interpret
from interpret.cli.app import app
from interpret.errors import DataError
from tests.chatting import CHAT, chatting

CHATS = [list(CHAT), [{"role": "user", "content": "the cat ate the red fish"}]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, tokenizer = chatting()
    path = tmp_path_factory.mktemp("chatting") / "model"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    rows = [{"messages": chat, "key": f"c{i}"} for i, chat in enumerate(CHATS)]
    (path.parent / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_tables_hold_what_attribute_finds(folder: Path, tmp_path: Path) -> None:
    lm = interpret.load(folder, device="cpu")
    files = lm.attribute_to(tmp_path / "a.parquet", folder.parent / "chats.jsonl", id="key", unit="message")
    found = lm.attribute(CHATS, unit="message", quality=False)
    tokens = files.tokens()
    assert tokens["id"].unique().tolist() == ["c0", "c1"]
    np.testing.assert_allclose(tokens["score"], np.concatenate(found.scores), atol=1e-6)
    assert files.examples()["n_words"].tolist() == [4, 1]
    again = lm.attribute_to(tmp_path / "b.parquet", CHATS, unit="message")
    np.testing.assert_array_equal(again.tokens()["score"], tokens["score"])


def test_tables_of_chats_that_end_with_answers(folder: Path, tmp_path: Path) -> None:
    lm = interpret.load(folder, device="cpu")
    answered = [[*chat, {"role": "assistant", "content": "never sad"}] for chat in CHATS]
    files = lm.attribute_to(tmp_path / "a.parquet", answered, method="leave_one_out")
    assert files.examples()["target_kind"].tolist() == ["sequence"] * 2
    found = lm.attribute(answered, method="leave_one_out", quality=False)
    np.testing.assert_allclose(files.examples()["value"], [example.value for example in found], atol=1e-5)
    with pytest.raises(DataError, match="row 2: this chat does not end with the assistant's message"):
        lm.attribute_to(tmp_path / "b.parquet", [answered[0], CHATS[1]])


def test_the_command_line_reads_messages(folder: Path) -> None:
    args = ["attribute", str(folder), str(folder.parent / "chats.jsonl"), "--unit", "message", "--device", "cpu"]
    result = CliRunner().invoke(app, [*args, "--no-quality", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["attribution"]["examples"]
    assert [example["text"].count("<|im_start|>") for example in found] == [5, 2]
    assert [part["message"] for part in found[0]["chat"]] == [0, 1, 2, 3]
