"""Memory that batches leave behind is given back now and then, and never where the C library has no call for it."""

from __future__ import annotations

import ctypes

import pytest

from interpret.models import memory
from interpret.models.batching import Row, logits
from interpret.models.load import attach_handle
from tests.tiny import tiny


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []
    monkeypatch.setattr(memory, "malloc_trim", lambda: found.append)
    monkeypatch.setattr(memory, "_since", 0)
    return found


def test_after_enough_tokens_and_not_before(calls: list[int]) -> None:
    memory.ran(memory._TOKENS_BETWEEN - 1)
    assert calls == []
    memory.ran(1)
    assert calls == [0]
    memory.ran(memory._TOKENS_BETWEEN - 1)
    assert calls == [0]


def test_a_long_run_gives_back_and_so_do_many_short_ones(calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_TOKENS_BETWEEN", 30)
    handle = attach_handle(*tiny("bert", "text-classification"))
    logits(handle, [Row((2, 5, 6, 3))] * 20, token_budget=8)
    assert len(calls) == 2, "80 tokens in batches of 8: after the 4th and the 8th"
    for _ in range(10):
        logits(handle, [Row((2, 5, 6, 3))] * 2)
    assert len(calls) == 5, "16 tokens were left, and 80 more"


def test_a_library_without_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        def __init__(self, _: object) -> None: ...

    monkeypatch.setattr(ctypes, "CDLL", Bare)
    memory.malloc_trim.cache_clear()
    try:
        assert memory.malloc_trim() is None
        memory.ran(memory._TOKENS_BETWEEN)
    finally:
        memory.malloc_trim.cache_clear()
