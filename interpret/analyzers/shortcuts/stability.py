"""Rankings under resampling of texts: the same formula for the data as they are and for every resample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from interpret.analyzers.shortcuts.association import FloatArray, excess, log_odds
from interpret.analyzers.shortcuts.presence import IntArray, Tally
from interpret.statistics.intervals import resamples

#: Resamples whose counts [resample, word] are held at once.
_CHUNK: Final = 100

#: How often each text is drawn [resample, text] -> what rows are ranked by [resample, row].
Ranking = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class ClassCounts:
    """What the rankings of one class are computed from: sparse matrices [text, word] and vectors [text]."""

    present: Any
    predicted: FloatArray
    towards: Any
    explained: Any
    share: Any
    difference: FloatArray | None

    @classmethod
    def of(cls, tally: Tally, label: int) -> ClassCounts:
        """The counts of class `label`."""
        sign = np.where(tally.explained == label, 1.0, np.where(tally.foil == label, -1.0, 0.0))[tally.text]
        gold = tally.gold
        predicted = (tally.predicted == label).astype(np.float64)
        return cls(
            present=tally.matrix(np.ones(len(tally.text))),
            predicted=predicted,
            towards=tally.matrix(sign * np.sign(tally.score) * tally.share),
            explained=tally.matrix(np.abs(sign)),
            share=tally.matrix(tally.share),
            difference=None if gold is None else predicted - (gold == label),
        )

    def share_towards(self, weights: FloatArray) -> FloatArray:
        """Mean signed part of a text's attribution that the word pushes towards the class [resample, word].

        Over the texts whose explanation is of the class; where there are none, the mean part of either sign.
        """
        explained = weights @ self.explained
        n = weights @ self.present
        unsigned = _ratio(weights @ self.share, n)
        return np.where(explained > 0, _ratio(weights @ self.towards, explained), unsigned)

    def reliance(self, weights: FloatArray) -> FloatArray:
        """Low end of the log odds ratio with the predicted class, times `share_towards`; 0 at the least."""
        n = weights.sum(axis=1, keepdims=True)
        n_class = (weights @ self.predicted)[:, None]
        n_word = weights @ self.present
        odds = log_odds((weights * self.predicted) @ self.present, n_word, n_class, n)
        return np.where(n_word > 0, np.maximum(0.0, odds.low) * np.maximum(0.0, self.share_towards(weights)), 0.0)

    def excess_reliance(self, weights: FloatArray) -> FloatArray:
        """Low end of the excess over the labels, times `share_towards`; 0 at the least."""
        if self.difference is None:
            raise ValueError("the excess over labels needs labels")
        plus, minus = weights * (self.difference > 0), weights * (self.difference < 0)
        n_word = weights @ self.present
        found = excess(
            plus @ self.present,
            minus @ self.present,
            n_word,
            plus.sum(axis=1, keepdims=True),
            minus.sum(axis=1, keepdims=True),
            weights.sum(axis=1, keepdims=True),
        )
        return np.where(n_word > 0, np.maximum(0.0, found.low) * np.maximum(0.0, self.share_towards(weights)), 0.0)


def top_shares(ranking: Ranking, n_texts: int, *, top: int, n_bootstrap: int, seed: int) -> FloatArray:
    """In which share of resamples of the texts each row ranks among the first `top`, and above 0; [row].

    All rows that tie with the last of the first ones are among them.
    """
    draws = resamples(n_texts, n_bootstrap, seed)
    hits: FloatArray | None = None
    for start in range(0, n_bootstrap, _CHUNK):
        values = ranking(counts(draws[start : start + _CHUNK], n_texts))
        k = min(top, values.shape[1])
        least = np.partition(values, -k, axis=1)[:, -k][:, None] if k else np.zeros((len(values), 1))
        among = ((values >= least) & (values > 0)).sum(axis=0).astype(np.float64)
        hits = among if hits is None else hits + among
    assert hits is not None
    return hits / n_bootstrap


def counts(draws: IntArray, n_texts: int) -> FloatArray:
    """How often each text is among the drawn ones [resample, text]."""
    offsets = np.arange(len(draws))[:, None] * n_texts
    found = np.bincount((draws + offsets).ravel(), minlength=len(draws) * n_texts)
    return found.reshape(len(draws), n_texts).astype(np.float64)


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.zeros_like(part, dtype=np.float64), where=whole > 0)
