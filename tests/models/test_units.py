"""Units that the user gives by characters: every token is in exactly one, and which follows from characters alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.analyzers.scheduler import features
from interpret.errors import UsageError
from interpret.models.inputs import Encoded, encode, unit_index
from interpret.models.load import attach_handle
from tests.tiny import FAMILIES, tiny

HANDLES = {family: attach_handle(*tiny(family)) for family in FAMILIES}
TEXT = st.text(
    st.sampled_from("ab the cat 12.好吃味\u0301👩\u200d💻👍🏽\r\n\u3000ﬁé-'")
    | st.characters(exclude_categories=["Cs"]),
    min_size=1,
    max_size=40,
)


def in_order(text: str, cuts: list[int]) -> list[tuple[int, int]]:
    """Spans between every other two cuts, those of spaces alone left out."""
    points = sorted({min(cut, len(text)) for cut in cuts})
    pairs = zip(points[::2], points[1::2], strict=False)
    return [(a, b) for a, b in pairs if text[a:b].strip()]


def expected_unit(text: str, spans: list[tuple[int, int]], token: tuple[int, int]) -> tuple[int, int] | None:
    """The span, or the stretch between two spans, with most of a token's characters; written anew, by characters."""
    owner: list[tuple[int, int] | None] = [None] * len(text)
    for a, b in spans:
        owner[a:b] = [(a, b)] * (b - a)
    place = 0
    while place < len(text):
        if owner[place] is not None:
            place += 1
            continue
        end = place
        while end < len(text) and owner[end] is None:
            end += 1
        inside = text[place:end]
        if inside.strip():
            a = place + len(inside) - len(inside.lstrip())
            b = a + len(inside.strip())
            owner[a:b] = [(a, b)] * (b - a)
        place = end
    counted: dict[tuple[int, int], int] = {}
    for unit in owner[slice(*token)]:
        if unit is not None:
            counted[unit] = counted.get(unit, 0) + 1
    return max(counted, key=lambda unit: (counted[unit], -unit[0]), default=None)


@pytest.mark.parametrize("family", FAMILIES)
@given(text=TEXT, cuts=st.lists(st.integers(0, 40), max_size=9))
@settings(max_examples=120, deadline=None)
def test_units_partition_the_tokens_and_each_is_where_most_of_it_lies(family: str, text: str, cuts: list[int]) -> None:
    handle = HANDLES[family]
    spans = in_order(text, cuts)
    try:
        (e,) = encode(handle, [text], unit=[spans])
    except UsageError as error:
        if "has no token" not in str(error):
            assert not handle.tokenizer(text).input_ids  # type: ignore[misc]
            return
        # Refused is only what no token would be in.
        (plain,) = encode(handle, [text])
        found = [expected_unit(text, spans, span) for span in plain.char_spans]
        assert any(span not in found for span in spans)
        return
    assert e.unit_spans is not None
    content = [p for p, special in enumerate(e.special) if not special]
    groups = features(e, "span")
    assert sorted(p for group in groups for p in group) == content
    assert len(groups) == len(e.unit_spans) == e.n_words
    index = [e.word_index[p] for p in content]
    assert index == sorted(index)
    assert set(spans) <= set(e.unit_spans)
    assert all(a < b <= c for (a, b), (c, _) in zip(e.unit_spans, e.unit_spans[1:], strict=False))
    last = -1
    for p in content:
        unit = expected_unit(text, spans, e.char_spans[p])
        # A normaliser may report characters out of order; a unit never starts again.
        if unit is not None and unit in e.unit_spans and e.unit_spans.index(unit) >= last:
            last = e.unit_spans.index(unit)
            assert e.word_index[p] == last
    assert e.ids == encode(handle, [text])[0].ids
    assert unit_index(e, "span") == e.word_index


@pytest.mark.parametrize("family", FAMILIES)
@given(a=TEXT, b=TEXT)
@settings(max_examples=40, deadline=None)
def test_segments_are_the_two_texts(family: str, a: str, b: str) -> None:
    handle = HANDLES[family]
    try:
        (e,) = encode(handle, [(a, b)], unit="segment")
    except UsageError:
        return
    content = [(e.word_index[p], e.char_spans[p]) for p, special in enumerate(e.special) if not special]
    # Of a text whose characters the tokenizer drops there is no unit.
    second = e.pair_start or 0
    both = len({start >= second for _, (start, end) in content if e.text[start:end].strip()}) == 2
    for unit, (start, end) in content:
        assert unit in (0, 1)
        if both and e.text[start:end].strip():
            assert unit == (start >= second), (start, end)
    assert unit_index(encode(handle, [(a, b)])[0], "segment") == e.word_index


def units(e: Encoded) -> list[str]:
    assert e.unit_spans is not None
    return [e.text[a:b] for a, b in e.unit_spans]


@pytest.mark.parametrize(
    ("text", "spans", "expected"),
    [
        ("the film was not good", [(0, 8), (13, 21)], ["the film", "was", "not good"]),
        ("the film was not good", [], ["the film was not good"]),
        ("味道很好吃", [(0, 2), (2, 5)], ["味道", "很好吃"]),
        ("good\r\nbad film", [(0, 6), (6, 9)], ["good\r\n", "bad", "film"]),
        ("e\u0301a cat", [(0, 2)], ["e\u0301", "a cat"]),
        # "film" is one token: three of its characters are in the first span; of equal halves the first counts.
        ("film was", [(0, 3), (3, 8)], ["fil", "m was"]),
        ("film was", [(0, 2), (2, 8)], ["fi", "lm was"]),
    ],
)
def test_given_units(text: str, spans: list[tuple[int, int]], expected: list[str]) -> None:
    (e,) = encode(HANDLES["bert"], [text], unit=[spans])
    assert units(e) == expected


def test_units_may_be_arrays() -> None:
    (e,) = encode(HANDLES["bert"], ["the film was"], unit=[np.array([[0, 3], [4, 8]])])  # type: ignore[list-item]
    assert units(e) == ["the", "film", "was"]


def test_emoji_of_several_tokens_are_in_one_unit() -> None:
    text = "a 👩\u200d💻👍🏽 cat"
    (e,) = encode(HANDLES["gpt2"], [text], unit=[[(2, 5), (5, 7)]])
    assert units(e) == ["a", "👩\u200d💻", "👍🏽", "cat"]
    counts = [e.word_index.count(unit) for unit in range(4)]
    assert counts[1] > 4
    assert counts[2] > 4
    assert sum(counts) == len(e.ids)


def test_units_of_a_pair_count_characters_of_both() -> None:
    pair = ("was the cat", "the cat ate")
    (e,) = encode(HANDLES["bert"], [pair], unit=[[(4, 11), (12, 19)]])
    assert units(e) == ["was", "the cat", "the cat", "ate"]


def test_what_was_cut_off_has_no_unit_and_no_error() -> None:
    handle = dataclasses.replace(HANDLES["bert"], max_length=5)
    (e,) = encode(handle, ["the film was not good"], unit=[[(0, 8), (13, 21)]])
    assert e.n_truncated == 2
    assert units(e) == ["the film", "was"]


@pytest.mark.parametrize(
    ("texts", "spans", "said"),
    [
        (["the film"], [[(0, 3)], []], "spans of 2 texts, and 1 were given"),
        (["the film"], [[(4, 8), (0, 3)]], r"\(0, 3\) of text 0 begins before the one before it ends, at 8"),
        (["the film"], [[(0, 4), (3, 8)]], r"\(3, 8\) of text 0 begins before"),
        (["the film"], [[(0, 9)]], r"\(0, 9\) of text 0 does not lie in its 8 characters"),
        (["the film"], [[(-1, 3)]], "does not lie in"),
        (["the film"], [[(3, 3)]], "does not lie in"),
        (["the film"], [[(3, 4)]], "holds only spaces"),
        (["a", "the film"], [[], [(5, 6)]], r"\(5, 6\) of text 1, 'i', has no token"),
        (["the film"], [[(0, 3.5)]], "a unit of text 0 is"),
        (["the film"], [[4]], r"a unit of text 0 is 4; .*\[\[\(0, 5\), \(6, 9\)\]\] for one text"),
        (["the film"], [(0, 3)], "a unit of text 0 is 0"),
        (["the film"], [None], "the list of units of text 0 is None"),
        (["the film"], 4, "unit is 4"),
        (["the film"], [[(0, 3, 5)]], r"a unit of text 0 is \(0, 3, 5\)"),
        (["the film"], [["ab"]], "a unit of text 0 is 'ab'"),
        ([("the", "film")], [[(0, 5)]], "reaches from one text of the pair into the other, which begins at 4"),
        (["the film"], "segment", "is a single text"),
        (["the film"], "span", "the units are word, token, sentence, segment, message, or a list"),
    ],
)
def test_units_that_cannot_be_are_refused(texts: list[Any], spans: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        encode(HANDLES["bert"], texts, unit=spans)


def test_spans_are_asked_for_where_there_are_none() -> None:
    with pytest.raises(UsageError, match="encoded without spans"):
        unit_index(encode(HANDLES["bert"], ["a"])[0], "span")
    with pytest.raises(UsageError, match="given as spans"):
        encode(HANDLES["bert"], ["a"], unit=[[(0, 1)]], segmenter=lambda text: [text])
