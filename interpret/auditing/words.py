"""What the model uses over a whole data set: words ranked by their mean attribution."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from interpret.results.audits import WordImportance
from interpret.results.explanations import Attribution, ExampleAttribution
from interpret.statistics.intervals import student

#: A word must stand in so many examples of a class before anything is said of it.
MIN_EXAMPLES = 5


def _by_word(example: ExampleAttribution) -> dict[str, tuple[float, int]]:
    """Word type -> (score summed over its places, rank of that sum) in one example; rank 1 is the highest."""
    sums: dict[str, float] = defaultdict(float)
    for word in example.words():
        if any(c.isalnum() for c in word.word):
            sums[word.word.casefold()] += word.score
    order = sorted(sums, key=lambda word: (-sums[word], word))
    return {word: (sums[word], rank) for rank, word in enumerate(order, start=1)}


def important_words(attribution: Attribution, *, top: int) -> tuple[WordImportance, ...]:
    """The words with the highest mean score for each explained class.

    A word must stand in at least five examples of the class; its mean is over those. Words are case-folded, and a
    word that stands twice in one example counts once, with the sum of its scores. The words are chosen by the very
    scores that are shown, so their t intervals are Bonferroni-adjusted over all words of the class that could have
    been chosen: one whose interval lies above 0 is not there by selection alone.
    """
    seen: dict[str, dict[str, list[tuple[float, int]]]] = defaultdict(lambda: defaultdict(list))
    for example in attribution:
        for word, found in _by_word(example).items():
            seen[example.target.label or ""][word].append(found)
    out: list[WordImportance] = []
    for label, words in sorted(seen.items()):
        common = {word: found for word, found in words.items() if len(found) >= MIN_EXAMPLES}
        scores = {word: np.array([score for score, _ in found]) for word, found in common.items()}
        for word in sorted(scores, key=lambda w: (-float(scores[w].mean()), w))[:top]:
            mean, low, high = student(scores[word], 1 - 0.05 / len(scores))
            out.append(
                WordImportance(
                    word=word,
                    label=label,
                    n=len(scores[word]),
                    mean_score=mean,
                    ci_low=low,
                    ci_high=high,
                    mean_rank=float(np.mean([rank for _, rank in words[word]])),
                )
            )
    return tuple(out)
