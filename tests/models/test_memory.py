"""Memory that batches leave behind is given back now and then, and never where the C library has no call for it."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys

import pytest

from interpret.models import batching, memory
from interpret.models.batching import Row, logits
from interpret.models.load import attach_handle
from tests.tiny import tiny


class Clock:
    """Time that passes only here: `takes` seconds in a call that gives memory back."""

    def __init__(self) -> None:
        self.now, self.takes = 1000.0, 0.001
        self.calls: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def trim(self, _: int) -> None:
        self.calls.append(self.now)
        self.now += self.takes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(memory, "malloc_trim", lambda: found.trim)
    monkeypatch.setattr(memory, "time", found)
    monkeypatch.setattr(memory, "_not_before", 0.0)
    return found


def test_at_once_and_then_after_a_pause(clock: Clock) -> None:
    memory.ran()
    assert len(clock.calls) == 1
    clock.now += memory._PAUSE_S * 0.9
    memory.ran()
    assert len(clock.calls) == 1
    clock.now += memory._PAUSE_S * 0.2
    memory.ran()
    assert len(clock.calls) == 2


def test_calls_that_take_long_take_at_most_a_twentieth(clock: Clock) -> None:
    clock.takes = 0.1
    start = clock.now
    for _ in range(2000):
        memory.ran()
        clock.now += 0.01
    assert 5 < len(clock.calls)
    assert len(clock.calls) * clock.takes <= (clock.now - start) / 20 + clock.takes


def test_a_long_run_gives_back_and_so_do_many_short_ones(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = attach_handle(*tiny("bert", "text-classification"))
    real = batching.collate

    def collate(*args: object) -> object:
        clock.now += memory._PAUSE_S * 0.6
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(batching, "collate", collate)
    logits(handle, [Row((2, 5, 6, 3))] * 20, token_budget=8)
    assert len(clock.calls) == 5, "ten batches, of which every other one comes after the pause"
    for _ in range(10):
        logits(handle, [Row((2, 5, 6, 3))] * 2)
    assert len(clock.calls) == 10


def test_a_library_without_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        def __init__(self, _: object) -> None: ...

    monkeypatch.setattr(ctypes, "CDLL", Bare)
    memory.malloc_trim.cache_clear()
    try:
        assert memory.malloc_trim() is None
        memory.ran()
    finally:
        memory.malloc_trim.cache_clear()


#: What a fresh process does: in one that has run other tests, freed memory is there to be used again, so that new
#: pieces need not make it grow at all.
_FREED_IN_PIECES = """
import json
from interpret.models.memory import ran, resident_bytes

before = resident_bytes()
# Small pieces with one kept in between: the C library gives none of it back by itself.
pieces = [bytearray(4000) for _ in range(50_000)]
kept = pieces[::100]
high = resident_bytes() - before
del pieces
freed = resident_bytes() - before
ran()
print(json.dumps({"high": high, "freed": freed, "low": resident_bytes() - before, "kept": len(kept)}))
"""


@pytest.mark.skipif(
    memory.resident_bytes() is None or memory.malloc_trim() is None,
    reason="this system does not say what a process holds, or has no call that gives it back",
)
def test_freed_memory_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", _FREED_IN_PIECES], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["high"] > 150 << 20
    assert found["freed"] > 150 << 20, "given back by itself here, so that the next line would show nothing"
    assert found["low"] <= 60 << 20
    assert found["kept"] == 500
