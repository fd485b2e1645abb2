"""Whatever the script and the tokenizer, the tokens of a word are those of the word: its names spell it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.analyzers.probing.features import make_items
from interpret.models.handle import Handle
from interpret.models.load import attach_handle
from interpret.readers.probe_data import ProbeData
from tests import spelling
from tests.tiny import TEXTS, tiny

#: Sentences that are known to go wrong somewhere.
HARD = (
    ["👩‍👩‍👧‍👦", "is", "a", "family", "👍🏽", "🇩🇪", "❤️"],
    ["e\u0301te\u0301", "cafe\u0301", "naïve", "Z\u0335a\u0321lgo\u0353\u0345"],
    ["ca", "n't", "do", "n't", "I", "'m", "gonna", "wo", "n't", "John", "'s"],
    ["can't", "doesn’t", "l'homme", "rock'n'roll"],
    ["السَّلَامُ", "عليكم", "שָׁלוֹם", "עולם", "\u200fabc\u200e"],
    ["黑豹队", "的", "防守", "只", "丢", "了", "308", "分", "，", "𠮷野家"],
    ["Ｆｕｌｌ", "ｗｉｄｔｈ", "ﬁnance", "①", "½", "…", "ｶﾞ"],
    ["한국어", "\u1112\u1161\u11ab", "ไทย", "हिन्दी", "ѝ"],
    ["zero\u200bwidth", "soft\u00adhyphen", "a\u00a0b", "1 000", "▁", "##ing", "Ġthe", "[SEPT]"],
    ["İstanbul", "ΟΔΟΣ", "ß", "ǅ", "µ", "Å", "\u212b"],
)
CORPUS = (*TEXTS, *(" ".join(words) for words in HARD))


@pytest.fixture(scope="module")
def model() -> Handle:
    return attach_handle(*tiny("bert", "masked-lm"))


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, spelling.PreTrainedTokenizerFast]:
    # Half of the corpus: what the other half holds falls back on bytes, or on [UNK].
    return {kind: train(CORPUS[::2]) for kind, train in spelling.TRAINED.items()}


def letters(*ranges: tuple[int, int]) -> st.SearchStrategy[str]:
    return st.text(
        st.one_of(
            *(st.characters(min_codepoint=a, max_codepoint=b, categories=("L", "N", "P", "S", "M")) for a, b in ranges)
        ),
        min_size=1,
        max_size=6,
    )


emoji = st.lists(st.sampled_from("👩🧑👍🏽🏿🚀❤🇩🇪🇫"), min_size=1, max_size=4).flatmap(
    lambda found: st.sampled_from(["\u200d", "\ufe0f", ""]).map(lambda joint: joint.join(found))
)
marked = st.lists(
    st.tuples(st.sampled_from("aeiouzAEnश한"), st.text("\u0301\u0308\u0327\u0335\u20dd", max_size=3)),
    min_size=1,
    max_size=4,
).map(lambda pairs: "".join(a + b for a, b in pairs))
contraction = st.sampled_from(["ca", "n't", "can't", "'s", "’ll", "don’t", "I'm", "'", "O'Neill"])
words = st.one_of(
    emoji,
    marked,
    contraction,
    letters((0x600, 0x6FF), (0x590, 0x5FF)),
    letters((0x4E00, 0x4FFF), (0x20000, 0x20100)),
    letters((0xFF01, 0xFFEF), (0x3040, 0x30FF)),
    letters((0x21, 0x17F), (0x370, 0x4FF)),
    letters((0x21, 0xD7FF), (0xE000, 0x1FAFF)),
)


@pytest.mark.parametrize("kind", spelling.TRAINED)
def test_hard_words_are_spelt_by_their_tokens(
    model: Handle, tokenizers: dict[str, spelling.PreTrainedTokenizerFast], kind: str
) -> None:
    tokenizer = tokenizers[kind]
    data = ProbeData.of_words(HARD, [["X"] * len(row) for row in HARD])
    items = make_items(replace(model, tokenizer=tokenizer, max_length=1000), data)
    n_spelt = spelling.check(kind, tokenizer, HARD, items)
    assert len(items) + items.n_without_tokens == data.n_items
    assert items.n_truncated_words == items.n_sharing_tokens == 0
    assert n_spelt == len(items) if kind != "wordpiece" else n_spelt > len(items) / 2


@settings(max_examples=150, deadline=None)
@given(sentence=st.lists(words, min_size=1, max_size=8), max_length=st.sampled_from([7, 12, 1000]), left=st.booleans())
@pytest.mark.parametrize("kind", spelling.TRAINED)
def test_generated_words_are_spelt_by_their_tokens(
    model: Handle,
    tokenizers: dict[str, spelling.PreTrainedTokenizerFast],
    kind: str,
    sentence: list[str],
    max_length: int,
    left: bool,
) -> None:
    sentence = [word for word in sentence if word.strip()] or ["x"]
    tokenizer = tokenizers[kind]
    tokenizer.truncation_side = "left" if left else "right"
    data = ProbeData.of_words([sentence], [["X"] * len(sentence)])
    items = make_items(replace(model, tokenizer=tokenizer, max_length=max_length), data)
    spelling.check(kind, tokenizer, [sentence], items)
    assert len(items) + items.n_without_tokens + items.n_truncated_words == len(sentence)
    assert items.n_sharing_tokens == 0
    # Cut or not, the words that are kept have the tokens that they have in the whole text.
    whole = make_items(replace(model, tokenizer=tokenizer, max_length=10**6), data)
    names = dict(zip(whole.place.tolist(), pieces(whole), strict=True))
    assert pieces(items) == [names[w] for w in items.place.tolist()]
    assert whole.n_truncated_words == 0


def pieces(items: object) -> list[list[str]]:
    """The names of each item's tokens."""
    found = []
    for s, segment in enumerate(items.segments):  # type: ignore[attr-defined]
        row = items.encoded[s]  # type: ignore[attr-defined]
        for item in sorted(set(segment.item.tolist())):
            found.append([row.tokens[p] for p in segment.position[segment.item == item].tolist()])
    return found


def test_a_token_of_several_words_stands_with_each_and_is_counted(model: Handle) -> None:
    texts = ["a bc of the de", "of the x", "go of the z", "of the", "in of the"] * 40
    tokenizer = spelling.unigram(texts, 300, over_spaces=True)
    assert "▁of▁the▁" in tokenizer.get_vocab()
    handle = replace(model, tokenizer=tokenizer, max_length=100)
    words = ["go", "of", "the", "zz"]
    items = make_items(handle, ProbeData.of_words([words], [["A", "B", "C", "D"]]))
    row, segment = items.encoded[0], items.segments[0]
    (both,) = [p for p, token in enumerate(row.tokens) if token == "▁of▁the▁"]
    assert segment.position[segment.item == 1].tolist() == [both]
    assert segment.position[segment.item == 2].tolist() == [both]
    assert items.n_sharing_tokens == 2
    spelling.check("unigram", tokenizer, [words], items)
    # Cut before that token, neither word was seen.
    cut = make_items(replace(handle, max_length=5), ProbeData.of_words([words], [["A", "B", "C", "D"]]))
    assert (cut.form, cut.n_truncated_words) == (("go",), 3)
