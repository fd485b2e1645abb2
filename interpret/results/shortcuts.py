"""What a classifier leans on over a data set: words, how far the labels warrant it, and what changing them does."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from interpret.results.explanations import Faithfulness, Unit
from interpret.results.record import Message, Record

if TYPE_CHECKING:
    import pandas as pd

#: `more_than_labels` includes leaning on the word; both are read from Holm-adjusted p-values.
WordVerdict = Literal["more_than_labels", "leans_on", "not_named"]
ErrorVerdict = Literal["over_represented", "not_named"]
CausalVerdict = Literal["confirmed", "not_confirmed", "too_few"]
CausalKind = Literal["insertion", "removal"]


@dataclass(frozen=True, kw_only=True)
class ShortcutWord:
    """One word and one class, over all texts (`slice` None) or over one slice. What is None could not be measured.

    Counts are texts: `n` hold the word, of which `n_predicted` are predicted and `n_gold` labelled as the class.
    Scores are in the attribution's unit (logits): `mean_score` towards the class over the `n_explained` texts whose
    explanation is of it, `mean_score_predicted` towards whatever was predicted. `attribution_share` (0 to 1) is the
    word's part of all absolute attribution; `mass_ratio` its mean part of a text, times the text's words, over that
    of words of the same frequency. `log_odds_*` are natural-log odds ratios, `excess` a difference of mean
    differences (-2 to 2); both with 95% intervals. p-values are one-sided. `reliance` and `excess_reliance` only
    rank; `top_share` and `excess_top_share` say in how many resamples the row stays among the first ones of that
    ranking.
    """

    word: str
    form: str
    label: str
    slice: str | None
    n: int
    n_predicted: int
    n_gold: int | None
    mean_score: float | None
    n_explained: int
    mean_score_predicted: float | None
    attribution_share: float
    mass_ratio: float | None
    p_mass: float
    log_odds_predicted: float
    log_odds_predicted_low: float
    log_odds_predicted_high: float
    p_predicted: float
    log_odds_gold: float | None
    log_odds_gold_low: float | None
    log_odds_gold_high: float | None
    p_gold: float | None
    z_gold: float | None
    excess: float | None
    excess_low: float | None
    excess_high: float | None
    p_excess: float | None
    p_leans: float
    p_leans_holm: float
    q_leans: float
    p_more: float | None
    p_more_holm: float | None
    q_more: float | None
    reliance: float
    excess_reliance: float | None
    top_share: float | None
    excess_top_share: float | None
    verdict: WordVerdict


@dataclass(frozen=True, kw_only=True)
class ErrorWord:
    """One word among the wrongly classified texts.

    Counts are texts; `share_*` are mean parts (0 to 1) of a text's absolute attribution over the wrong and the right
    texts that hold the word. p-values are one-sided; `p` is twice the smaller of the two, at most 1.
    """

    word: str
    slice: str | None
    n: int
    n_wrong: int
    log_odds: float
    log_odds_low: float
    log_odds_high: float
    p_presence: float
    share_wrong: float | None
    share_right: float | None
    p_attribution: float
    p: float
    p_holm: float
    q: float
    strength: float
    top_share: float | None
    verdict: ErrorVerdict


@dataclass(frozen=True, kw_only=True)
class CausalRow:
    """What inserting or removing a word does to the prediction, beside doing the same with other words.

    `flip_rate`: share of `n` texts whose prediction becomes the class (insertion) or stops being it (removal), with
    a 95% score interval; `control_*` the same for a word of the same frequency (insertion) or another word of the
    text (removal). `probability_change` is the mean gain (insertion) or loss (removal) of the class's probability.
    `difference` is the paired difference of the two rates; its interval is adjusted for all rows that were checked,
    and the row is `confirmed` where it lies above 0.
    """

    word: str
    label: str
    kind: CausalKind
    n: int
    flip_rate: float | None
    flip_low: float | None
    flip_high: float | None
    control_flip_rate: float | None
    control_flip_low: float | None
    control_flip_high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    probability_change: float | None
    probability_change_low: float | None
    probability_change_high: float | None
    verdict: CausalVerdict


def _frame(rows: tuple[Any, ...], of: type) -> pd.DataFrame:
    import pandas as pd

    columns = [f.name for f in fields(of)]
    return pd.DataFrame([[getattr(row, c) for c in columns] for row in rows], columns=columns)


@dataclass(frozen=True, kw_only=True, repr=False)
class ShortcutWords(Record):
    """Words that the model leans on, and those it leans on more than the labels warrant. Association, not cause.

    Rows of all texts come first, then those of the slices; within each the named ones, then by how strongly. Holm
    and Benjamini-Hochberg corrections are over all `n_tests` rows of all texts, and separately over all rows of all
    slices. `seed`, `n_bootstrap` and `top` are those of `top_share`.
    """

    rows: tuple[ShortcutWord, ...]
    labels: tuple[str, ...]
    method: str
    unit: Unit
    n_texts: int
    n_words: int
    n_tests: int
    gold_given: bool
    min_count: int
    alpha: float
    n_bootstrap: int
    top: int
    seed: int
    notes: tuple[Message, ...] = ()

    @property
    def leans_on(self) -> tuple[ShortcutWord, ...]:
        """Named over all texts: presence and attribution both say so (Holm); by how strongly."""
        named = [r for r in self.rows if r.slice is None and r.verdict != "not_named"]
        return tuple(sorted(named, key=lambda r: (-r.reliance, r.p_leans, r.word, r.label)))

    @property
    def more_than_labels(self) -> tuple[ShortcutWord, ...]:
        """Those of `leans_on` for which the labels warrant less than the model makes of them (Holm)."""
        named = [r for r in self.rows if r.slice is None and r.verdict == "more_than_labels"]
        return tuple(sorted(named, key=lambda r: (-(r.excess_reliance or 0.0), r.p_leans, r.word, r.label)))

    def to_frame(self) -> pd.DataFrame:
        """One row per word, class and slice; the columns are the fields of `ShortcutWord`."""
        return _frame(self.rows, ShortcutWord)


@dataclass(frozen=True, kw_only=True, repr=False)
class ErrorWords(Record):
    """Words over-represented in wrongly classified texts. A word may stand where errors are without causing them.

    Order, corrections and resamples are as in `ShortcutWords`.
    """

    rows: tuple[ErrorWord, ...]
    n_texts: int
    n_wrong: int
    n_tests: int
    min_count: int
    alpha: float
    n_bootstrap: int
    top: int
    seed: int

    @property
    def over_represented(self) -> tuple[ErrorWord, ...]:
        """Named over all texts (Holm)."""
        return tuple(r for r in self.rows if r.slice is None and r.verdict == "over_represented")

    def to_frame(self) -> pd.DataFrame:
        """One row per word and slice; the columns are the fields of `ErrorWord`."""
        return _frame(self.rows, ErrorWord)


@dataclass(frozen=True, kw_only=True, repr=False)
class Shortcuts(Record):
    """Words a model leans on, checked by changing them in held-out texts, and the words that go with its errors.

    `causal` are rows for the first words of the ranking, on the `n_held_out` texts that had no part in finding them.
    `quality` is the faithfulness of the explanations that everything here is read from.
    """

    model: str
    data: str
    words: ShortcutWords
    errors: ErrorWords | None
    causal: tuple[CausalRow, ...]
    quality: Faithfulness | None
    n_explained: int
    n_held_out: int
    n_duplicates: int
    accuracy: float | None

    @property
    def confirmed(self) -> tuple[ShortcutWord, ...]:
        """Named words that flip held-out predictions more often than other words do, in the order of the rows."""
        sure = {(r.word, r.label) for r in self.causal if r.verdict == "confirmed"}
        named = (r for r in self.words.rows if r.slice is None and r.verdict != "not_named")
        return tuple(r for r in named if (r.word, r.label) in sure)

    def causal_frame(self) -> pd.DataFrame:
        """One row per word and kind of change; the columns are the fields of `CausalRow`."""
        return _frame(self.causal, CausalRow)

    def to_frame(self) -> pd.DataFrame:
        """As `words.to_frame()`."""
        return self.words.to_frame()
