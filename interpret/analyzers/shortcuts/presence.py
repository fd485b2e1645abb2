"""An attribution of many texts as counts: which word stands in which text, with which score."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from interpret.errors import InconclusiveError, UsageError
from interpret.results.explanations import Attribution, ExampleAttribution

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: A word's attribution is compared with that of so many others of the nearest frequencies.
N_NEIGHBOURS: Final = 20


@dataclass(frozen=True)
class Tally:
    """Words of texts, one entry for each word of each text that holds it; texts and words in a canonical order.

    `text`, `word` [entry] are indices into `labels`' texts and `words`. `score` [entry] is the word's signed score,
    summed over the places it stands at; `share` [entry] its absolute value over that of all words of the text (0 to
    1), and `lift` the share times the number of the text's different words, so that 1 is an equal part.
    `predicted`, `explained`, `foil` and `gold` [text] index `labels`; -1 where there is none. `slices` [text].
    """

    words: tuple[str, ...]
    forms: tuple[str, ...]
    labels: tuple[str, ...]
    text: IntArray
    word: IntArray
    score: FloatArray
    share: FloatArray
    lift: FloatArray
    predicted: IntArray
    explained: IntArray
    foil: IntArray
    gold: IntArray | None
    slices: tuple[str | None, ...]

    @property
    def n_texts(self) -> int:
        return len(self.predicted)

    def matrix(self, values: FloatArray) -> Any:
        """Values [entry] as a sparse matrix [text, word]."""
        from scipy.sparse import csr_array

        return csr_array((values, (self.text, self.word)), shape=(self.n_texts, len(self.words)))

    def part(self, kept: BoolArray) -> Tally:
        """Only the texts [text] that are kept; the words stay, so that indices go on to mean the same."""
        entries = kept[self.text]
        place = np.cumsum(kept) - 1
        return Tally(
            words=self.words,
            forms=self.forms,
            labels=self.labels,
            text=place[self.text[entries]],
            word=self.word[entries],
            score=self.score[entries],
            share=self.share[entries],
            lift=self.lift[entries],
            predicted=self.predicted[kept],
            explained=self.explained[kept],
            foil=self.foil[kept],
            gold=None if self.gold is None else self.gold[kept],
            slices=tuple(s for s, k in zip(self.slices, kept.tolist(), strict=True) if k),
        )


def tally(
    attribution: Attribution,
    labels: Sequence[int | str] | None,
    predictions: Sequence[int | str] | None,
    slices: Sequence[str | None] | None,
) -> Tally:
    """Count words and settle which class each text is predicted, explained and labelled as.

    Words are those of the attribution, case folded; a word that stands twice in a text counts once. The order of the
    texts has no effect, on no digit.

    Raises:
        UsageError: lengths differ, the predictions are not known, or no label is one of the model's.
        InconclusiveError: no texts.
    """
    n = len(attribution)
    if n == 0:
        raise InconclusiveError(
            "asked which words a model leans on, but the attribution holds no texts", code="thin_data"
        )
    for name, given in (("labels", labels), ("predictions", predictions), ("slices", slices)):
        if given is not None and len(given) != n:
            raise UsageError(f"{name} holds {len(given)} entries for {n} attributed texts; give one per text")
    naming = _names_of_indices(attribution)
    predicted = _predictions(attribution, predictions, naming)
    gold = None if labels is None else [_name(label, naming) for label in labels]
    explained = [_target(e, foil=False) for e in attribution]
    foils = [_target(e, foil=True) for e in attribution]
    known = {*predicted, *filter(None, explained), *filter(None, foils)}
    if gold is not None and not known & set(gold):
        raise UsageError(
            f"none of the labels ({', '.join(map(repr, sorted(set(gold))[:5]))}) is a class of the model "
            f"({', '.join(map(repr, sorted(known)[:5]))}); give labels by the model's names or indices"
        )
    classes = tuple(sorted(known | set(gold or ())))
    at = {label: index for index, label in enumerate(classes)}
    cut: list[str | None] = [None] * n if slices is None else [s or None for s in slices]
    order = sorted(
        range(n),
        key=lambda i: (
            attribution[i].text, predicted[i], gold[i] if gold else "", cut[i] or "", explained[i] or "",
            attribution[i].scores.tolist(),
        ),
    )  # fmt: skip
    found = [_scores(attribution[i]) for i in order]
    words = tuple(sorted({word for scores in found for word in scores}))
    number = {word: index for index, word in enumerate(words)}
    sizes = [len(scores) for scores in found]
    score = np.array([s for scores in found for s in scores.values()], dtype=np.float64)
    text = np.repeat(np.arange(n), sizes)
    total = np.bincount(text, weights=np.abs(score), minlength=n)[text]
    share = np.divide(np.abs(score), total, out=np.zeros_like(score), where=total > 0)

    def indices(names: Sequence[str | None]) -> IntArray:
        return np.array([-1 if names[i] is None else at[str(names[i])] for i in order], dtype=np.int64)

    return Tally(
        words=words,
        forms=_forms(attribution, words),
        labels=classes,
        text=text,
        word=np.array([number[word] for scores in found for word in scores], dtype=np.int64),
        score=score,
        share=share,
        lift=share * np.repeat(sizes, sizes),
        predicted=indices(predicted),
        explained=indices(explained),
        foil=indices(foils),
        gold=None if gold is None else indices(gold),
        slices=tuple(cut[i] for i in order),
    )


def neighbours(n: IntArray) -> list[IntArray]:
    """The `N_NEIGHBOURS` others of the nearest numbers of texts `n` [word], for each word that stands in any."""
    ranked = np.lexsort((np.arange(len(n)), n))
    ranked = ranked[n[ranked] > 0]
    out: list[IntArray] = [np.zeros(0, dtype=np.int64)] * len(n)
    for place, word in enumerate(ranked.tolist()):
        start = max(0, min(place - N_NEIGHBOURS // 2, len(ranked) - N_NEIGHBOURS - 1))
        near = ranked[start : start + N_NEIGHBOURS + 1]
        out[word] = near[near != word]
    return out


def checked_options(min_count: int, alpha: float, n_bootstrap: int, top: int) -> None:
    """Refuse counts and levels that mean nothing."""
    if min_count < 1 or top < 1 or n_bootstrap < 0:
        raise UsageError(
            f"min_count={min_count} and top={top} must be at least 1, n_bootstrap={n_bootstrap} at least 0"
        )
    if not 0.0 < alpha < 1.0:
        raise UsageError(f"alpha={alpha} is not between 0 and 1; it is the chance of naming any word wrongly")


def _scores(example: ExampleAttribution) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for word in example.words():
        name = word.word.strip().casefold()
        if name:
            sums[name] += word.score
    return dict(sorted(sums.items()))


def _forms(attribution: Attribution, words: tuple[str, ...]) -> tuple[str, ...]:
    """How each word is mostly written; among equals the first in the alphabet."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for example in attribution:
        for word in example.words():
            written = word.word.strip()
            seen[written.casefold()][written] += 1
    return tuple(min(seen[word], key=lambda form: (-seen[word][form], form)) for word in words)


def _names_of_indices(attribution: Attribution) -> dict[int, str]:
    out: dict[int, str] = {}
    for target in attribution.target:
        for index, label in ((target.index, target.label), (target.foil_index, target.foil_label)):
            if index is not None and label is not None:
                out[index] = label
    return out


def _name(label: int | str, naming: dict[int, str]) -> str:
    return label if isinstance(label, str) else naming.get(int(label), str(int(label)))


def _target(example: ExampleAttribution, *, foil: bool) -> str | None:
    index = example.target.foil_index if foil else example.target.index
    label = example.target.foil_label if foil else example.target.label
    return label if label is not None or index is None else str(index)


def _predictions(attribution: Attribution, given: Sequence[int | str] | None, naming: dict[int, str]) -> list[str]:
    if given is not None:
        return [_name(label, naming) for label in given]
    own = [_target(e, foil=False) if e.target.chosen == "predicted" else None for e in attribution]
    if any(label is None for label in own):
        raise UsageError(
            "what the model predicts is not known: the attribution explains classes that were given, not predicted "
            "ones; give predictions=[...], one class per text"
        )
    return [str(label) for label in own]
