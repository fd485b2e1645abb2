from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.errors import UsageError
from interpret.models.inputs import encode, unit_index
from interpret.models.load import attach_handle
from interpret.models.sentences import sentence_spans
from tests.tiny import FAMILIES, tiny

HANDLES = {family: attach_handle(*tiny(family)) for family in FAMILIES}


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["It was good.", "I liked it!", "Did you?"],
        ["Mr. Smith met Dr. J. R. Jones in the U.S. Senate.", "They left."],
        ["It costs 3.14 dollars.", "Version 2.0 came out at 10.30 a.m. on Monday."],
        ["We sell fruit, e.g. apples, i.e. no meat, etc. and more.", "Come!"],
        ["He works at Foo Inc. and sleeps.", "She works at Bar Ltd.", "They meet."],
        ["See www.example.com/a?b=c!d for more.", "Then write to me@foo.org."],
        ['"Stop!" he said.', '"Why?"', "She ran."],
        ["She said (quietly.)", "Then she left."],
        ["Really?!", "No way!!!", "Yes."],
        ["Well... it went on.", "And on...", "Then it ended."],
        ["1. First item.", "2. Second item."],
        ["as shown in Fig. 3 and No. 5.", "No.", "It is not."],
        ["It is I.", "You know me."],
        ["by Li et al. 2016 it was shown.", "So it is."],
        ["the film is good .", "i like it ."],
        ["the film is good . . . or not .", "well"],
        ["Good :-)"],
    ],
)
def test_english(expected: list[str]) -> None:
    assert sentences(" ".join(expected)) == expected
    assert sentences("  " + "\n\n".join(expected) + " \n") == expected


@pytest.mark.parametrize(
    "expected",
    [
        ["味道很好。", "下次再来！", "你呢？"],
        ["他说：“好。”", "然后走了。"],
        ["他说“好。”，然后走了。", "完了。"],
        ["价格是3.5元。", "不贵。"],
        ["太好了！！！", "真的吗？！", "是的。"],
        ["「走吧。」", "她说。"],
        ["很好!", "下次再来."],
        ["嗯……还可以吧。", "算了"],
        ["他去了U.S.A.公司。", "回来了。"],
    ],
)
def test_chinese(expected: list[str]) -> None:
    assert sentences("".join(expected)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t", []),
        ("...", ["..."]),
        ("!\n?", ["!\n?"]),
        ("no end mark", ["no end mark"]),
        ("a title\nand a text. Two\r\nthree", ["a title", "and a text.", "Two", "three"]),
        ("One.\n---\nTwo.", ["One.\n---", "Two."]),
        ("--- One. Two.", ["--- One.", "Two."]),
        ("It works。Really. 很好。Yes", ["It works。", "Really.", "很好。", "Yes"]),
    ],
)
def test_edges(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


MIXED = st.text(
    st.sampled_from("ab AB1.!?。！？…\n\r\"'”’)」“( \u3000好，Mr\u2028") | st.characters(exclude_categories=["Cs"])
)


@given(MIXED)
@settings(max_examples=400, deadline=None)
def test_sentences_cover_everything_but_spaces_once_and_in_order(text: str) -> None:
    spans = sentence_spans(text)
    inside = [position for start, end in spans for position in range(start, end)]
    assert inside == sorted(set(inside))
    assert {p for p in inside if not text[p].isspace()} == {p for p, c in enumerate(text) if not c.isspace()}
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)


@pytest.mark.parametrize("family", FAMILIES)
@given(text=MIXED)
@settings(max_examples=60, deadline=None)
def test_every_token_that_is_not_special_is_in_one_sentence(family: str, text: str) -> None:
    handle = HANDLES[family]
    try:
        (encoded,) = encode(handle, [text], unit="sentence")
    except UsageError:
        assert handle.tokenizer is not None
        assert not handle.tokenizer(text).input_ids
        return
    index = [i for i, special in zip(encoded.word_index, encoded.special, strict=True) if not special]
    assert index == sorted(index)
    assert sorted(set(index)) == list(range(encoded.n_words))
    assert all((i == -1) == special for i, special in zip(encoded.word_index, encoded.special, strict=True))
    assert unit_index(encode(handle, [text])[0], "sentence") == encoded.word_index


def test_a_long_text_without_an_end_takes_no_time() -> None:
    assert len(sentence_spans("e.g. " * 20_000)) == 1
    assert len(sentence_spans(". " * 20_000)) == 1
    assert len(sentence_spans("a. B " * 20_000)) > 1
