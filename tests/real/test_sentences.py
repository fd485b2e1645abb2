"""Sentence boundaries on the sentences of two treebanks, laid end to end again as their documents had them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from interpret.facade import AttachedModel
from interpret.models.inputs import encode
from interpret.models.sentences import sentence_spans
from tests.real.conftest import there

_ENDED = re.compile(r"[.!?。！？][\"'”’)」』]*$")


def documents(path: Path) -> list[list[str]]:
    """The texts of the sentences of each document; a treebank that names none is one."""
    found: list[list[str]] = [[]]
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# newdoc") and found[-1]:
            found.append([])
        if line.startswith("# text = "):
            found[-1].append(line.removeprefix("# text = "))
    return found


@pytest.mark.parametrize(
    ("treebank", "between", "precision", "recall"),
    [("ud_en_ewt", " ", 0.97, 0.98), ("ud_zh_gsdsimp", "", 0.99, 0.99)],
)
def test_boundaries_are_those_of_the_treebank(
    shared: Path, treebank: str, between: str, precision: float, recall: float
) -> None:
    hits = n_found = n_ended = hits_ended = 0
    for sentences in documents(there(shared / "data" / treebank / "dev.conllu", shared)):
        text = between.join(sentences)
        spans = sentence_spans(text)
        inside = [position for start, end in spans for position in range(start, end)]
        assert inside == sorted(set(inside))
        assert {p for p in inside if not text[p].isspace()} == {p for p, c in enumerate(text) if not c.isspace()}
        gold, end = set(), 0
        for sentence in sentences:
            end += len(sentence)
            gold.add(end)
            end += len(between)
        ended = {e for e in gold if _ENDED.search(text[max(0, e - 5) : e])}
        found = {e for _, e in spans}
        hits += len(found & gold)
        n_found += len(found)
        # Headlines and lists end without a mark, and in one line nobody can tell where.
        hits_ended += len(found & ended)
        n_ended += len(ended)
    assert n_ended > 400
    assert hits / n_found > precision
    assert hits_ended / n_ended > recall


def test_every_token_is_in_one_sentence(minilm: AttachedModel, waimai: AttachedModel, shared: Path) -> None:
    for lm, treebank, between in ((minilm, "ud_en_ewt", " "), (waimai, "ud_zh_gsdsimp", "")):
        sentences = documents(there(shared / "data" / treebank / "dev.conllu", shared))
        flat = [sentence for document in sentences for sentence in document]
        texts = [between.join(flat[i : i + 4]) for i in range(0, 400, 4)]
        n_several = 0
        for encoded in encode(lm.handle, texts, unit="sentence"):
            index = [i for i, special in zip(encoded.word_index, encoded.special, strict=True) if not special]
            assert index == sorted(index)
            assert sorted(set(index)) == list(range(encoded.n_words))
            n_several += encoded.n_words > 1
        assert n_several > 60


def test_sentences_are_explained(minilm: AttachedModel) -> None:
    text = "The camera work is fine. The story, however, is a dull and painful mess! I saw it on Monday."
    found = minilm.attribute(text, target="negative", method="shap", unit="sentence", quality=False)[0]
    words = found.words()
    assert [w.word for w in words] == ["The camera work is fine.", "The story, however, is a dull and painful mess!",
                                       "I saw it on Monday."]  # fmt: skip
    assert max(words, key=lambda w: w.score) == words[1]
