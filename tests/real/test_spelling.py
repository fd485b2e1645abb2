"""Every word of real corpora is spelt by its tokens, whatever kind of tokenizer cut them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from interpret.analyzers.probing.features import Items, make_items
from interpret.facade import AttachedModel
from interpret.readers.conllu import read_conllu
from interpret.readers.probe_data import ProbeData
from interpret.readers.squad import read_squad
from tests import spelling
from tests.real.conftest import there

_SENTENCES = 800


def words_of(shared: Path, name: str) -> list[Sequence[str]]:
    if name == "xquad_zh":
        path = there(shared / "data" / "xquad" / "xquad.zh.json", shared)
        contexts = sorted({one.context for one in read_squad(path)})
        # Chinese is not cut by spaces: every ideograph is a word, what stands between them too.
        return [characters(context) for context in contexts]
    path = there(shared / "data" / name / "dev.conllu", shared)
    return [sentence.words for sentence in read_conllu(path)]


def characters(text: str) -> list[str]:
    spaced = "".join(f" {c} " if "\u4e00" <= c <= "\u9fff" else c for c in text)
    return spaced.split()


@pytest.mark.parametrize("corpus", ["ud_en_ewt", "ud_zh_gsdsimp", "xquad_zh"])
@pytest.mark.parametrize("kind", spelling.TRAINED)
def test_the_words_of_a_corpus_are_spelt_by_their_tokens(
    minilm: AttachedModel, shared: Path, corpus: str, kind: str
) -> None:
    sentences = words_of(shared, corpus)
    # Trained on the first quarter only, so that words come apart and unknown characters come up.
    tokenizer = spelling.TRAINED[kind]((" ".join(words) for words in sentences[: len(sentences) // 4]), 6000)
    handle = replace(minilm.handle, tokenizer=tokenizer, max_length=512 if corpus == "xquad_zh" else 60)
    chosen = sentences[:: max(1, len(sentences) // _SENTENCES)]
    data = ProbeData.of_words(chosen, [["X"] * len(words) for words in chosen])
    items = make_items(handle, data)
    n_spelt = spelling.check(kind, tokenizer, chosen, items)
    assert len(items) + items.n_truncated_words + items.n_without_tokens == data.n_items
    assert items.n_sharing_tokens == 0
    assert_dropped_by_the_tokenizer(items, chosen, tokenizer)
    assert n_spelt == len(items) if kind != "wordpiece" else n_spelt > len(items) / 2
    cut = {s for s, row in enumerate(items.encoded) if row.n_truncated}
    assert (items.n_truncated_words > 0) == bool(cut)


@pytest.mark.parametrize("corpus", ["ud_en_ewt", "ud_zh_gsdsimp", "xquad_zh"])
@pytest.mark.parametrize("model", ["minilm", "waimai", "stories"])
def test_so_they_are_with_the_tokenizers_of_real_models(
    request: pytest.FixtureRequest, shared: Path, corpus: str, model: str
) -> None:
    handle = request.getfixturevalue(model).handle
    kind = "sentencepiece_bpe" if model == "stories" else "wordpiece"
    sentences = words_of(shared, corpus)
    data = ProbeData.of_words(sentences, [["X"] * len(words) for words in sentences])
    items = make_items(handle, data)
    n_spelt = spelling.check(kind, handle.tokenizer, sentences, items)
    assert len(items) + items.n_truncated_words + items.n_without_tokens == data.n_items
    assert items.n_sharing_tokens == 0
    assert_dropped_by_the_tokenizer(items, sentences, handle.tokenizer)
    # An English vocabulary names a third of Chinese words, a Chinese one a sixth of English words; bytes name all.
    assert n_spelt == len(items) if model == "stories" else n_spelt > len(items) / 8


@pytest.mark.parametrize("kind", spelling.TRAINED)
def test_answers_in_chinese_texts_are_spelt_by_the_tokens_of_their_spans(
    minilm: AttachedModel, shared: Path, kind: str
) -> None:
    questions = read_squad(there(shared / "data" / "xquad" / "xquad.zh.json", shared))
    found: dict[str, list[str]] = {}
    for one in questions[::2]:
        if one.answers[0] in one.context:
            found.setdefault(one.context, []).append(one.answers[0])
    texts = list(found)
    spans = [[(text.index(answer), text.index(answer) + len(answer)) for answer in found[text]] for text in texts]
    tokenizer = spelling.TRAINED[kind](texts[: len(texts) // 4], 6000)
    handle = replace(minilm.handle, tokenizer=tokenizer, max_length=400)
    data = ProbeData.of_spans(texts, spans, [["X"] * len(row) for row in spans])
    items = make_items(handle, data)
    assert len(items) + items.n_truncated_words == data.n_items
    assert items.n_truncated_words > 0
    assert len(items) > 100
    n_spelt = n_more = 0
    for item, (s, w) in enumerate(zip(items.sentence.tolist(), items.place.tolist(), strict=True)):
        segment = items.segments[s]
        own = segment.position[segment.item == item].tolist()
        written = spelling.spelt_bytes(kind, [items.encoded[s].tokens[p] for p in own])
        if written is None:
            continue
        answer = spelling.normal(tokenizer, found[texts[s]][w]).encode()
        bare = written.replace("▁".encode(), b"").replace(b" ", b"")
        assert answer in bare, found[texts[s]][w]
        n_spelt += 1
        n_more += len(bare) > len(answer)
    assert n_spelt == len(items) if kind != "wordpiece" else n_spelt > len(items) / 2
    # What the tokens hold beyond the answer is counted; WordPiece lets no token of these texts run over an ideograph.
    assert n_more == items.n_sharing_tokens if kind != "wordpiece" else n_more <= items.n_sharing_tokens


def assert_dropped_by_the_tokenizer(items: Items, sentences: list[Sequence[str]], tokenizer: Any) -> None:
    """A word is left out where it was cut off, and else only where the normaliser makes nothing of it."""
    kept = set(zip(items.sentence.tolist(), items.place.tolist(), strict=True))
    gone = [
        word
        for s, words in enumerate(sentences)
        for w, word in enumerate(words)
        if (s, w) not in kept and w not in items.encoded[s].words_cut
    ]
    assert len(gone) == items.n_without_tokens
    assert not [word for word in gone if spelling.normal(tokenizer, word)]
