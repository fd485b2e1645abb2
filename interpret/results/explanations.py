"""Attributions and the evidence for or against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from interpret.results.record import Estimate, HoldsArrays, Record, Scalar

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

Verdict = Literal["better_than_trivial", "better_than_random", "not_better", "inconclusive"]
Unit = Literal["token", "word", "sentence", "segment", "message", "span", "source", "character"]


TargetKind = Literal[
    "class",
    "contrast",
    "token_class",
    "next_token",
    "mask_token",
    "output_token",
    "sequence",
    "response",
    "start",
    "end",
    "span",
    "function",
    "external",
]


@dataclass(frozen=True, kw_only=True)
class TargetRecord:
    """The scalar that was explained: a logit, a difference or a sum of two, or the log probability of a response.

    `kind`: `class` (a class logit), `contrast` (class minus foil), `token_class` (class logit of one word),
    `next_token` (vocabulary logit after the last token), `mask_token` (vocabulary logit at the [MASK] position),
    `output_token` (vocabulary logit of one written token), `sequence` (log probability of all that was written),
    `response` (logit of the probability of all that was written),
    `start`, `end`, `span` (of an answer; the sum of both), `function` (of the output, the caller's own, whose name is
    `label`; the function itself is not kept, and its units are its own), `external` (made elsewhere, scalar not known).
    `chosen`: who chose it: the model's prediction, the gold label, or the caller. `position` is the token that is
    read, or the number of the written token; `end` the last token of a span; `response` the ids that were written;
    `word` what is read in the text itself: the word that gets the class, the answer; `room` how many tokens the window
    that a response was written in leaves for it, 0 where that is as many as it has.
    """

    kind: TargetKind
    index: int | None = None
    label: str | None = None
    foil_index: int | None = None
    foil_label: str | None = None
    chosen: Literal["predicted", "gold", "given"] = "predicted"
    position: int | None = None
    end: int | None = None
    response: tuple[int, ...] = ()
    word: str | None = None
    room: int = 0


@dataclass(frozen=True, kw_only=True)
class ChatPart:
    """Where in a text that was made of a chat the content of one message stands.

    `message` is its number, from 0; `start` and `end` are offsets into the text, the end excluded; `cut` is how many
    characters the chat template took off the front of the content, so that the text's character `start + i` is the
    content's character `cut + i`. What stands in no part is the template's own.
    """

    message: int
    role: str
    start: int
    end: int
    cut: int = 0


class Word(NamedTuple):
    """One word (or character, token, sentence, message, source, by the record's unit), its tokens' scores summed."""

    word: str
    score: float
    char_start: int
    char_end: int
    positions: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class ExampleQuality(Record):
    """How one explanation did against random rankings of the same words.

    `percentile`: share (0 to 1) of at least 200 random rankings whose AOPC comprehensiveness is below this
    one's (ties count half). `verdict` is `better_than_random` from the 95th percentile on; a single example
    never yields `better_than_trivial`. Where all rankings are one and the same (a single word, or every share that is
    removed takes all words) nothing can be told: then `percentile` is None and `verdict` "inconclusive".
    """

    comprehensiveness: float
    sufficiency: float
    random_comprehensiveness: float
    random_sufficiency: float
    percentile: float | None
    n_random: int
    n_words: int
    verdict: Verdict


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class WindowsRead(HoldsArrays, Record):
    """How a text longer than the model reads at once was read: in windows, each explained for the same target.

    What is explained is the mean of the target over the windows that hold it: all of them for a class of the text,
    those with the whole word (the caller's own, if there is one) or answer for a class of a word or an answer (of a
    word that none holds whole, those with its first token), those with the mask for what fills it in. `size`: tokens
    in a window at most, special ones included; `stride`: tokens of the text that neighbours share; `bounds` [window,
    2]: the run of tokens each moved to, end excluded; special tokens and the question before a context are in every
    window. `values` and `baseline_values` of each window are None where it does not hold what is explained.
    `n_holding` [token]: of the windows that do, how many hold the token.
    """

    size: int
    stride: int
    bounds: IntArray
    values: tuple[float | None, ...]
    baseline_values: tuple[float | None, ...]
    n_holding: IntArray
    n_explained: int

    def __post_init__(self) -> None:
        n = len(self.values)
        if self.bounds.shape != (n, 2) or len(self.baseline_values) != n:
            raise ValueError(
                f"bounds have shape {self.bounds.shape} and there are {len(self.baseline_values)} baseline values, "
                f"expected ({n}, 2) and {n} for {n} windows"
            )
        if not 1 <= self.n_explained <= n or self.n_holding.max(initial=0) > self.n_explained:
            raise ValueError(f"{self.n_explained} of {n} windows are explained, and a token is in more of them")

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ExampleAttribution(HoldsArrays, Record):
    """Signed scores of one text's tokens for one target.

    Shapes: `scores`, `special`, `token_ids` and `word_index` are [token]; `char_spans` is [token, 2], offsets
    into `text` with the end excluded, (0, 0) for special tokens. `word_index` is -1 for special tokens.
    Scores are in units of the target (logits); special tokens are kept equal in input and baseline and so
    score 0 in methods that have a baseline. Of a pair `text` holds both, a line break between them, and the second
    begins at `pair_start`. `unit_spans` [unit, 2] are the characters of each unit where the user gave spans; what lay
    between those is a unit too. Of a chat `text` is what its template made of it, `chat` says where in it each
    message's content stands; the template's own tokens are special, and have their offsets.

    Of a text read in `windows` (`value` and `baseline_value` are then means over the windows) a token's score is the
    mean over the windows that hold it. So it is not the scores that sum to value - baseline_value, up to the
    convergence delta, but `contributions`: sum of n_holding * score over n_explained. A token that stands in no window
    that counts (`read`) scores 0, and `to_frame` leaves its score missing.
    """

    text: str
    tokens: tuple[str, ...]
    token_ids: IntArray
    scores: FloatArray
    word_index: IntArray
    char_spans: IntArray
    special: BoolArray
    target: TargetRecord
    method: str
    unit: Unit = "word"
    value: float | None = None
    baseline_value: float | None = None
    convergence_delta: float | None = None
    n_truncated: int = 0
    pair_start: int | None = None
    chat: tuple[ChatPart, ...] = ()
    unit_spans: IntArray | None = None
    windows: WindowsRead | None = None
    quality: ExampleQuality | None = None

    def __post_init__(self) -> None:
        n = len(self.tokens)
        for name in ("token_ids", "scores", "word_index", "special"):
            found = getattr(self, name).shape
            if found != (n,):
                raise ValueError(f"{name} has shape {found}, expected ({n},) for {n} tokens")
        if self.char_spans.shape != (n, 2):
            raise ValueError(f"char_spans has shape {self.char_spans.shape}, expected ({n}, 2)")
        if not np.isfinite(self.scores).all():
            raise ValueError("scores hold NaN or infinity")
        if self.unit_spans is not None and self.unit_spans.shape != (self.word_index.max(initial=-1) + 1, 2):
            raise ValueError(f"unit_spans has shape {self.unit_spans.shape}, expected one (start, end) for each unit")
        if self.windows is not None and self.windows.n_holding.shape != (n,):
            raise ValueError(f"n_holding has shape {self.windows.n_holding.shape}, expected ({n},) for {n} tokens")

    @property
    def contributions(self) -> FloatArray:
        """What each token [token] adds to the explained scalar: its score, in as many windows as hold the token."""
        if self.windows is None:
            return self.scores
        return self.scores * self.windows.n_holding / self.windows.n_explained

    @property
    def read(self) -> BoolArray:
        """Which tokens `[token]` stand in a window that holds what is explained; all where there are no windows."""
        held: BoolArray = np.ones(len(self.tokens), dtype=bool) if self.windows is None else self.windows.n_holding > 0
        return held

    @property
    def message_index(self) -> IntArray:
        """Which message of a chat each token `[token]` belongs to; -1 for the template's own, and where there is none.

        A token belongs to the message whose content its first character stands in.
        """
        found = np.full(len(self.tokens), -1, dtype=np.int64)
        starts = self.char_spans[:, 0]
        for part in self.chat:
            found[(starts >= part.start) & (starts < part.end) & ~self.special] = part.message
        return found

    def words(self) -> list[Word]:
        """Scores summed (signed, not averaged) over the tokens of each word, in text order."""
        grouped: dict[int, list[int]] = {}
        for position, index in enumerate(self.word_index.tolist()):
            if index >= 0:
                grouped.setdefault(index, []).append(position)
        out = []
        for index, positions in sorted(grouped.items()):
            start = int(min(self.char_spans[p, 0] for p in positions))
            end = int(max(self.char_spans[p, 1] for p in positions))
            if self.unit_spans is not None:
                start, end = self.unit_spans[index].tolist()
            word = self.text[start:end] or "".join(self.tokens[p] for p in positions)
            out.append(Word(word, float(self.scores[positions].sum()), start, end, tuple(positions)))
        return out

    def words_read(self, words: Sequence[Word]) -> BoolArray:
        """Of which of its words `[word]` some token is read, see `read`."""
        read = self.read
        return np.array([read[list(word.positions)].any() for word in words], dtype=bool)

    def to_frame(self) -> pd.DataFrame:
        return Attribution(examples=(self,), method=self.method, unit=self.unit).to_frame()


@dataclass(frozen=True, kw_only=True)
class FaithfulnessRow:
    """One metric under one removal operator, against random rankings and the best trivial baseline.

    `value` and `random_mean` are means over `n` examples. Comprehensiveness (higher is better) and sufficiency (lower
    is better) are drops in probability of the explained class, -1 to 1. The metrics of the full battery are
    `log_odds` (nats, lower), `deletion_auc` (probability, lower), `insertion_auc` (probability, higher),
    `aopc_comprehensiveness_normalized` (0 to 1, higher), `aopc_sufficiency_normalized` (0 to 1, lower),
    `leave_one_out_correlation` and `leave_one_out_correlation_kendall` (-1 to 1, higher), and, of an explanation made
    again, `sensitivity_max` (relative change, lower), `seed_agreement@<seed>` and `baseline_agreement@<baseline>`
    (rank correlation, higher), where no word is removed and `operator` is "none". The `trivial_*` fields name the
    strongest of word length, position and inverse frequency, and the paired difference to it in the good direction.
    """

    metric: str
    operator: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    random_mean: float | None
    random_ci_low: float | None
    random_ci_high: float | None
    n: int
    verdict: Verdict
    difference: float | None = None
    difference_ci_low: float | None = None
    difference_ci_high: float | None = None
    trivial_name: str | None = None
    trivial_mean: float | None = None
    trivial_difference: float | None = None
    trivial_difference_ci_low: float | None = None
    trivial_difference_ci_high: float | None = None


@dataclass(frozen=True, kw_only=True)
class RandomisationRow:
    """Rank correlation of the explanation before and after re-initialising the top of the model down to `layer`."""

    down_to: str
    spearman_signed: Estimate
    spearman_absolute: Estimate


@dataclass(frozen=True, kw_only=True, repr=False)
class Faithfulness(Record):
    """Whether removing what the explanation ranks first changes the output more than removing random words.

    It does not show that the explanation is right for a human reader (plausibility), nor that another removal
    operator would agree. `above_95_share`: share of single examples above the 95th percentile of random rankings,
    of those that have more than one ranking; the others are in no row either. `options` say how the full battery
    was run, and `randomisation` holds its test of the same name; both are empty where only the cheap part was
    measured. Where a function of the output was explained, `options["quantity"]` is "function", and what falls is
    its value, in its own units, instead of a probability.
    """

    rows: tuple[FaithfulnessRow, ...]
    per_example: tuple[ExampleQuality | None, ...]
    method: str
    variant: str
    fractions: tuple[float, ...]
    n_random: int
    seed: int
    above_95_share: float | None
    options: Mapping[str, Scalar] = field(default_factory=dict)
    randomisation: tuple[RandomisationRow, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The verdict of AOPC comprehensiveness, the headline metric."""
        for row in self.rows:
            if row.metric == "aopc_comprehensiveness":
                return row.verdict
        return "inconclusive"

    def to_frame(self) -> pd.DataFrame:
        """Columns: metric, operator, value, ci_low, ci_high, random_mean, random_ci_low, random_ci_high, n, verdict."""
        import pandas as pd

        columns = "metric operator value ci_low ci_high random_mean random_ci_low random_ci_high n verdict".split()
        return pd.DataFrame([[getattr(row, c) for c in columns] for row in self.rows], columns=columns)


@dataclass(frozen=True, kw_only=True)
class PlausibilityRow:
    """One measure of likeness to human rationales, 0 to 1, higher is more alike; mean over `n` texts.

    `random_mean` is what the same scores reach on shuffled words.
    """

    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    random_mean: float | None
    n: int


@dataclass(frozen=True, kw_only=True, repr=False)
class Plausibility(Record):
    """How far an explanation marks the words that people marked. This is not faithfulness.

    An explanation may follow the model and look wrong to people, because the model is wrong; and one that looks right
    may have nothing to do with the model. `base_rate` is the mean share of words that people marked, `eraser_k` the
    number of words that stands for a rationale in `token_f1_eraser`, `n_without` the texts that nobody marked
    anything in that was read, which do not count; `n_partly_read` the texts with words that were not read
    (`ExampleAttribution.read`), of which only the others count.
    """

    rows: tuple[PlausibilityRow, ...]
    method: str
    base_rate: float | None
    eraser_k: int | None
    n_without: int
    seed: int
    n_partly_read: int = 0

    def to_frame(self) -> pd.DataFrame:
        """Columns: metric, value, ci_low, ci_high, random_mean, n."""
        import pandas as pd

        columns = "metric value ci_low ci_high random_mean n".split()
        return pd.DataFrame([[getattr(row, c) for c in columns] for row in self.rows], columns=columns)


@dataclass(frozen=True, kw_only=True, repr=False)
class Attribution(Record):
    """Signed attributions of a batch of texts; `record[i]` is one. Attribution is not causation in the world.

    `quality` is None when it was not measured, and every view then says so.
    """

    examples: tuple[ExampleAttribution, ...]
    method: str
    unit: Unit = "word"
    options: Mapping[str, Scalar] = field(default_factory=dict)
    quality: Faithfulness | None = None

    @classmethod
    def from_scores(
        cls,
        texts: Sequence[str],
        tokens: Sequence[Sequence[str]],
        scores: Sequence[Any],
        *,
        target: str | Sequence[str] | None = None,
        method: str = "external",
    ) -> Attribution:
        """An explanation made elsewhere, so that its quality can be measured like that of our own.

        Args:
            texts: the texts that were explained.
            tokens: the tokens (or words) of each text, in text order; tokenizer markers and special tokens
                may stay.
            scores: one signed score per token; more means more towards the explained class.
            target: the label that was explained, one or one per text; None for what the model predicts.
            method: the name to show.

        Raises:
            UsageError: lengths differ, a score is not finite, or tokens do not lie on their text in order.
        """
        from interpret.results import external

        return external.from_scores(texts, tokens, scores, target=target, method=method)

    @classmethod
    def from_shap(
        cls,
        explanation: Any,
        *,
        output: int | str | None = None,
        texts: Sequence[str] | None = None,
        method: str = "shap (external)",
    ) -> Attribution:
        """A `shap.Explanation` of one text or of several.

        Args:
            explanation: its `data` holds the tokens and its `values` are [token] or [token, output].
            output: the output column by name or index; None takes the one the explanation says is highest.
            texts: the texts; None joins the tokens, which is what shap's text maskers keep.
            method: the name to show.

        Raises:
            UsageError: no such output, or tokens that do not lie on their text in order.
        """
        from interpret.results import external

        return external.from_shap(explanation, output=output, texts=texts, method=method)

    @classmethod
    def from_captum(
        cls,
        attributions: Any,
        tokens: Sequence[Any],
        texts: Sequence[str] | str,
        *,
        target: str | Sequence[str] | None = None,
        method: str = "captum (external)",
    ) -> Attribution:
        """A tensor that a captum method returned; the embedding's width is summed, sign kept.

        Args:
            attributions: [example, token] or [example, token, dim]; without the first axis for a single text.
                What stands beyond a text's tokens is taken for padding.
            tokens: the tokens of each text, special tokens included, as `convert_ids_to_tokens` gives them.
            texts: the texts, or one.
            target: the label that was explained, one or one per text; None for what the model predicts.
            method: the name to show.

        Raises:
            UsageError: shapes differ, or tokens do not lie on their text in order.
        """
        from interpret.results import external

        return external.from_captum(attributions, tokens, texts, target=target, method=method)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> ExampleAttribution:
        return self.examples[index]

    def __iter__(self) -> Iterator[ExampleAttribution]:
        return iter(self.examples)

    @property
    def scores(self) -> list[FloatArray]:
        """One array [token] per example, signed, in logits."""
        return [example.scores for example in self.examples]

    @property
    def tokens(self) -> list[tuple[str, ...]]:
        return [example.tokens for example in self.examples]

    @property
    def target(self) -> list[TargetRecord]:
        return [example.target for example in self.examples]

    @property
    def convergence_delta(self) -> list[float | None]:
        """Relative completeness error |sum - (F(x) - F(b))| / max(|F(x) - F(b)|, eps), one per example."""
        return [example.convergence_delta for example in self.examples]

    def to_frame(self) -> pd.DataFrame:
        """Columns: example, position, token, word, char_start, char_end, score; one row per token.

        The score is missing (NaN) where no window that holds what is explained holds the token.
        """
        import pandas as pd

        rows: list[tuple[object, ...]] = []
        for i, example in enumerate(self.examples):
            names = {p: w.word for w in example.words() for p in w.positions}
            scores = np.where(example.read, example.scores, np.nan)
            for p, token in enumerate(example.tokens):
                start, end = example.char_spans[p].tolist()
                rows.append((i, p, token, names.get(p), start, end, float(scores[p])))
        columns = ["example", "position", "token", "word", "char_start", "char_end", "score"]
        return pd.DataFrame(rows, columns=columns)
