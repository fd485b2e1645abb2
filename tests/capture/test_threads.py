"""One model in several threads: what one does to a forward, those of the others do not see."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor

from interpret.analyzers.attribution import attribute
from interpret.capture import shortened
from interpret.capture.hooks import hooks
from interpret.capture.late_start import from_layer
from interpret.models.handle import Handle
from interpret.models.inputs import encode
from interpret.models.state import untouched
from tests.capture.support import attached, batch_of
from tests.tiny import TEXTS


def elsewhere(work: Callable[[], Tensor]) -> Tensor:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(timeout=60)


def edited(*sites: str) -> Callable[[Handle], AbstractContextManager[object]]:
    return lambda handle: hooks(handle, {}, edits={(site, 0): torch.zeros_like for site in sites})


@contextmanager
def from_second(handle: Handle) -> Iterator[None]:
    length = batch_of(handle)["input_ids"].shape[1]
    with from_layer(handle, 1, torch.zeros(1, length, handle.d_model)):
        yield


@contextmanager
def narrowed(handle: Handle) -> Iterator[None]:
    with ExitStack() as stack:
        shortened._narrow_last(handle, stack)
        yield


@pytest.mark.parametrize(
    "changed",
    [edited("z"), edited("resid_pre"), edited("attn_pattern"), edited("attn_scores"), from_second, narrowed],
    ids=["output", "input", "pattern", "scores", "late start", "narrowed"],
)
def test_forwards_of_other_threads_are_left_alone(
    changed: Callable[[Handle], AbstractContextManager[object]],
) -> None:
    handle = attached("bert")
    batch = batch_of(handle)

    def last() -> Tensor:
        with torch.no_grad():
            found: Tensor = handle.model.bert(**batch).last_hidden_state
        return found

    plain = last()
    with changed(handle):
        there = elsewhere(last)
        here = last()
    assert torch.equal(there, plain)
    assert here.shape != plain.shape or not torch.equal(here, plain), "nothing was changed, so nothing is shown"
    assert torch.equal(last(), plain)


def test_reads_are_those_of_the_thread_that_asks() -> None:
    handle = attached("bert")
    batch = batch_of(handle)
    seen: list[Tensor] = []
    with hooks(handle, {("z", 0): seen.append, ("attn_pattern", 1): seen.append}):
        elsewhere(lambda: handle.model(**batch).logits)
        assert seen == []
        handle.model(**batch)
    assert len(seen) == 2


def test_attributions_of_two_threads_are_those_of_one() -> None:
    handle = attached("bert")
    jobs = [(method, part) for method in ("integrated_gradients", "leave_one_out") for part in (TEXTS[:3], TEXTS[3:6])]

    def scores(job: tuple[str, list[str]]) -> list[np.ndarray]:
        return [e.scores for e in attribute(handle, encode(handle, job[1]), method=job[0])]

    alone = list(map(scores, jobs))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(scores, jobs * 3, timeout=240))
    for found, expected in zip(together, alone * 3, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_one_thread_waits_for_another_that_works_with_a_model() -> None:
    handle = attached("bert")
    handle.model.train()
    inside = threading.Event()

    def enter() -> None:
        with untouched(handle.model):
            inside.set()

    with untouched(handle.model):
        other = threading.Thread(target=enter)
        other.start()
        assert not inside.wait(0.2)
    other.join(timeout=60)
    assert inside.is_set()
    assert handle.model.training


def test_a_context_of_another_thread_may_end_in_between() -> None:
    handle = attached("bert")
    before = handle.model.config._attn_implementation
    begun, end = threading.Event(), threading.Event()

    def read() -> None:
        with hooks(handle, {("attn_pattern", 0): lambda _: None}):
            begun.set()
            end.wait(60)

    other = threading.Thread(target=read)
    other.start()
    begun.wait(60)
    assert handle.model.config._attn_implementation != before
    with untouched(handle.model):
        end.set()
        other.join(timeout=60)
    assert handle.model.config._attn_implementation == before
    handle.model(**batch_of(handle))
