"""Which words a classifier leans on over a data set, and which more than the labels warrant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from interpret.analyzers.shortcuts.association import (
    FloatArray,
    benjamini_hochberg,
    competency_z,
    excess,
    excess_p,
    fisher,
    log_odds,
)
from interpret.analyzers.shortcuts.presence import IntArray, Tally, checked_options, neighbours, tally
from interpret.analyzers.shortcuts.stability import ClassCounts, top_shares
from interpret.results.explanations import Attribution
from interpret.results.record import Message
from interpret.results.shortcuts import ShortcutWord, ShortcutWords, WordVerdict
from interpret.statistics.multiple import holm


@dataclass(frozen=True)
class Mass:
    """How a word's part of its texts' attribution compares with that of words of the same frequency."""

    ratio: float | None
    p: float


def shortcut_words(
    attribution: Attribution,
    labels: Sequence[int | str] | None,
    predictions: Sequence[int | str] | None = None,
    slices: Sequence[str | None] | None = None,
    *,
    min_count: int = 5,
    alpha: float = 0.05,
    seed: int = 0,
    n_bootstrap: int = 1000,
    top: int = 10,
) -> ShortcutWords:
    """Words whose presence and attribution move predictions, and those that do so more than the labels warrant.

    It shows association, not cause: a word can stand for another one it always comes with (`causal_check` changes the
    text). Nor does it say which words are legitimate: "dreadful" may rightly decide a review. And a classifier that
    decides by the highest logit exaggerates whatever it has learnt, a genuine cue of noisy labels included, so "more
    than the labels warrant" says where the model errs towards the class, not that the word means nothing.

    Two questions are asked of each word and class.

    *The model leans on it*: the word stands in more texts predicted as the class than chance gives (Fisher's exact
    test) **and** carries more of its texts' attribution than words of the same frequency do (Mann-Whitney test of its
    part of each text against those of the 20 nearest words by frequency), pushing towards the class on average where
    the attribution says so. Neither alone will do: presence is confounded by the words around, attribution by noise.
    The p-value is the larger of the two (intersection-union test: at most alpha if either hypothesis is true).

    *More than the labels warrant*: that, **and** on the word's texts predictions exceed the labels towards the class
    further than on the other texts. With d = 1 where a text is predicted but not labelled as the class, -1 where it
    is labelled but not predicted, else 0, the p-value is the exact chance of so large a sum of d had the word's texts
    been drawn from all texts. A model that is as biased everywhere, or whose errors have nothing to do with the word,
    is not held against it. This is what tells a shortcut from a cue: both move predictions, only the cue moves labels.

    Rows are ranked by the low end of the 95% interval of the effect (log odds ratio, or excess) times the mean part
    of a text's attribution that the word pushes towards the class: strong, consistent, and through the word itself.
    Holm's correction names words, Benjamini-Hochberg's makes the longer list; both are over all words and classes
    tested on all texts, and over all of them in all slices together.

    Args:
        attribution: of each text; explanations of predicted classes say most. Words are its words, case folded,
            punctuation included; with `unit="token"` they are its tokens.
        labels: gold class of each text by name or index; None asks the first question only.
        predictions: predicted class of each text; None takes what the attribution explains, if it was predicted.
        slices: slice of each text, None for texts in no slice; each slice is tested by itself too.
        min_count: texts that must hold a word before it is tested.
        alpha: chance of naming any word wrongly.
        seed: of the resamples.
        n_bootstrap: resamples of the texts for `top_share`; 0 leaves it out.
        top: how many of the first rows count as "among the first" there.

    Raises:
        UsageError: lengths differ, predictions are not known, or labels are not the model's.
        InconclusiveError: no texts.

    Reference: Gururangan et al. 2018, arXiv 1803.02324 (words that give labels away); Gardner et al. 2021, arXiv
    2104.08646 (`z_gold`, the data's side); Wang et al. 2022, arXiv 2110.07736 (attribution over a data set to find
    what the model's side leans on); Bastings et al. 2022, arXiv 2111.07367 (planted tokens as the test of it);
    Berger 1982, doi 10.1080/00401706.1982.10487790 (intersection-union tests); Zhao et al. 2017, arXiv 1707.09457
    (models exaggerate what they learn).
    """
    checked_options(min_count, alpha, n_bootstrap, top)
    found = tally(attribution, labels, predictions, slices)
    rows = _stable(found, _rows(found, None, min_count), top=top, n_bootstrap=n_bootstrap, seed=seed)
    named = _corrected(rows, alpha)
    in_slices: list[ShortcutWord] = []
    for name in sorted({s for s in found.slices if s is not None}):
        in_slices += _rows(found.part(np.array([s == name for s in found.slices])), name, min_count)
    named += _corrected(in_slices, alpha)
    notes: tuple[Message, ...] = ()
    if not rows:
        notes = (Message(code="shortcuts.no_common_word", params={"min_count": min_count, "n": found.n_texts}),)
    elif len(np.unique(found.predicted)) == 1:
        notes = (Message(code="shortcuts.one_prediction", params={"label": found.labels[found.predicted[0]]}),)
    return ShortcutWords(
        rows=tuple(named),
        labels=found.labels,
        method=attribution.method,
        unit=attribution.unit,
        n_texts=found.n_texts,
        n_words=len({r.word for r in rows}),
        n_tests=len(rows),
        gold_given=found.gold is not None,
        min_count=min_count,
        alpha=alpha,
        n_bootstrap=n_bootstrap,
        top=top,
        seed=seed,
        notes=notes,
    )


def masses(found: Tally, tested: IntArray) -> dict[int, Mass]:
    """For each tested word the mean of its lifts over that of its neighbours', and whether they are larger.

    Reference: Mann and Whitney 1947, doi 10.1214/aoms/1177730491 (normal approximation with ties and continuity
    correction; on the few texts of a rare word its far tail is above the exact one, so that it names too little).
    """
    from scipy.stats import mannwhitneyu

    n = np.bincount(found.word, minlength=len(found.words))
    near = neighbours(n)
    order = np.argsort(found.word, kind="stable")
    lifts = np.split(found.lift[order], np.cumsum(n)[:-1])
    out = {}
    for w in tested.tolist():
        if not len(near[w]):
            out[w] = Mass(None, 1.0)
            continue
        theirs = np.concatenate([lifts[v] for v in near[w].tolist()])
        mean = float(theirs.mean())
        # Where nothing varies there is nothing to rank.
        flat = np.ptp(np.concatenate([lifts[w], theirs])) == 0.0
        p = 1.0 if flat else float(mannwhitneyu(lifts[w], theirs, alternative="greater", method="asymptotic").pvalue)
        out[w] = Mass(float(lifts[w].mean()) / mean if mean > 0 else None, p)
    return out


def _rows(found: Tally, cut: str | None, min_count: int) -> list[ShortcutWord]:
    """A row for each word with enough texts and each class, not yet corrected."""
    n, n_words = found.n_texts, len(found.words)
    n_word = np.bincount(found.word, minlength=n_words)
    tested = np.flatnonzero(n_word >= min_count)
    mass = masses(found, tested)
    absolute = np.bincount(found.word, weights=np.abs(found.score), minlength=n_words)
    total = float(absolute.sum())
    to_predicted = _signed_mean(found, found.predicted)
    once = np.ones((1, n))
    rows: list[ShortcutWord] = []
    for c, label in enumerate(found.labels):
        is_class = found.predicted == c
        n_class = int(is_class.sum())
        both = _count(found, is_class)
        odds = log_odds(both, n_word, n_class, n)
        score, n_explained = _signed_mean(found, np.full(n, c, dtype=np.int64))
        of_class = ClassCounts.of(found, c)
        reliance = of_class.reliance(once)[0]
        against = None if found.gold is None else _Labels(found, c, of_class, is_class, n_word)
        for w in tested.tolist():
            p_predicted = fisher(int(both[w]), int(n_word[w]), n_class, n)
            away = n_explained[w] > 0 and score[w] <= 0
            p_leans = 1.0 if away else max(p_predicted, mass[w].p)
            rows.append(
                ShortcutWord(
                    word=found.words[w],
                    form=found.forms[w],
                    label=label,
                    slice=cut,
                    n=int(n_word[w]),
                    n_predicted=int(both[w]),
                    mean_score=float(score[w]) if n_explained[w] else None,
                    n_explained=int(n_explained[w]),
                    mean_score_predicted=float(to_predicted[0][w]) if to_predicted[1][w] else None,
                    attribution_share=float(absolute[w]) / total if total > 0 else 0.0,
                    mass_ratio=mass[w].ratio,
                    p_mass=mass[w].p,
                    log_odds_predicted=float(odds.value[w]),
                    log_odds_predicted_low=float(odds.low[w]),
                    log_odds_predicted_high=float(odds.high[w]),
                    p_predicted=p_predicted,
                    p_leans=p_leans,
                    p_leans_holm=1.0,
                    q_leans=1.0,
                    reliance=float(reliance[w]),
                    top_share=None,
                    excess_top_share=None,
                    verdict="not_named",
                    **(_NO_LABELS if against is None else against.fields(w, p_leans)),
                )
            )
    return rows


_NO_LABELS: dict[str, Any] = dict.fromkeys(
    "n_gold log_odds_gold log_odds_gold_low log_odds_gold_high p_gold z_gold excess excess_low excess_high p_excess "
    "p_more p_more_holm q_more excess_reliance".split()
)


class _Labels:
    """The labels' side of one class: what they warrant, and how far predictions go beyond it."""

    def __init__(self, found: Tally, label: int, of_class: ClassCounts, is_class: Any, n_word: IntArray) -> None:
        is_gold = np.asarray(found.gold == label)
        self.n, self.n_gold = found.n_texts, int(is_gold.sum())
        self.n_word = n_word
        self.both = _count(found, is_gold)
        self.odds = log_odds(self.both, n_word, self.n_gold, self.n)
        plus, minus = is_class & ~is_gold, is_gold & ~is_class
        self.n_plus, self.n_minus = int(plus.sum()), int(minus.sum())
        self.plus, self.minus = _count(found, plus), _count(found, minus)
        self.excess = excess(self.plus, self.minus, n_word, self.n_plus, self.n_minus, self.n)
        self.reliance = of_class.excess_reliance(np.ones((1, self.n)))[0]

    def fields(self, w: int, p_leans: float) -> dict[str, Any]:
        n_word, both = int(self.n_word[w]), int(self.both[w])
        p_excess = excess_p(int(self.plus[w] - self.minus[w]), n_word, self.n_plus, self.n_minus, self.n)
        return {
            "n_gold": both,
            "log_odds_gold": float(self.odds.value[w]),
            "log_odds_gold_low": float(self.odds.low[w]),
            "log_odds_gold_high": float(self.odds.high[w]),
            "p_gold": fisher(both, n_word, self.n_gold, self.n),
            "z_gold": competency_z(both, n_word, self.n_gold / self.n),
            "excess": float(self.excess.value[w]),
            "excess_low": float(self.excess.low[w]),
            "excess_high": float(self.excess.high[w]),
            "p_excess": p_excess,
            "p_more": max(p_leans, p_excess),
            "p_more_holm": 1.0,
            "q_more": 1.0,
            "excess_reliance": float(self.reliance[w]),
        }


def _count(found: Tally, which: Any) -> IntArray:
    """Texts among `which` [text] that hold each word; [word]."""
    return np.bincount(found.word[which[found.text]], minlength=len(found.words))


def _signed_mean(found: Tally, towards: IntArray) -> tuple[FloatArray, IntArray]:
    """Mean score towards class `towards` [text], over texts whose explanation is of it; [word], and how many texts.

    The score of a contrast's foil is the negative one.
    """
    sign = np.where(found.explained == towards, 1.0, np.where(found.foil == towards, -1.0, 0.0))[found.text]
    n = np.bincount(found.word[sign != 0], minlength=len(found.words))
    total = np.bincount(found.word, weights=sign * found.score, minlength=len(found.words))
    return total / np.maximum(n, 1), n


def _corrected(rows: Sequence[ShortcutWord], alpha: float) -> list[ShortcutWord]:
    """The rows with p-values adjusted over all of them and verdicts, the named and strongest of each slice first."""
    leans = np.array([r.p_leans for r in rows])
    out = []
    for r, p, q in zip(rows, holm(leans).tolist(), benjamini_hochberg(leans).tolist(), strict=True):
        out.append(replace(r, p_leans_holm=p, q_leans=q, verdict="leans_on" if p <= alpha else "not_named"))
    if out and out[0].p_more is not None:
        more = np.array([r.p_more for r in out])
        for i, (p, q) in enumerate(zip(holm(more).tolist(), benjamini_hochberg(more).tolist(), strict=True)):
            verdict: WordVerdict = "more_than_labels" if p <= alpha else out[i].verdict
            out[i] = replace(out[i], p_more_holm=p, q_more=q, verdict=verdict)
    return sorted(out, key=_place)


def _place(row: ShortcutWord) -> tuple[Any, ...]:
    tier = ("more_than_labels", "leans_on", "not_named").index(row.verdict)
    beyond = row.excess_reliance if tier == 0 and row.excess_reliance is not None else row.reliance
    return (row.slice or "", tier, -beyond, row.p_leans, row.word, row.label)


def _stable(found: Tally, rows: list[ShortcutWord], *, top: int, n_bootstrap: int, seed: int) -> list[ShortcutWord]:
    """The rows with the share of resamples in which each stays among the first of either ranking."""
    if not rows or n_bootstrap == 0:
        return rows
    of_classes = [ClassCounts.of(found, c) for c in range(len(found.labels))]
    number = {word: w for w, word in enumerate(found.words)}
    n_tested = len(rows) // len(found.labels)
    tested = [number[r.word] for r in rows[:n_tested]]

    def reliance(weights: FloatArray) -> FloatArray:
        return np.concatenate([c.reliance(weights)[:, tested] for c in of_classes], axis=1)

    def beyond(weights: FloatArray) -> FloatArray:
        return np.concatenate([c.excess_reliance(weights)[:, tested] for c in of_classes], axis=1)

    shares = top_shares(reliance, found.n_texts, top=top, n_bootstrap=n_bootstrap, seed=seed).tolist()
    rows = [replace(r, top_share=share) for r, share in zip(rows, shares, strict=True)]
    if found.gold is not None:
        shares = top_shares(beyond, found.n_texts, top=top, n_bootstrap=n_bootstrap, seed=seed).tolist()
        rows = [replace(r, excess_top_share=share) for r, share in zip(rows, shares, strict=True)]
    return rows
