"""Memory that batches leave behind is given back now and then, and never where the C library has no call for it."""

from __future__ import annotations

import ctypes

import pytest

from interpret.models import memory
from interpret.models.batching import Row, logits
from interpret.models.load import attach_handle
from tests.tiny import tiny


def test_after_enough_tokens_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(memory, "_malloc_trim", lambda: calls.append)
    trimmer = memory.Trimmer()
    trimmer.ran(memory._TOKENS_BETWEEN - 1)
    assert calls == []
    trimmer.ran(1)
    assert calls == [0]
    trimmer.ran(memory._TOKENS_BETWEEN - 1)
    assert calls == [0]


def test_a_long_run_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(memory, "_malloc_trim", lambda: calls.append)
    monkeypatch.setattr(memory, "_TOKENS_BETWEEN", 30)
    handle = attach_handle(*tiny("bert", "text-classification"))
    logits(handle, [Row((2, 5, 6, 3))] * 20, token_budget=8)
    assert len(calls) == 2, "80 tokens in batches of 8: after the 4th and the 8th"


def test_a_library_without_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        def __init__(self, _: object) -> None: ...

    monkeypatch.setattr(ctypes, "CDLL", Bare)
    memory._malloc_trim.cache_clear()
    try:
        assert memory._malloc_trim()(0) is None
    finally:
        memory._malloc_trim.cache_clear()
