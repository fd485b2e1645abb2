"""Attributions written down without a model: words, scores, predictions and labels of many texts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from interpret.results.explanations import Attribution

LABELS = ("no", "yes")


@dataclass(frozen=True)
class Made:
    attribution: Attribution
    gold: list[str]
    predicted: list[str]

    def take(self, order: list[int]) -> Made:
        return Made(
            replace(self.attribution, examples=tuple(self.attribution[i] for i in order)),
            [self.gold[i] for i in order],
            [self.predicted[i] for i in order],
        )


def attributed(texts: list[list[str]], scores: list[list[float]], predicted: list[str], gold: list[str]) -> Made:
    """Scores are towards the predicted class."""
    whole = Attribution.from_scores([" ".join(t) for t in texts], texts, scores, target=predicted, method="made")
    examples = tuple(replace(e, target=replace(e.target, chosen="predicted")) for e in whole)
    return Made(replace(whole, examples=examples), gold, predicted)


def noise(seed: int, n: int = 80, n_words: int = 40, accuracy: float = 0.8) -> Made:
    """Words, labels, errors and scores that have nothing to do with each other; frequencies fall off as in language."""
    rng = np.random.default_rng(seed)
    vocabulary = [f"w{i}" for i in range(n_words)]
    often = 1.0 / np.arange(1, n_words + 1)
    texts, scores = [], []
    for _ in range(n):
        # No word twice in a text: one that stands in several places does take more of the attribution.
        words = rng.choice(vocabulary, size=int(rng.integers(4, 12)), p=often / often.sum(), replace=False)
        texts.append(words.tolist())
        scores.append(rng.standard_t(4, size=len(words)).tolist())
    gold = rng.integers(2, size=n)
    predicted = np.where(rng.random(n) < accuracy, gold, 1 - gold)
    return attributed(texts, scores, [LABELS[c] for c in predicted], [LABELS[c] for c in gold])


def planted(seed: int, n: int = 250, share: float = 0.25) -> Made:
    """As `noise`, but "zork" makes the prediction "yes" and takes most of the attribution; labels do not care."""
    rng = np.random.default_rng([seed, 1])
    plain = noise(seed, n, accuracy=0.9)
    texts, scores, predicted = [], [], []
    for example, label in zip(plain.attribution, plain.predicted, strict=True):
        words, values = list(example.tokens), example.scores.tolist()
        if rng.random() < share:
            place = int(rng.integers(len(words) + 1))
            words.insert(place, "zork")
            values.insert(place, float(6 + rng.random()))
            label = "yes"
        texts.append(words)
        scores.append(values)
        predicted.append(label)
    return attributed(texts, scores, predicted, plain.gold)
