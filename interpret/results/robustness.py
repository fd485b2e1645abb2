"""Whether predictions hold when texts are written otherwise, and whether they differ by the group a text is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from interpret.results.record import Estimate, Record

if TYPE_CHECKING:
    import pandas as pd

#: What a perturbation should do to the prediction, were the model to read as people do.
Expectation = Literal["same", "change"]
PerturbationKind = Literal["typing", "case", "punctuation", "whitespace", "wording", "characters", "negation", "group"]


@dataclass(frozen=True, kw_only=True)
class ChangedText:
    """One text before and after; `row` is the 0-based row in the data.

    Probabilities are of `label`; `label_before` and `label_after` are what was predicted.
    """

    row: int
    before: str
    after: str
    label: str
    label_before: str
    label_after: str
    probability_before: float
    probability_after: float


@dataclass(frozen=True, kw_only=True)
class PerturbationRow:
    """What one perturbation does to predictions, over the `n` texts that it changed of `n_fitting` of a fitting script.

    `n_read_alike` of the changed texts become the very same tokens, so that the model cannot see the change.
    `flip_rate`: share whose predicted class is another one then, with a score interval. `change`: mean change, after
    less before, of the probability (0 to 1) of the class predicted before, with a paired t interval from 5 texts on.
    Intervals are Bonferroni-adjusted over all rows of the record. `largest` is the text whose probability changes
    most; None where none changed, or an audit keeps no texts.
    """

    name: str
    kind: PerturbationKind
    expectation: Expectation
    n_fitting: int
    n: int
    n_read_alike: int
    flips: int
    flip_rate: float | None
    flip_low: float | None
    flip_high: float | None
    change: float | None
    change_low: float | None
    change_high: float | None
    largest: ChangedText | None


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """How texts fare as texts about one group, beside the same texts about the other groups of the category.

    `difference`: mean of the class's probability (-1 to 1) as written for `group`, less the mean over the other
    groups; paired over the `n` texts that name one group of the category, `n_own` of them this one. Above 0 the class
    is likelier for this group. The t interval, from 5 texts on, is Bonferroni-adjusted over all rows of the record. Of
    two groups, or classes, one has a row: the other mirrors it. `largest` is the text that moves most to this group, or
    from it; None where an audit keeps no texts.
    """

    category: str
    group: str
    label: str
    n: int
    n_own: int
    difference: float | None
    low: float | None
    high: float | None
    largest: ChangedText | None


@dataclass(frozen=True, kw_only=True)
class StabilityRow:
    """Whether the explanation of a class stays when a text is perturbed, on the words that both texts share.

    `kind` None: all pairs. `correlation` is Spearman's over the shared words, -1 to 1, 0 for random rankings;
    `overlap` the share (0 to 1) of the first `k` words that are the same, `random_overlap` what shuffled scores
    reach; `gain` the paired difference of the two.
    """

    kind: PerturbationKind | None
    n: int
    k: int
    correlation: Estimate
    overlap: Estimate
    random_overlap: float | None
    gain: Estimate


@dataclass(frozen=True, kw_only=True)
class SentencePair:
    """Pseudo-log-likelihoods in nats of two texts, over the `n_shared` tokens that they have in common.

    `log_odds` is how much likelier, in nats, the model writes what stands only in the first text, at its place there,
    than what stands only in the second; None unless that is one token each at one place.
    """

    first: str
    second: str
    category: str
    score_first: float
    score_second: float
    n_shared: int
    log_odds: float | None


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """How often the first text of a pair is the likelier one.

    `category` None: all pairs. `preferred`: share of pairs (0 to 1, an even score counts as not preferred), with a
    score interval; `difference` the mean score of first less second, in nats. Intervals are Bonferroni-adjusted over
    the categories.
    """

    category: str | None
    n: int
    n_even: int
    preferred: float | None
    preferred_low: float | None
    preferred_high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None


@dataclass(frozen=True, kw_only=True, repr=False)
class PairScores(Record):
    """Which of two sentences a masked language model takes for likelier, pair by pair, by the tokens they share.

    What stands in only one of them is context and never scored, so that a frequent word is no advantage. It shows what
    the model would write, not what it does to people: a preference need not reach a classifier that is tuned from it.
    `first` and `second` name the two sides; `n_left_out` pairs had no shared or no differing token.

    Reference: Nangia et al. 2020, arXiv 2010.00133, equation 1.
    """

    rows: tuple[PairRow, ...]
    pairs: tuple[SentencePair, ...]
    model: str
    first: str
    second: str
    n_left_out: int
    n_truncated: int

    def to_frame(self) -> pd.DataFrame:
        """One row per category, all pairs first; the columns are the fields of `PairRow`."""
        return _frame(self.rows, PairRow)

    def pair_frame(self) -> pd.DataFrame:
        """One row per pair; the columns are the fields of `SentencePair`."""
        return _frame(self.pairs, SentencePair)


@dataclass(frozen=True, kw_only=True, repr=False)
class Robustness(Record):
    """Predictions under perturbation, by group, and of explanations under perturbation.

    Perturbations are made by rules, without a person who judged that the meaning is the same: of invariance (`same`)
    it is *assumed*. `scripts` counts the texts by the script that decided what was tried; `rates` are shares of words
    or gaps that a perturbation changes. `pairs` are there for masked language models, whose `rows`, `groups` and
    `stability` are empty.
    """

    rows: tuple[PerturbationRow, ...]
    groups: tuple[GroupRow, ...]
    stability: tuple[StabilityRow, ...]
    pairs: tuple[PairScores, ...]
    n_texts: int
    scripts: Mapping[str, int]
    rates: Mapping[str, float]
    method: str | None
    seed: int

    def to_frame(self) -> pd.DataFrame:
        """One row per perturbation.

        Columns: name, kind, expectation, n, flips, flip_rate, flip_low, flip_high, change, change_low, change_high.
        """
        columns = "name kind expectation n flips flip_rate flip_low flip_high change change_low change_high".split()
        return _frame(self.rows, PerturbationRow, columns)

    def group_frame(self) -> pd.DataFrame:
        """Columns: category, group, label, n, n_own, difference, low, high."""
        return _frame(self.groups, GroupRow, "category group label n n_own difference low high".split())


def _frame(rows: tuple[Any, ...], of: type, columns: list[str] | None = None) -> pd.DataFrame:
    import pandas as pd

    columns = columns or [f.name for f in fields(of)]
    return pd.DataFrame([[getattr(row, c) for c in columns] for row in rows], columns=columns)
