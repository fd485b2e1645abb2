"""What both models look at for the same answer: rank correlation of attributions, and words whose share changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from interpret.analyzers.attribution import attribute
from interpret.analyzers.comparison.pair import Pair
from interpret.analyzers.target import resolve_targets
from interpret.models.inputs import Encoded
from interpret.results.comparisons import ComparisonRow
from interpret.results.explanations import ExampleAttribution
from interpret.statistics.intervals import MIN_BOOTSTRAP, bootstrap, resamples, student

FloatArray = npt.NDArray[np.float64]
#: Words that are shown, of those whose share changed most.
_TOP: Final = 15
#: Of fewer words a rank correlation says nothing.
_MIN_WORDS: Final = 3


@dataclass(frozen=True, kw_only=True)
class ExplanationChanges:
    """Rows about a sample, and of every explained example (`numbers`, ascending) how far its explanation moved.

    `change` [number] is 1 minus the rank correlation of both models' explanations: 0 where words rank alike, 1 where
    unrelated, 2 where reversed; None where words are too few or one side ranks nothing.
    """

    rows: tuple[ComparisonRow, ...]
    numbers: tuple[int, ...]
    change: tuple[float | None, ...]

    def of(self, number: int) -> float | None:
        """The change of one example; None where it was not measured."""
        return self.change[self.numbers.index(number)] if number in self.numbers else None


class ComparedExplanations(NamedTuple):
    """What changed, and both models' explanations of the same answers in the order of its numbers."""

    changes: ExplanationChanges
    base: tuple[ExampleAttribution, ...]
    tuned: tuple[ExampleAttribution, ...]


def compare_explanations(
    pair: Pair,
    encoded: Sequence[Encoded],
    sample: Sequence[int],
    further: Sequence[int] = (),
    *,
    method: str,
    seed: int,
    n_bootstrap: int = 1000,
    tuned: Mapping[int, ExampleAttribution] | None = None,
) -> ComparedExplanations:
    """Attributions of both models towards the answer of the tuned one, on the same inputs.

    `rank_correlation` is Spearman's over the words of a text, averaged over texts. `share_difference` is how much more
    of all that a text's words contribute (absolute scores) one word has after tuning; intervals of words are adjusted
    for all that could have been chosen. How far these explanations can be trusted is not measured here.

    Args:
        pair: both models.
        encoded: all examples.
        sample: numbers of the examples that the rows are about, a random sample.
        further: examples that are explained besides, of which only the change is wanted.
        method: attribution method, "auto" for the one that fits the model.
        seed: of methods and bootstrap.
        n_bootstrap: resamples.
        tuned: explanations of the tuned model's answers by `method` that are there already, by number.
    """
    numbers = sorted({*sample, *further})
    texts = [encoded[i] for i in numbers]
    targets = resolve_targets(pair.tuned, texts)
    if tuned is None:
        made = attribute(pair.tuned, texts, target=targets, method=method, seed=seed)
        method, after = made.method, list(made)
    else:
        after = [tuned[i] for i in numbers]
    with pair.as_base() as handle:
        before = list(attribute(handle, texts, target=targets, method=method, seed=seed))
    found = [rank_correlation(_scores(a), _scores(b)) for a, b in zip(before, after, strict=True)]
    chosen = set(sample)
    of_sample = [place for place, number in enumerate(numbers) if number in chosen]
    values = np.array([value for place in of_sample if (value := found[place]) is not None])
    rows = []
    if len(values):
        draws = resamples(len(values), n_bootstrap, (seed, 63))
        ends = bootstrap(values, draws) if len(values) >= MIN_BOOTSTRAP else None
        low, high = (None, None) if ends is None else (ends.low, ends.high)
        rows.append(_row("rank_correlation", float(values.mean()), low, high, len(values), method))
    rows += _shares([before[i] for i in of_sample], [after[i] for i in of_sample])
    changes = ExplanationChanges(
        rows=tuple(rows),
        numbers=tuple(numbers),
        change=tuple(None if value is None else 1.0 - value for value in found),
    )
    return ComparedExplanations(changes, tuple(before), tuple(after))


def _row(name: str, value: float, low: float | None, high: float | None, n: int, item: str | None) -> ComparisonRow:
    return ComparisonRow(part="explanations", name=name, value=value, ci_low=low, ci_high=high, n=n, item=item)


def _scores(example: ExampleAttribution) -> FloatArray:
    return np.array([word.score for word in example.words()])


def rank_correlation(a: FloatArray, b: FloatArray) -> float | None:
    """Spearman's rank correlation; None of too few words, or where one side ranks nothing."""
    from scipy.stats import rankdata

    if len(a) < _MIN_WORDS:
        return None
    x, y = rankdata(a), rankdata(b)
    if np.array_equal(x, y) and len(set(x)) > 1:
        return 1.0
    if x.std() == 0 or y.std() == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def _by_word(example: ExampleAttribution) -> dict[str, float]:
    """Each word's share of the absolute scores of its text."""
    sums: dict[str, float] = defaultdict(float)
    for word in example.words():
        sums[word.word.casefold()] += abs(word.score)
    total = sum(sums.values())
    return {word: score / total for word, score in sums.items()} if total > 0 else {}


def _shares(base: Sequence[ExampleAttribution], tuned: Sequence[ExampleAttribution]) -> list[ComparisonRow]:
    moved: dict[str, list[float]] = defaultdict(list)
    for a, b in zip(base, tuned, strict=True):
        before, after = _by_word(a), _by_word(b)
        if before and after:
            for word in after:
                moved[word].append(after[word] - before[word])
    common = {word: np.array(of) for word, of in moved.items() if len(of) >= MIN_BOOTSTRAP}
    level = 1 - 0.05 / max(1, len(common))
    ordered = sorted(common, key=lambda word: (-abs(float(common[word].mean())), word))[:_TOP]
    out = []
    for word in ordered:
        mean, low, high = student(common[word], level)
        out.append(_row("share_difference", mean, low, high, len(common[word]), word))
    return out
