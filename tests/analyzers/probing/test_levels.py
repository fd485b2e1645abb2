"""Spans and pairs: their features against plain transformers, their baselines against scikit-learn, planted signals."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interpret.analyzers.probing.cells import digest_of_parts
from interpret.analyzers.probing.features import FeatureStore, fill, make_items
from interpret.analyzers.probing.parts import make_parts
from interpret.analyzers.probing.ridge import choose, moments, ridge_path
from interpret.analyzers.probing.run import probe
from interpret.analyzers.probing.surface import word_features
from interpret.errors import UsageError
from interpret.models.load import attach_handle
from interpret.readers.probe_data import ProbeData
from interpret.results.probes import ProbeResult
from tests import spelling
from tests.tiny import N_POSITIONS, TEXTS, WORDS, tiny

LONG = [word for word in WORDS if len(word) > 2]


@pytest.fixture(scope="module")
def bert() -> Any:
    return attach_handle(*tiny("bert", "masked-lm"))


def features(handle: Any, data: ProbeData) -> tuple[Any, dict[Any, Any]]:
    items = make_items(handle, data)
    with FeatureStore(len(items), 3) as store:
        fill(store, handle, items, ("embed", "resid_post"))
        n = len(items)
        scaled = {
            key: store.standardise(key, n) * store.scaling[key][1] + store.scaling[key][0] for key in store.arrays
        }
    return items, scaled


def hidden(handle: Any, text: str, layer: int) -> tuple[Any, list[tuple[int, int]]]:
    """Plain transformers: hidden states [position, d] and offsets."""
    batch = handle.tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    offsets = [tuple(pair) for pair in batch.pop("offset_mapping")[0].tolist()]
    with torch.no_grad():
        return handle.model(**batch, output_hidden_states=True).hidden_states[layer][0].numpy(), offsets


def mean_over(states: Any, offsets: list[tuple[int, int]], start: int, end: int) -> Any:
    own = [p for p, (a, b) in enumerate(offsets) if a < end and b > start]
    return states[own].mean(axis=0)


def test_a_span_is_the_mean_over_its_tokens_and_a_pair_of_spans_both(bert: Any) -> None:
    texts = ["the happy cat ate unknownish fish", "she said the end"]
    one = ProbeData.of_spans(texts, [[(4, 13), (18, 28)], [(0, 3)]], [["A", "B"], ["A"]])
    two = ProbeData.of_spans(texts, [[((4, 13), (18, 28))], [((9, 16), (0, 3))]], [["A"], ["B"]])
    for layer, key in ((0, ("embed", None)), (1, ("resid_post", 0)), (2, ("resid_post", 1))):
        states = [hidden(bert, text, layer) for text in texts]
        items, found = features(bert, one)
        assert (items.form, items.place.tolist()) == (("happy cat", "unknownish", "she"), [0, 1, 0])
        expected = [mean_over(*states[0], 4, 13), mean_over(*states[0], 18, 28), mean_over(*states[1], 0, 3)]
        np.testing.assert_allclose(found[key], np.stack(expected), atol=5e-5)
        items, found = features(bert, two)
        assert items.form == ("happy cat\nunknownish", "the end\nshe")
        second = np.concatenate([mean_over(*states[1], 9, 16), expected[2]])
        np.testing.assert_allclose(found[key], np.stack([np.concatenate(expected[:2]), second]), atol=5e-5)


def test_a_pair_of_texts_is_both_their_difference_and_their_product(bert: Any) -> None:
    firsts, seconds = ["the happy cat", "bad", "never"], ["she said the story", "a fish", "the end of it"]
    items, found = features(bert, ProbeData.of_texts(firsts, ["A", "B", "A"], seconds=seconds))
    assert items.form == ("", "", "")
    for layer, key in ((0, ("embed", None)), (2, ("resid_post", 1))):
        for row, (first, second) in enumerate(zip(firsts, seconds, strict=True)):
            u, v = (hidden(bert, text, layer)[0][1:-1].mean(axis=0) for text in (first, second))
            expected = np.concatenate([u, v, np.abs(u - v), u * v])
            np.testing.assert_allclose(found[key][row], expected, atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_word_as_a_span_has_the_features_of_the_word(family: str) -> None:
    handle = attach_handle(*tiny(family, "masked-lm" if family == "bert" else "causal-lm"))
    words = [text.split() for text in TEXTS]
    spans = []
    for row in words:
        starts = np.cumsum([0, *(len(word) + 1 for word in row)]).tolist()
        spans.append([(start, start + len(word)) for start, word in zip(starts, row, strict=False)])
    labels = [["x"] * len(row) for row in words]
    _, by_word = features(handle, ProbeData.of_words(words, labels))
    _, by_span = features(handle, ProbeData.of_spans([" ".join(row) for row in words], spans, labels))
    for key, array in by_word.items():
        np.testing.assert_allclose(by_span[key], array, atol=1e-6)


@pytest.fixture(scope="module")
def unigram() -> spelling.PreTrainedTokenizerFast:
    return spelling.unigram([*TEXTS, "黑豹队的防守只丢了308分", "👩‍👩‍👧 is a family"] * 20, 400)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_a_spans_tokens_are_those_with_a_character_of_it(
    bert: Any, unigram: spelling.PreTrainedTokenizerFast, data: Any
) -> None:
    max_length = data.draw(st.sampled_from([5, 9, 1000]))
    text = data.draw(st.text("黑豹队防守的 abcdthe👩\u200d👧é", min_size=1, max_size=24).filter(str.strip))
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    if not text[start:end].strip():
        return
    handle = replace(bert, tokenizer=unigram, max_length=max_length)
    items = make_items(handle, ProbeData.of_spans([text], [[(start, end)]], [["X"]]))
    offsets = unigram(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    hit = [
        p
        for p, ((a, b), special) in enumerate(
            zip(offsets["offset_mapping"], offsets["special_tokens_mask"], strict=True)
        )
        if not special and any(not text[c].isspace() for c in range(max(a, start), min(b, end)))
    ]
    n_kept = min(len(offsets["input_ids"]), max_length)
    if any(p >= n_kept - 1 for p in hit):
        assert (len(items), items.n_truncated_words) == (0, 1)
    elif hit:
        own = [p for p in items.segments[0].position.tolist() if text[slice(*offsets["offset_mapping"][p])].strip()]
        assert own == hit
        outside = "".join(text[c] for p in hit for c in range(*offsets["offset_mapping"][p]) if not start <= c < end)
        assert items.n_sharing_tokens == bool(outside.strip())
    else:
        assert (len(items), items.n_without_tokens) == (0, 1)


def test_spans_that_are_cut_are_dropped_and_counted(bert: Any) -> None:
    text = " ".join(["xyzzyqwk"] * 20)
    spans = [(9 * i, 9 * i + 8) for i in range(20)]
    items = make_items(bert, ProbeData.of_spans([text], [spans], [["A"] * 20]))
    assert len(items.encoded[0].ids) == N_POSITIONS
    assert len(items) + items.n_truncated_words == 20
    # Each is eight word pieces, and two positions are [CLS] and [SEP].
    assert len(items) == (N_POSITIONS - 2) // 8


def sampled(n: int, seed: int = 0) -> list[list[str]]:
    rng = random.Random(seed)
    return [rng.choices(LONG, k=rng.randint(4, 7)) for _ in range(n)]


def value(result: ProbeResult, kind: str, metric: str = "accuracy", site: str = "embed") -> float:
    (found,) = [row for row in result.rows if (row.probe, row.metric, row.site) == (kind, metric, site)]
    assert found.value is not None
    return found.value


def test_a_planted_label_of_pairs_of_spans_is_found_and_the_control_is_by_tuple(bert: Any) -> None:
    rows = sampled(400)
    half = set(LONG[::2])
    texts, spans, labels = [], [], []
    for row in rows:
        starts = np.cumsum([0, *(len(word) + 1 for word in row)]).tolist()
        places = [(start, start + len(word)) for start, word in zip(starts, row, strict=False)]
        texts.append(" ".join(row))
        spans.append([(places[0], places[2]), (places[3], places[1])])
        labels.append(["yes" if row[i] in half else "no" for i in (0, 3)])
    data = ProbeData.of_spans(texts, spans, labels)
    result = probe(bert, data, sites="embed", n_bootstrap=50, progress=False)
    assert (result.level, result.control) == ("pair", "type_tuple")
    assert value(result, "ridge") > 0.97
    assert value(result, "type", site="none") < 0.9
    assert value(result, "control") < 0.75
    assert {note.code for note in result.notes} >= {"probe_mean_pooling_spans", "probe_form_overlap"}
    parts = make_parts(bert, data, None, 0, 2)
    for control in parts.labels[1:]:
        seen: dict[str, int] = {}
        assert all(seen.setdefault(form, int(c)) == c for form, c in zip(parts.items.form, control, strict=True))
    assert len(set(parts.items.form)) < len(parts.items)


def test_whether_two_texts_say_the_same_is_found_where_a_bag_of_words_finds_nothing(bert: Any) -> None:
    rng = random.Random(1)
    firsts, seconds, labels = [], [], []
    for row in sampled(700, seed=2):
        same = rng.random() < 0.5
        other = rng.sample(row, len(row)) if same else rng.choices(LONG, k=len(row))
        firsts.append(" ".join(row))
        seconds.append(" ".join(other))
        labels.append("same" if same else "different")
    data = ProbeData.of_texts(firsts, labels, seconds=seconds)
    result = probe(bert, data, sites="embed", n_bootstrap=100, progress=False)
    assert (result.level, result.control, result.type_overlap) == ("pair", "permuted_labels", None)
    bag = value(result, "bag_of_words", site="none")
    assert value(result, "ridge") > bag + 0.15
    assert bag < 0.65
    (test,) = [t for t in result.tests if t.probe == "ridge" and t.against == "bag_of_words"]
    assert test.ci_low > 0
    assert test.p_holm < 0.05
    assert abs(value(result, "control") - 0.5) < 0.1


def test_the_bag_of_words_is_scikit_learns(bert: Any) -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import Ridge

    texts = [" ".join(row) for row in sampled(300)]
    labels = ["yes" if "cat" in text or "happy" in text else "no" for text in texts]
    data = ProbeData.of_texts(texts, labels)
    parts = make_parts(bert, data, None, 0, 1)
    with word_features(parts) as (vocabulary, X):
        read = [parts.items.encoded[s].text for s in parts.items.sentence.tolist()]
        counts = (
            CountVectorizer(binary=True, vocabulary=list(vocabulary), token_pattern=r"\S+").transform(read).toarray()
        )
        fitted = CountVectorizer(binary=True, min_df=2, token_pattern=r"\S+").fit(read[: parts.n_fit])
        assert set(vocabulary) == set(fitted.get_feature_names_out())
        train = counts[: parts.n_train]
        np.testing.assert_allclose(X, (counts - train.mean(0)) / train.std(0), atol=1e-5)
        gold, n = parts.labels[:1], parts.n_fit
        fit, held = slice(0, parts.n_train), slice(parts.n_train, n)
        sums = moments(X[fit], gold[:, fit], 2)
        (lam,) = choose(ridge_path(sums).accuracies(X[held], gold[:, held]))
        path = ridge_path(sums + moments(X[held], gold[:, held], 2))
        oracle = Ridge(alpha=lam * path.scale * n).fit(X[:n].astype(np.float64), np.eye(2)[gold[0, :n]])
        expected = oracle.predict(X[parts.test].astype(np.float64)).argmax(1) == gold[0, parts.test]
    result = probe(bert, data, sites="embed", n_control=1, n_bootstrap=50, progress=False)
    assert value(result, "bag_of_words", site="none") == pytest.approx(expected.mean(), abs=1e-9)
    assert expected.mean() > 0.97
    assert result.control == "permuted_labels"


def test_a_group_is_what_intervals_resample(bert: Any) -> None:
    rows = sampled(300)
    texts = [" ".join(row) for row in rows]
    labels = ["yes" if row[0] in set(LONG[::2]) else "no" for row in rows]
    plain = ProbeData.of_texts(texts, labels)
    grouped = replace(plain, groups=tuple(f"g{i // 6}" for i in range(len(texts))))
    result = probe(bert, grouped, sites="embed", n_bootstrap=50, progress=False)
    assert result.cluster == "group"
    assert 8 <= result.n_clusters_test <= 12
    assert probe(bert, plain, sites="embed", n_bootstrap=50, progress=False).cluster == "sentence"
    train, test = plain.take(range(200)), plain.take(range(200, 300))
    leaking = probe(
        bert,
        replace(train, groups=tuple(f"a{i // 10}" for i in range(190)) + ("b",) * 10),
        replace(test, groups=("b",) * 10 + tuple(f"c{i}" for i in range(90))),
        sites="embed",
        n_bootstrap=50,
        progress=False,
    )
    notes = {note.code: dict(note.params) for note in leaking.notes}
    assert notes["probe_shared_groups"] == {"n": 1, "n_test": 91, "example": "b"}


def test_rows_for_validation_are_those_the_penalty_is_chosen_on(bert: Any) -> None:
    texts = [" ".join(row) for row in sampled(300)]
    labels = ["yes" if "cat" in text else "no" for text in texts]
    data = ProbeData.of_texts(texts, labels)
    train = replace(data.take(range(220)), splits=("train",) * 180 + ("validation",) * 40)
    parts = make_parts(bert, train, data.take(range(220, 300)), 0, 1)
    read = [parts.items.encoded[s].text for s in parts.items.sentence.tolist()]
    assert (parts.n_train, parts.n_fit) == (180, 220)
    assert sorted(read[180:220]) == sorted(texts[180:220])
    assert read[220:] == texts[220:]


def test_erasure_says_which_levels_it_works_on(bert: Any) -> None:
    from interpret.analyzers.probing.erasure import erasure

    data = ProbeData.of_spans(["the cat"], [[(0, 3)]], [["X"]])
    with pytest.raises(UsageError, match="is labelled by span; bring labels of words or of texts"):
        erasure(bert, data, site="resid_post.0")


def test_the_digest_of_a_run_depends_on_where_the_spans_are(bert: Any) -> None:
    texts = [" ".join(row) for row in sampled(300)]
    labels = [["yes" if len(text) % 2 else "no"] for text in texts]
    found = set()
    for length in (1, 2, 2):
        data = ProbeData.of_spans(texts, [[(0, len(" ".join(text.split()[:length])))] for text in texts], labels)
        found.add(digest_of_parts(make_parts(bert, data, None, 0, 1)))
    assert len(found) == 2
