"""The tokens of a word spell the word, and its features are the mean over exactly those tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.analyzers.probing.features import (
    FeatureStore,
    fill,
    make_items,
    probe_keys,
    word_positions,
)
from interpret.errors import UsageError
from interpret.models.inputs import encode_words
from interpret.models.load import attach_handle
from interpret.readers.probe_data import ProbeData
from tests.tiny import N_POSITIONS, WORDS, tiny

SITES = ("embed", "resid_post")


@pytest.fixture(scope="module")
def handles() -> dict[str, Any]:
    return {
        family: attach_handle(*tiny(family, task))
        for family, task in (("bert", "masked-lm"), ("roberta", "masked-lm"), ("gpt2", "causal-lm"))
    }


#: Letters, digits, marks on letters, symbols and ideographs; no separators and no control characters.
word = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=8)


@settings(max_examples=80, deadline=None)
@given(words=st.lists(word, min_size=1, max_size=6))
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_the_characters_of_a_words_tokens_are_the_word(handles: dict[str, Any], family: str, words: list[str]) -> None:
    (row,) = encode_words(handles[family], [words])
    groups = word_positions(row, words)
    starts = np.cumsum([0, *(len(w) + 1 for w in words)])
    for index, positions in groups.items():
        covered = sorted({c for p in positions for c in range(*row.char_spans[p]) if row.text[c] != " "})
        own = range(starts[index], starts[index] + len(words[index]))
        assert set(covered) <= set(own)
        if row.n_truncated == 0 and family != "bert":
            assert "".join(row.text[c] for c in covered) == words[index]
        elif index not in row.words_cut and words[index].isascii():
            assert "".join(row.text[c] for c in covered) == words[index]
    assert all(not row.special[p] for positions in groups.values() for p in positions)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_features_are_means_over_the_words_tokens(handles: dict[str, Any], family: str) -> None:
    handle = handles[family]
    data = ProbeData.of_words(
        [["unknownish", "film"], ["the", "cat", "zzz", "ate"]], [["A", None], ["B", None, "A", "B"]]
    )
    items = make_items(handle, data)
    assert items.form == ("unknownish", "the", "zzz", "ate")
    with FeatureStore(len(items), 3) as store:
        fill(store, handle, items, SITES)
        found = {key: array.copy() for key, array in store.arrays.items()}
    for item, s in enumerate(items.sentence.tolist()):
        row = items.encoded[s]
        ids = torch.tensor([row.ids])
        with torch.no_grad():
            hidden = handle.model(input_ids=ids, output_hidden_states=True).hidden_states
        w = data.sentences[s].index(items.form[item])
        positions = word_positions(row, data.sentences[s])[w]
        expected = hidden[1][0, positions].mean(dim=0).numpy()
        np.testing.assert_allclose(found["resid_post", 0][item], expected, atol=2e-5)
        np.testing.assert_allclose(found["embed", None][item], hidden[0][0, positions].mean(dim=0).numpy(), atol=2e-5)


def test_text_features_leave_special_tokens_out(handles: dict[str, Any]) -> None:
    handle = handles["bert"]
    items = make_items(handle, ProbeData.of_texts(["the film was good", ""], ["A", "B"]))
    assert items.label == ("A",)
    assert items.n_without_tokens == 1
    row = items.encoded[0]
    assert items.segments[0].position.tolist() == [p for p, special in enumerate(row.special) if not special]


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_words_that_do_not_fit_are_dropped_and_counted(handles: dict[str, Any], family: str) -> None:
    handle = handles[family]
    sentence = ["xyzzyqwk"] * 20
    items = make_items(handle, ProbeData.of_words([sentence], [["A"] * 20]))
    (row,) = items.encoded
    assert len(row.ids) == N_POSITIONS
    assert len(items) + items.n_truncated_words == 20
    groups = word_positions(row, sentence)
    whole = set(groups) - set(row.words_cut)
    # The first word may have a token less, where others begin with one for the space.
    n_tokens = len(groups[1])
    assert len(items) == len(whole) == sum(w == 0 or len(groups[w]) == n_tokens for w in groups)
    assert 1 < len(whole) < 20


def test_features_beyond_the_memory_limit_lie_on_disk_and_go_away(handles: dict[str, Any]) -> None:
    handle = handles["bert"]
    data = ProbeData.of_words([WORDS[:8]] * 3, [["A"] * 8] * 3)
    items = make_items(handle, data)
    with FeatureStore(len(items), 3) as memory, FeatureStore(len(items), 3, max_bytes=0) as disk:
        for store in (memory, disk):
            fill(store, handle, items, SITES)
        assert isinstance(disk.arrays["embed", None], np.memmap)
        folder = disk._folder
        assert isinstance(folder, Path)
        assert folder.is_dir()
        for key in probe_keys(handle, SITES):
            np.testing.assert_array_equal(memory.standardise(key, 16), disk.standardise(key, 16))
        X = memory.arrays["resid_post", 1][:16].astype(np.float64)
        np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(X.std(axis=0), 1, atol=1e-5)
    assert not folder.exists()


def test_sites_without_a_vector_per_token_are_refused(handles: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"cannot probe attn_pattern.*resid_post"):
        probe_keys(handles["bert"], ["attn_pattern.0"])
    assert probe_keys(handles["bert"], "resid_post") == [("resid_post", 0), ("resid_post", 1)]
    with pytest.raises(UsageError, match="no site was given"):
        probe_keys(handles["bert"], [])
