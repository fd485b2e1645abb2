"""Characters of the tokens of Marian and M2M-100, whose tokenizers count none."""

from __future__ import annotations

import copy
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.errors import UsageError
from interpret.models import sentencepieces
from interpret.models.fingerprints import tokenizer_sha256
from interpret.models.handle import Handle
from interpret.models.inputs import encode, encode_targets
from interpret.models.load import attach_handle
from interpret.models.sentencepieces import pieces_of
from tests import translators
from tests.tiny import TEXTS, tiny

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")

#: A ligature, wide letters, an accent of its own, a fraction, other spaces, ideographs, an emoji, a zero-width space.
HARD = (
    "The \ufb01lm  was \uff47\uff4f\uff4f\uff44, ok?", " a cafe\u0301 at \u00bd past\u3000ten ", "味道很好!\n\nhappy",
    "\U0001f600 bad\u200bly", "\u2460 I don't like it...",
)  # fmt: skip
#: An accent stands behind its letter: behind a ligature Python composes what SentencePiece does not.
LETTERS = [*"abdefglmostw .,'\ufb01\uff47\u00bd\u3000\u2026味\n\u200bT", "e\u0301"]


@pytest.fixture(scope="module", params=["marian", "m2m_100"])
def handle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Handle:
    folder = tmp_path_factory.mktemp(request.param)
    made = translators.marian(folder) if request.param == "marian" else translators.m2m(folder, tgt_lang="fr")
    return attach_handle(*made)


def plain(text: str) -> str:
    """A text as these models see it, without its spaces."""
    return "".join(c for c in unicodedata.normalize("NFKC", text) if not c.isspace() and c != "\u200b")


def hold(tokenizer: Any, text: str) -> None:
    found = pieces_of(tokenizer, text)
    assert list(found.ids) == tokenizer(text)["input_ids"]
    spans = [span for span, special in zip(found.spans, found.special, strict=True) if not special]
    # Each token stands for what its piece is made of, by Python's own normaliser. A character that several pieces are
    # made of, such as a ligature, belongs to each of them.
    pieces = [piece.replace("▁", "").replace(" ", "") for piece in tokenizer.tokenize(text)]
    shared = {place for place in range(len(text)) if sum(start <= place < end for start, end in spans) > 1}
    assert all(len(plain(text[place])) > 1 for place in shared)
    for (start, end), piece in zip(spans, pieces, strict=True):
        seen = plain(text[start:end])
        assert piece in seen if shared & {*range(start, end)} else piece == seen, (piece, start, end)
        assert bool(piece) == bool(seen)
    # All of them together are the text, in order, and only what no one sees is left out.
    assert "".join(pieces) == plain(text)
    assert {place for start, end in spans for place in range(start, end)} >= {
        place for place in range(len(text)) if plain(text[place])
    }
    assert spans == sorted(spans)


@pytest.mark.parametrize("text", [*TEXTS, *HARD, ""])
def test_tokens_stand_for_the_characters_they_are_made_of(handle: Handle, text: str) -> None:
    hold(handle.tokenizer, text)


@settings(max_examples=150, deadline=None)
@given(text=st.lists(st.sampled_from(LETTERS), max_size=30).map("".join))
def test_so_they_do_in_any_text(handle: Handle, text: str) -> None:
    hold(handle.tokenizer, text)


def test_words_and_units(handle: Handle) -> None:
    (encoded,) = encode(handle, ["The \ufb01lm  was good"])
    words = ["", "", "", ""]
    for place, word in enumerate(encoded.word_index):
        start, end = encoded.char_spans[place]
        if word >= 0:
            words[word] += encoded.text[start:end]
    assert words == ["The", "\ufb01lm", "was", "good"]
    (cut,) = encode(handle, [" ".join(["good"] * 80)])
    assert len(cut.ids) == handle.max_length
    assert cut.n_truncated == len(handle.tokenizer(cut.text)["input_ids"]) - handle.max_length  # type: ignore[misc]
    assert cut.special[-1]


def test_marian_cuts_what_is_written_with_its_other_model(tmp_path: Path) -> None:
    handle = attach_handle(*translators.marian(tmp_path))
    tokenizer: Any = copy.deepcopy(handle.tokenizer)
    (target,) = encode_targets(handle, ["the film was good"])
    expected = tokenizer(text_target="the film was good")["input_ids"]
    assert list(target.ids) == [handle.decoder_start_id, *expected]
    assert expected != tokenizer("the film was good")["input_ids"]
    assert "".join(target.text[a:b].strip() for a, b in target.char_spans) == "thefilmwasgood"
    # It reads again afterwards.
    assert handle.tokenizer("the film was good")["input_ids"] == tokenizer("the film was good")["input_ids"]  # type: ignore[misc]


def test_the_language_to_translate_to_is_an_order_and_no_word(tmp_path: Path) -> None:
    handle = attach_handle(*translators.marian(tmp_path))
    (known,) = encode(handle, [">>fra<< the film"])
    assert known.tokens == (">>fra<<", "▁the", "▁film", "</s>")
    assert known.special == (True, False, False, True)
    assert [known.text[a:b] for a, b in known.char_spans[1:3]] == ["the", "film"]
    (unknown,) = encode(handle, [">>xyz<< the film"])
    assert unknown.special == (False, False, False, True)
    assert unknown.text[slice(*unknown.char_spans[0])] == ">>xyz<<"


def test_what_is_not_known_is_refused(handle: Handle) -> None:
    with pytest.raises(UsageError, match=r"cuts it into \d+ tokens other than the \d+ pieces .* such as </s>"):
        encode(handle, ["the </s> film"])
    with pytest.raises(UsageError, match="one text at a time, not of pairs"):
        encode(handle, [("the film", "was good")])

    class Slow:
        is_fast = False
        model_max_length = 64

    with pytest.raises(UsageError, match="or one with a SentencePiece model"):
        encode(attach_handle(tiny("bert")[0], Slow()), ["a"])


def test_older_versions_of_sentencepiece_say_it_otherwise(handle: Handle) -> None:
    class Part:
        def __init__(self, piece: str, begin: int, end: int) -> None:
            self.piece, self.begin, self.end = piece, begin, end

    class Older:
        def encode(self, text: str, out_type: Any) -> Any:
            if out_type != "immutable_proto":
                raise RuntimeError(f"unknown out_type={out_type}")
            self.pieces = [Part("▁a", 0, 1), Part("b", 1, 2)]
            return self

    assert sentencepieces._aligned(Older(), "ab") == (["▁a", "b"], [(0, 1), (1, 2)])

    class Oldest:
        def encode(self, text: str, out_type: Any) -> Any:
            raise RuntimeError(f"unknown out_type={out_type}")

    with pytest.raises(UsageError, match=r"install version 0\.2\.0"):
        sentencepieces._aligned(Oldest(), "ab")


def test_the_digest_of_a_tokenizer_knows_its_models(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    first = attach_handle(*translators.m2m(tmp_path / "a"))
    same = attach_handle(*translators.m2m(tmp_path / "b"))
    assert tokenizer_sha256(first) == tokenizer_sha256(same)
    # The same vocabulary, cut in other places.
    vocabulary = tmp_path / "b" / "vocab.json"
    translators.spm(tmp_path / "c.model", translators.SENTENCES[:4])
    other: Any = type(first.tokenizer)(str(vocabulary), str(tmp_path / "c.model"), src_lang="en")
    assert other.get_vocab() == same.tokenizer.get_vocab()  # type: ignore[union-attr]
    assert tokenizer_sha256(attach_handle(same.model, other)) != tokenizer_sha256(same)
