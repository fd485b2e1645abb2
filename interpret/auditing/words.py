"""What the model uses over a whole data set: words ranked by their mean attribution."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from interpret.results.audits import WordImportance
from interpret.results.explanations import Attribution, ExampleAttribution


def _by_word(example: ExampleAttribution) -> dict[str, tuple[float, float]]:
    """Word type -> (summed score, best rank) in one example; rank 1 is the highest score."""
    words = [w for w in example.words() if any(c.isalnum() for c in w.word)]
    order = sorted(range(len(words)), key=lambda i: -words[i].score)
    rank = {i: place + 1 for place, i in enumerate(order)}
    out: dict[str, tuple[float, float]] = {}
    for i, word in enumerate(words):
        score, best = out.get(word.word.casefold(), (0.0, float("inf")))
        out[word.word.casefold()] = (score + word.score, min(best, float(rank[i])))
    return out


def important_words(
    attribution: Attribution, *, top: int, seed: int, n_bootstrap: int, minimum: int = 3
) -> tuple[WordImportance, ...]:
    """The words with the highest mean score for each explained class, with bootstrap intervals over examples.

    A word must stand in at least `minimum` examples of the class; its mean is over those examples. Words are
    case-folded; a word that stands twice in one example counts once, with the sum of its scores.
    """
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    ranks: dict[tuple[str, str], list[float]] = defaultdict(list)
    for example in attribution:
        label = example.target.label or ""
        for word, (score, rank) in _by_word(example).items():
            scores[label, word].append(score)
            ranks[label, word].append(rank)
    out: list[WordImportance] = []
    for label in sorted({key[0] for key in scores}):
        words = [w for (of, w), seen in scores.items() if of == label and len(seen) >= minimum]
        words.sort(key=lambda w: (-float(np.mean(scores[label, w])), w))
        for word in words[:top]:
            seen = np.array(scores[label, word])
            low, high = _interval(seen, seed, n_bootstrap)
            out.append(
                WordImportance(
                    word=word,
                    label=label,
                    n=len(seen),
                    mean_score=float(seen.mean()),
                    ci_low=low,
                    ci_high=high,
                    mean_rank=float(np.mean(ranks[label, word])),
                )
            )
    return tuple(out)


def _interval(values: Sequence[float] | np.ndarray, seed: int, n_bootstrap: int) -> tuple[float, float]:
    array = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng([seed, 7, len(array)])
    means = array[rng.integers(0, len(array), size=(n_bootstrap, len(array)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
