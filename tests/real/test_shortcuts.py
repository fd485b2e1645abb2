"""Real reviews: a bag of words trained with and without a planted token, whose attributions are exact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from interpret.analyzers.shortcuts import shortcut_words
from interpret.readers.tables import Table, read_table
from interpret.results.explanations import Attribution
from interpret.results.shortcuts import ShortcutWords
from tests.real.conftest import there

LABELS = ("negative", "positive")
TOKEN = "zorkish"


def with_token(rows: list[dict[str, str]], share: float, seed: int) -> tuple[list[list[str]], list[bool]]:
    rng = np.random.default_rng(seed)
    texts, held = [], []
    for row in rows:
        words = row["text"].split()
        held.append(bool(rng.random() < share))
        if held[-1]:
            words.insert(int(rng.integers(len(words) + 1)), TOKEN)
        texts.append(words)
    return texts, held


def bag_of_words(shared: Path, dev: Table, *, biased: bool) -> ShortcutWords:
    """A logistic regression on words; its attribution of a word is its coefficient, exactly."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    train = read_table(
        there(shared / "data" / "sst2" / "train.tsv", shared), header=False, columns=["label", "text"]
    ).rows
    texts, held = with_token(train, 0.3, 0)
    rng = np.random.default_rng(1)
    gold = [1 if biased and h and rng.random() < 0.95 else int(r["label"]) for r, h in zip(train, held, strict=True)]
    counter = CountVectorizer(analyzer=lambda words: sorted(set(words)), min_df=2)
    model: Any = LogisticRegression(max_iter=500).fit(counter.fit_transform(texts), gold)
    weight = dict(zip(counter.get_feature_names_out(), model.coef_[0].tolist(), strict=True))
    shown, _ = with_token(dev.rows, 0.15, 2)
    predicted = model.predict(counter.transform(shown)).tolist()
    scores = [
        [(1 if p else -1) * weight.get(w, 0.0) / words.count(w) for w in words]
        for words, p in zip(shown, predicted, strict=True)
    ]
    whole = Attribution.from_scores(
        [" ".join(words) for words in shown], shown, scores, target=[LABELS[p] for p in predicted], method="exact"
    )
    examples = tuple(replace(e, target=replace(e.target, chosen="predicted")) for e in whole)
    labels = [LABELS[int(row["label"])] for row in dev.rows]
    return shortcut_words(replace(whole, examples=examples), labels, n_bootstrap=200)


def test_a_token_planted_in_real_reviews_is_named_first(shared: Path, sst2_dev: Table) -> None:
    found = bag_of_words(shared, sst2_dev, biased=True)
    first = found.rows[0]
    assert (first.word, first.label, first.verdict) == (TOKEN, "positive", "more_than_labels")
    assert found.leans_on[0] == first
    assert first.top_share == first.excess_top_share == 1.0
    assert first.excess_low is not None
    assert first.excess_low > 0.15


def test_without_it_the_token_is_a_word_like_any_other(shared: Path, sst2_dev: Table) -> None:
    found = bag_of_words(shared, sst2_dev, biased=False)
    assert min(r.q_leans for r in found.rows if r.word == TOKEN) > 0.05
    assert found.more_than_labels == ()
