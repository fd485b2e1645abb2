"""Chats in tables: a column `messages` is read as messages, and what is none is named with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from interpret.errors import DataError, UsageError
from interpret.readers.chats import read_chat
from interpret.readers.texts import read_texts

ASK = [{"role": "user", "content": 'say "x" 1.0'}]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_messages_of_a_jsonl(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", {"id": "a", "messages": ASK}, {"id": "b", "messages": ASK * 2})
    found = read_texts(path, id="id", chats=True)
    assert found.chats == (ASK, ASK * 2)
    assert found.given is found.chats
    assert found.ids == ("a", "b")
    assert [json.loads(text) for text in found.texts] == [ASK, ASK * 2]


def test_chats_are_read_only_where_they_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", {"messages": ASK})
    with pytest.raises(UsageError, match="cannot tell which column"):
        read_texts(path)
    assert read_texts(path, text="messages").chats is None
    texts = read_texts([{"text": json.dumps(ASK)}], chats=True)
    assert texts.chats is None
    assert texts.given == texts.texts


def test_chats_in_memory() -> None:
    assert read_texts([ASK, ASK * 2], chats=True).chats == (ASK, ASK * 2)
    assert read_texts([{"messages": ASK}], chats=True).chats == (ASK,)


def test_a_text_and_messages_are_ambiguous(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", {"messages": ASK, "text": "x"})
    with pytest.raises(UsageError, match="several columns"):
        read_texts(path, chats=True)
    assert read_texts(path, text="text", chats=True).chats is None
    assert read_texts(path, text="messages", chats=True).chats == (ASK,)


def test_a_row_that_is_no_chat_is_named_or_left_out(tmp_path: Path) -> None:
    silent = [{"role": "user", "content": ""}]
    path = write(tmp_path / "c.jsonl", {"messages": ASK}, {"messages": "hello"}, {"messages": silent})
    with pytest.raises(DataError, match=r"line 2: the chat is no JSON.*--skip-bad-rows"):
        read_texts(path, chats=True)
    found = read_texts(path, chats=True, skip_bad_rows=True)
    assert (found.chats, found.n_left_out, found.first_left_out) == ((ASK,), 2, 2)


@pytest.mark.parametrize(
    ("written", "message"),
    [("[", "no JSON"), ("{}", "no list of messages"), ("[1]", "no list of messages"), ("[]", "no list of messages")],
)
def test_what_is_no_chat(written: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_chat(written)


def test_a_chat_that_is_too_deep() -> None:
    with pytest.raises(UsageError, match="no JSON"):
        read_chat("[" * 100_000)
