from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.errors import UsageError
from interpret.models.handle import Handle
from interpret.models.inputs import Encoded, encode, encode_words
from interpret.models.load import attach_handle, load_handle
from interpret.models.words import word_spans
from tests.tiny import FAMILIES, TEXTS, tiny

HANDLES = {family: attach_handle(*tiny(family)) for family in FAMILIES}


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in word_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I don't like it!", ["I", "don't", "like", "it", "!"]),
        ("a well-known, half - baked idea", ["a", "well-known", ",", "half", "-", "baked", "idea"]),
        ("'quoted' rock-", ["'", "quoted", "'", "rock", "-"]),
        ("the dogs’ l’été", ["the", "dogs", "’", "l’été"]),
        ("...", [".", ".", "."]),
        ("味道不错 good吃", ["味", "道", "不", "错", "good", "吃"]),
        ("人々", ["人", "々"]),
        ("cafe\u0301 now", ["cafe\u0301", "now"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("שלום, עולם", ["שלום", ",", "עולם"]),
        ("\u200fשלום", ["\u200fשלום"]),
        ("ok👍🏽👍", ["ok", "👍🏽", "👍"]),
        ("👩\u200d💻!", ["👩\u200d💻", "!"]),
        ("a\u3000b\tc\n", ["a", "b", "c"]),
        ("snake_case 3 x2", ["snake_case", "3", "x2"]),
        ("", []),
        ("  ", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_words_cover_everything_but_spaces_once_and_in_order(text: str) -> None:
    spans = word_spans(text)
    covered = [position for start, end in spans for position in range(start, end)]
    assert covered == [position for position, character in enumerate(text) if not character.isspace()]
    assert all(start < end for start, end in spans)


def check(encoded: Encoded, text: str, max_length: int) -> None:
    n = len(encoded.ids)
    assert encoded.text == text
    assert n <= max_length
    for column in (encoded.tokens, encoded.word_index, encoded.char_spans, encoded.special):
        assert len(column) == n
    index = [word for word, special in zip(encoded.word_index, encoded.special, strict=True) if not special]
    assert all(word >= 0 for word in index)
    assert index == sorted(index)
    assert sorted(set(index)) == list(range(encoded.n_words))
    for word, special, (start, end) in zip(encoded.word_index, encoded.special, encoded.char_spans, strict=True):
        assert (word == -1) == special
        assert 0 <= start <= end <= len(text)


# Lone surrogates are no text: no tokenizer takes them.
TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("ab '-,.好吃😀👩\u200d💻\u0301\u200fש ▁Ġ\n"),
    max_size=30,
)


@pytest.mark.parametrize("family", FAMILIES)
@given(text=TEXT)
@settings(max_examples=80, deadline=None)
def test_any_text_keeps_spans_and_words_in_order(family: str, text: str) -> None:
    handle = HANDLES[family]
    try:
        encoded = encode(handle, [text])[0]
    except UsageError:
        assert handle.tokenizer is not None
        assert not handle.tokenizer(text).input_ids
        return
    check(encoded, text, handle.max_length)
    tokens = encode(handle, [text], unit="token")[0]
    assert tokens.ids == encoded.ids
    assert tokens.n_words == len(tokens.ids) - sum(tokens.special)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tokenizer_finds_the_same_words(family: str) -> None:
    for text, encoded in zip(TEXTS, encode(HANDLES[family], TEXTS), strict=True):
        found: dict[int, list[tuple[int, int]]] = {}
        for word, span in zip(encoded.word_index, encoded.char_spans, strict=True):
            if word >= 0:
                found.setdefault(word, []).append(span)
        ends = [(min(start for start, _ in spans), max(end for _, end in spans)) for spans in found.values()]
        assert ends == word_spans(text)
        assert encoded.n_truncated == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_are_those_the_tokenizer_gives(family: str) -> None:
    handle = HANDLES[family]
    assert handle.tokenizer is not None
    for text, encoded in zip(TEXTS, encode(handle, TEXTS), strict=True):
        assert list(encoded.ids) == handle.tokenizer(text).input_ids
    typed = family in ("bert", "electra")
    assert (encoded.type_ids is not None) == typed


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["right", "left"])
def test_truncation_keeps_special_tokens_and_counts(family: str, side: str) -> None:
    model, tokenizer = tiny(family)
    tokenizer.truncation_side = side
    handle = dataclasses.replace(attach_handle(model, tokenizer), max_length=6)
    text = TEXTS[4]
    encoded = encode(handle, [text])[0]
    expected = tokenizer(text, truncation=True, max_length=6).input_ids
    assert list(encoded.ids) == expected
    assert encoded.n_truncated == len(tokenizer(text).input_ids) - 6
    check(encoded, text, 6)


def test_a_window_without_room_is_refused() -> None:
    with pytest.raises(UsageError, match="no room"):
        encode(dataclasses.replace(HANDLES["bert"], max_length=2), ["a cat"])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokenizers_state_is_left_alone(family: str) -> None:
    model, tokenizer = tiny(family)
    handle = attach_handle(model, tokenizer)
    tokenizer.backend_tokenizer.enable_truncation(5, stride=1)
    before = tokenizer.backend_tokenizer.to_str()
    encode(handle, TEXTS)
    encode_words(handle, [["a", "cat"]])
    assert tokenizer.backend_tokenizer.to_str() == before


def test_empty_texts() -> None:
    for family in ("bert", "roberta", "llama"):
        encoded = encode(HANDLES[family], [""])[0]
        assert all(encoded.special)
        assert encoded.n_words == 0
    with pytest.raises(UsageError, match="no tokens"):
        encode(HANDLES["gpt2"], ["a cat", ""])
    assert encode(HANDLES["gpt2"], []) == []


def test_space_before_a_word_belongs_to_the_word_after_it() -> None:
    encoded = encode(HANDLES["llama"], ["a  好"])[0]
    assert encoded.word_index == (-1, 0, 1, 1, 1)
    assert encoded.char_spans[-1] == (3, 4)


def test_a_mask_token_in_the_text_is_one_token_with_a_word() -> None:
    encoded = encode(attach_handle(*tiny("roberta", "masked-lm")), ["the film was <mask>."])[0]
    at = encoded.tokens.index("<mask>")
    assert not encoded.special[at]
    assert encoded.text[slice(*encoded.char_spans[at])] == "<mask>"


@pytest.mark.parametrize("family", FAMILIES)
def test_given_words_keep_their_indices(family: str) -> None:
    sentence = ["the", "well-known", "cat", ",", "don't", "10 000", "好吃"]
    encoded = encode_words(HANDLES[family], [sentence])[0]
    assert encoded.text == " ".join(sentence)
    assert set(encoded.word_index) - {-1} == set(range(len(sentence)))
    for word, special, span in zip(encoded.word_index, encoded.special, encoded.char_spans, strict=True):
        if not special:
            assert encoded.text[slice(*span)].strip().lower() in sentence[word].lower()


def test_given_words_that_do_not_fit_are_left_out_and_counted() -> None:
    handle = dataclasses.replace(HANDLES["bert"], max_length=4)
    encoded = encode_words(handle, [["the", "cat", "was", "very", "happy"]])[0]
    assert encoded.word_index == (-1, 0, 1, -1)
    assert encoded.n_truncated == 3


def test_an_empty_given_word_is_refused() -> None:
    with pytest.raises(UsageError, match="word 1 of sentence 0 is empty"):
        encode_words(HANDLES["bert"], [["a", " ", "b"]])


def test_what_cannot_be_encoded() -> None:
    with pytest.raises(UsageError, match="without a tokenizer"):
        encode(attach_handle(tiny("bert")[0]), ["a"])
    with pytest.raises(UsageError, match="list of texts"):
        encode(HANDLES["bert"], "a text")
    with pytest.raises(UsageError, match="unknown unit"):
        encode(HANDLES["bert"], ["a"], unit="line")  # type: ignore[arg-type]

    class Slow:
        is_fast = False
        model_max_length = 64

    with pytest.raises(UsageError, match="a fast tokenizer"):
        encode(attach_handle(tiny("bert")[0], Slow()), ["a"])


@pytest.fixture(scope="module")
def waimai(shared: Path) -> Handle:
    return load_handle(shared / "models" / "zh-waimai", device="cpu")


def test_ten_chinese_reviews_exceed_the_window(waimai: Handle, shared: Path) -> None:
    with (shared / "models" / "zh-waimai" / "test.tsv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    texts = [row[0] for row in rows]
    encoded = encode(waimai, texts)
    assert len(encoded) == 1000
    assert sum(one.n_truncated > 0 for one in encoded) == 10
    for one, text in zip(encoded, texts, strict=True):
        check(one, text, 128)


def test_chinese_words_are_characters(waimai: Handle) -> None:
    encoded = encode(waimai, ["味道不错，very good"])[0]
    assert encoded.n_words == 7
    assert encoded.word_index[1:6] == (0, 1, 2, 3, 4)


def test_a_segmenter_finds_the_words_that_writing_does_not_show() -> None:
    text = "味道 很好，not bad"
    cuts = ["味道", " ", "很好", "，", "not", " ", "bad"]
    for words in (cuts, [word for word in cuts if word.strip()]):
        (found,) = encode(HANDLES["bert"], [text], segmenter=lambda _, words=words: words)  # type: ignore[misc]
        groups: dict[int, list[int]] = {}
        for p, word in enumerate(found.word_index):
            groups.setdefault(word, []).append(p)
        shown = [
            text[found.char_spans[g[0]][0] : found.char_spans[g[-1]][1]] for n, g in sorted(groups.items()) if n >= 0
        ]
        assert shown == ["味道", "很好", "，", "not", "bad"]
        check(found, text, HANDLES["bert"].max_length)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["味道", "好"], r"word 1 is '好', but the text goes on with '很好'"),
        (["味道", "很"], "end before the text does, at '好'"),
        (["味道", "很好", "好"], "word 2 is '好'"),
        ([("味道", 0), ("很好", 2)], "word 0 is a tuple"),
        ([], "end before the text does"),
    ],
)
def test_words_that_do_not_join_to_the_text_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        encode(HANDLES["bert"], ["味道很好"], segmenter=lambda _: words)
    with pytest.raises(UsageError, match="segmenter finds words"):
        encode(HANDLES["bert"], ["味道很好"], unit="token", segmenter=lambda _: ["味道很好"])
