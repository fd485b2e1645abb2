"""Windows over long texts are those that the tokenizer itself makes, and every token is in one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import encode, within
from interpret.models.load import attach_handle
from interpret.models.windows import windows_over
from tests import zoo
from tests.tiny import FAMILIES, TEXTS, tiny

HANDLES = {family: attach_handle(*tiny(family)) for family in FAMILIES}
#: Emoji, combining marks, Chinese, Windows line ends: several tokens for one character, and characters without any.
ODD = "the cafe\u0301 👩\u200d💻👍🏽 was\r\ngood，味道很好吃\r\n\r\nnot a bad film ﬁsh"


def small(handle: Handle, size: int) -> Handle:
    return dataclasses.replace(handle, max_length=size)


def own_windows(handle: Handle, size: int, stride: int, *texts: str) -> Any:
    """What the tokenizer cuts a text into by itself, of a pair its second text."""
    tokenizer: Any = handle.tokenizer
    return tokenizer(
        *texts,
        truncation="only_second" if len(texts) == 2 else True,
        max_length=size,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        verbose=False,
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("size", "stride"), [(6, 0), (9, 3), (7, 4), (20, 1)])
def test_windows_are_those_of_the_tokenizer(family: str, size: int, stride: int) -> None:
    handle = small(HANDLES[family], size)
    texts = [*TEXTS, ODD]
    for text, e in zip(texts, encode(handle, texts, long_text="windows", doc_stride=stride), strict=True):
        expected = own_windows(handle, size, stride, text).input_ids
        # Our own copies: some tokenizers say where windows are only in the order they were made.
        found = [list(e.ids)] if e.windows is None else [[e.ids[p] for p in window] for window in e.windows.positions]
        assert found == expected
        assert e.n_truncated == 0
        if e.windows is not None:
            assert (e.windows.size, e.windows.stride) == (size, stride)
            assert [list(within(e, window).ids) for window in e.windows.positions] == expected


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_of_a_question_and_its_context_only_the_context_moves(family: str) -> None:
    built = zoo.build(family, "question-answering")
    handle = small(attach_handle(built.model, built.tokenizer), 16)
    pair = ("was the film good", f"{TEXTS[6]} {ODD}")
    (e,) = encode(handle, [pair], long_text="windows", doc_stride=2)
    expected = own_windows(handle, 16, 2, *pair)
    assert e.windows is not None
    assert [[e.ids[p] for p in window] for window in e.windows.positions] == expected.input_ids
    if family == "bert":
        assert e.type_ids is not None
        assert [[e.type_ids[p] for p in window] for window in e.windows.positions] == expected.token_type_ids
    second = e.pair_start or 0
    for window, offsets, n in zip(e.windows.positions, expected.offset_mapping, range(100), strict=False):
        parts = expected.sequence_ids(n)
        for p, (start, end), part in zip(window, offsets, parts, strict=True):
            if part is not None:
                shift = second if part == 1 else 0
                inside = e.char_spans[p]
                assert start + shift <= inside[0]
                assert inside[1] <= end + shift


def test_a_text_that_fits_is_encoded_as_ever() -> None:
    handle = HANDLES["bert"]
    assert encode(handle, TEXTS, long_text="windows") == encode(handle, TEXTS)


@given(
    text=st.text(st.sampled_from("ab cat.好😀\u0301\r\n"), min_size=1, max_size=60),
    size=st.integers(4, 12),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_every_token_is_in_a_window_and_neighbours_share_the_stride(text: str, size: int, data: Any) -> None:
    handle = small(HANDLES["bert"], size)
    stride = data.draw(st.none() | st.integers(0, size - 3))
    (e,) = encode(handle, [text], long_text="windows", doc_stride=stride)
    if e.windows is None:
        assert len(e.ids) <= size
        return
    whole = set(range(len(e.ids)))
    assert set().union(*map(set, e.windows.positions)) == whole
    assert all(len(window) <= size and list(window) == sorted(window) for window in e.windows.positions)
    assert all(len(window) == size for window in e.windows.positions[:-1])
    (_, before), *others = e.windows.bounds
    for start, end in others:
        assert before - start == e.windows.stride == (min(128, (size - 2) // 2) if stride is None else stride)
        before = end
    special = {p for p in whole if e.special[p]}
    assert all(special <= set(window) for window in e.windows.positions)


@pytest.mark.parametrize(
    ("task", "text", "options", "said"),
    [
        ("text-classification", TEXTS[4], {"doc_stride": 7}, "doc_stride is 7.*holds 7 of the text.*0 to 6"),
        ("text-classification", TEXTS[4], {"doc_stride": -1}, "doc_stride is -1"),
        ("text-classification", TEXTS[4], {"long_text": "truncate", "doc_stride": 1}, "long_text='windows'"),
        ("text-classification", TEXTS[4], {"long_text": "split"}, "'truncate' or 'windows'"),
        ("text-classification", (TEXTS[4], TEXTS[6]), {}, "of pairs only the context"),
        ("question-answering", (TEXTS[6], TEXTS[4]), {}, "has no room beside.*shorten the first text"),
    ],
)
def test_windows_that_cannot_be_are_refused(task: str, text: Any, options: dict[str, Any], said: str) -> None:
    built = zoo.build("bert", task)
    handle = small(attach_handle(built.model, built.tokenizer), 9)
    with pytest.raises(UsageError, match=said):
        encode(handle, [text], **{"long_text": "windows", **options})


def test_a_model_without_a_head_has_no_output_of_a_window() -> None:
    handle = dataclasses.replace(small(HANDLES["bert"], 9), task="none")
    with pytest.raises(UsageError, match=r"none model.*text-classification, token-classification"):
        encode(handle, [TEXTS[4]], long_text="windows")


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize(("size", "stride"), [(6, 0), (9, 3), (7, 4), (20, 1)])
def test_what_a_causal_model_goes_on_from_is_cut_from_its_end(family: str, size: int, stride: int) -> None:
    built = zoo.build(family, "causal-lm")
    handle = small(attach_handle(built.model, built.tokenizer), size)
    tokenizer: Any = built.tokenizer
    texts = [*TEXTS, ODD]
    tokenizer.truncation_side = "left"
    for text, e in zip(texts, encode(handle, texts, long_text="windows", doc_stride=stride), strict=True):
        assert e.windows is not None
        expected = own_windows(handle, size, stride, text).input_ids
        assert sorted([e.ids[p] for p in window] for window in e.windows.positions) == sorted(expected)
        assert list(e.windows.positions) == sorted(e.windows.positions)
        assert len(e.windows.positions[-1]) == min(size, len(e.ids))


@given(n=st.integers(0, 30), head=st.integers(0, 2), size=st.integers(4, 12), data=st.data())
@settings(max_examples=200, deadline=None)
def test_windows_from_the_end_leave_room_and_still_hold_every_token(n: int, head: int, size: int, data: Any) -> None:
    special = [True] * head + [False] * n
    stride = data.draw(st.none() | st.integers(0, size - head - 1))
    laid = windows_over(special, [(0, 1)] * len(special), None, size, stride, from_end=True)
    mirrored = windows_over(special[::-1], [(0, 1)] * len(special), None, size, stride)
    last = len(special) - 1
    assert laid.positions == tuple(tuple(last - p for p in window[::-1]) for window in mirrored.positions[::-1])
    for taken in range(size + 1):
        if taken >= size - head:
            with pytest.raises(UsageError, match="leaves no room"):
                laid.leaving(taken)
            continue
        less = laid.leaving(taken)
        assert set().union(*map(set, less.positions)) == set(range(len(special)))
        assert all(len(window) <= size - taken for window in less.positions)
        assert less.positions[-1] == (*range(head), *range(max(head, len(special) - (size - taken - head)), last + 1))
        assert less.stride <= laid.stride
        assert taken or less == laid
