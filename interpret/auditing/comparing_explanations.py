"""What both models look at for the same answer: rank correlation of attributions, and words whose share changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

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


def explanation_rows(
    pair: Pair, encoded: Sequence[Encoded], *, method: str, seed: int, n_bootstrap: int = 1000
) -> list[ComparisonRow]:
    """Attributions of both models towards the answer of the tuned one, on the same inputs.

    `rank_correlation` is Spearman's over the words of a text, averaged over texts. `share_difference` is how much more
    of all that a text's words contribute (absolute scores) one word has after tuning; intervals of words are adjusted
    for all that could have been chosen. How far these explanations can be trusted is not measured here.
    """
    targets = resolve_targets(pair.tuned, encoded)
    tuned = attribute(pair.tuned, encoded, target=targets, method=method, seed=seed)
    with pair.as_base() as handle:
        base = attribute(handle, encoded, target=targets, method=tuned.method, seed=seed)
    pairs = [(_scores(a), _scores(b)) for a, b in zip(base, tuned, strict=True)]
    found = [rank_correlation(a, b) for a, b in pairs]
    values = np.array([value for value in found if value is not None])
    rows = []
    if len(values):
        draws = resamples(len(values), n_bootstrap, (seed, 63))
        ends = bootstrap(values, draws) if len(values) >= MIN_BOOTSTRAP else None
        low, high = (None, None) if ends is None else (ends.low, ends.high)
        rows.append(_row("rank_correlation", float(values.mean()), low, high, len(values), tuned.method))
    return rows + _shares(list(base), list(tuned))


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
