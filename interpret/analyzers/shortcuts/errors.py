"""Which words stand in wrongly classified texts more than in right ones, and take more of their attribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from interpret.analyzers.shortcuts.association import FloatArray, benjamini_hochberg, fisher, log_odds
from interpret.analyzers.shortcuts.presence import Tally, checked_options, tally
from interpret.analyzers.shortcuts.stability import top_shares
from interpret.errors import UsageError
from interpret.results.explanations import Attribution
from interpret.results.shortcuts import ErrorVerdict, ErrorWord, ErrorWords
from interpret.statistics.multiple import holm


def error_words(
    attribution: Attribution,
    labels: Sequence[int | str],
    predictions: Sequence[int | str] | None = None,
    slices: Sequence[str | None] | None = None,
    *,
    min_count: int = 5,
    alpha: float = 0.05,
    seed: int = 0,
    n_bootstrap: int = 1000,
    top: int = 10,
) -> ErrorWords:
    """Words over-represented in wrongly classified texts, by presence or by attribution.

    A word that goes with errors need not cause them: it may stand in texts that are hard for another reason, and a
    shortcut is found here only where it misleads.

    *Presence*: Fisher's exact test of the word standing in a text and the text being wrong. *Attribution*: among the
    texts that hold the word, a Mann-Whitney test that it takes a larger part of the attribution in the wrong ones.
    Either may name the word, so its p-value is twice the smaller one (Bonferroni); Holm and Benjamini-Hochberg
    corrections over all words are then as in `shortcut_words`. Rows are ranked by the low end of the log odds ratio's
    95% interval times the mean part of the attribution that the word takes in wrong texts.

    Args:
        attribution: of each text.
        labels: gold class of each text by name or index.
        predictions: predicted class of each text; None takes what the attribution explains, if it was predicted.
        slices: slice of each text; each is tested by itself too.
        min_count: texts that must hold a word before it is tested.
        alpha: chance of naming any word wrongly.
        seed: of the resamples.
        n_bootstrap: resamples of the texts for `top_share`; 0 leaves it out.
        top: how many of the first rows count as "among the first" there.

    Raises:
        UsageError: lengths differ, predictions are not known, or labels are not the model's.
        InconclusiveError: no texts.

    Reference: as for `shortcut_words`; the comparison of wrong with right texts by words is that of Wu et al. 2019
    (Errudite, doi 10.18653/v1/P19-1073), here with tests.
    """
    checked_options(min_count, alpha, n_bootstrap, top)
    found = tally(attribution, labels, predictions, slices)
    wrong = _wrong(found)
    rows = _rows(found, None, min_count)
    if rows and n_bootstrap:
        tested = [found.words.index(r.word) for r in rows]
        counts = _Counts(found)

        def strength(weights: FloatArray) -> FloatArray:
            return counts.strength(weights)[:, tested]

        shares = top_shares(strength, found.n_texts, top=top, n_bootstrap=n_bootstrap, seed=seed).tolist()
        rows = [replace(r, top_share=share) for r, share in zip(rows, shares, strict=True)]
    in_slices: list[ErrorWord] = []
    for name in sorted({s for s in found.slices if s is not None}):
        in_slices += _rows(found.part(np.array([s == name for s in found.slices])), name, min_count)
    return ErrorWords(
        rows=(*_corrected(rows, alpha), *_corrected(in_slices, alpha)),
        n_texts=found.n_texts,
        n_wrong=int(wrong.sum()),
        n_tests=len(rows),
        min_count=min_count,
        alpha=alpha,
        n_bootstrap=n_bootstrap,
        top=top,
        seed=seed,
    )


def _wrong(found: Tally) -> FloatArray:
    if found.gold is None:
        raise UsageError("asked which words go with errors, but labels is None; give labels=[...], one class per text")
    return np.asarray(found.predicted != found.gold, dtype=np.float64)


class _Counts:
    """Presence and parts of attribution in wrong texts, as matrices [text, word]."""

    def __init__(self, found: Tally) -> None:
        self.wrong = _wrong(found)
        self.present: Any = found.matrix(np.ones(len(found.text)))
        self.share: Any = found.matrix(found.share)

    def strength(self, weights: FloatArray) -> FloatArray:
        """What rows are ranked by [resample, word]."""
        in_wrong = weights * self.wrong
        n_word, both = weights @ self.present, in_wrong @ self.present
        n_wrong = in_wrong.sum(axis=1, keepdims=True)
        odds = log_odds(both, n_word, n_wrong, weights.sum(axis=1, keepdims=True))
        share = (in_wrong @ self.share) / np.maximum(both, 1.0)
        strength: FloatArray = np.multiply(np.maximum(0.0, odds.low), share)
        return strength


def _rows(found: Tally, cut: str | None, min_count: int) -> list[ErrorWord]:
    from scipy.stats import mannwhitneyu

    n = found.n_texts
    wrong = _wrong(found)
    n_wrong = int(wrong.sum())
    n_word = np.bincount(found.word, minlength=len(found.words))
    both = np.bincount(found.word, weights=wrong[found.text], minlength=len(found.words)).astype(np.int64)
    odds = log_odds(both, n_word, n_wrong, n)
    strength = _Counts(found).strength(np.ones((1, n)))[0]
    order = np.argsort(found.word, kind="stable")
    ends = np.cumsum(n_word)[:-1]
    shares = np.split(found.share[order], ends)
    is_wrong = np.split(wrong[found.text[order]] > 0, ends)
    rows = []
    for w in np.flatnonzero(n_word >= min_count).tolist():
        theirs, others = shares[w][is_wrong[w]], shares[w][~is_wrong[w]]
        comparable = len(theirs) > 0 and len(others) > 0 and np.ptp(shares[w]) > 0
        p_attribution = 1.0
        if comparable:
            p_attribution = float(mannwhitneyu(theirs, others, alternative="greater", method="asymptotic").pvalue)
        p_presence = fisher(int(both[w]), int(n_word[w]), n_wrong, n)
        rows.append(
            ErrorWord(
                word=found.words[w],
                slice=cut,
                n=int(n_word[w]),
                n_wrong=int(both[w]),
                log_odds=float(odds.value[w]),
                log_odds_low=float(odds.low[w]),
                log_odds_high=float(odds.high[w]),
                p_presence=p_presence,
                share_wrong=float(theirs.mean()) if len(theirs) else None,
                share_right=float(others.mean()) if len(others) else None,
                p_attribution=p_attribution,
                p=min(1.0, 2 * min(p_presence, p_attribution)),
                p_holm=1.0,
                q=1.0,
                strength=float(strength[w]),
                top_share=None,
                verdict="not_named",
            )
        )
    return rows


def _corrected(rows: Sequence[ErrorWord], alpha: float) -> list[ErrorWord]:
    p = np.array([r.p for r in rows])
    out = []
    for r, adjusted, q in zip(rows, holm(p).tolist(), benjamini_hochberg(p).tolist(), strict=True):
        verdict: ErrorVerdict = "over_represented" if adjusted <= alpha else "not_named"
        out.append(replace(r, p_holm=adjusted, q=q, verdict=verdict))
    return sorted(out, key=lambda r: (r.slice or "", r.verdict == "not_named", -r.strength, r.p, r.word))
