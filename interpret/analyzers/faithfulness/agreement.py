"""How an explanation stands to its own completeness and to other explanations of the same texts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from interpret.analyzers.faithfulness.stats import spearman
from interpret.errors import UsageError
from interpret.results.explanations import Attribution, ExampleAttribution, FloatArray
from interpret.results.record import Estimate, Message
from interpret.statistics.intervals import MIN_BOOTSTRAP, bootstrap, resamples


class Completeness(NamedTuple):
    """Relative completeness errors over examples; None where the method promises no sum."""

    median: float | None
    max: float | None
    n: int


def completeness(attribution: Attribution) -> Completeness:
    """Median and largest |sum - (F(x) - F(b))| / |F(x) - F(b)|: an error of the sum, not of any one word."""
    deltas = [d for d in attribution.convergence_delta if d is not None]
    if not deltas:
        return Completeness(None, None, 0)
    return Completeness(float(np.median(deltas)), float(np.max(deltas)), len(deltas))


def agreement(
    a: Attribution, b: Attribution, seed: int = 0, *, absolute: bool = False, n_bootstrap: int = 1000
) -> Estimate:
    """Mean Spearman correlation between two explanations' word scores, text by text, -1 to 1.

    Two explanations may agree and both be wrong. Where tokens differ, the scores of `b` are laid onto the
    words of `a` by characters. Words of a long text that are in no window with the target of `a`, or in none with that
    of `b`, do not count, nor do texts with fewer than two words that do, or on which one side is constant.

    Args:
        a: explanation of some texts.
        b: another explanation of the same texts, in the same order.
        seed: of the bootstrap over texts; from 5 texts on there is an interval.
        absolute: correlate sizes instead of signed scores.
        n_bootstrap: resamples.

    Raises:
        UsageError: the texts differ.
    """
    if [e.text for e in a] != [e.text for e in b]:
        raise UsageError("the two attributions explain different texts; explain the same texts in the same order")
    found = []
    for left, right in zip(a, b, strict=True):
        ours, theirs = _paired(left, right)
        found.append(spearman(np.abs(ours), np.abs(theirs)) if absolute else spearman(ours, theirs))
    name = "spearman_absolute" if absolute else "spearman_signed"
    return estimate(name, [f for f in found if f is not None], seed, n_bootstrap)


def estimate(name: str, values: list[float], seed: int, n_bootstrap: int = 1000) -> Estimate:
    """Mean over examples with its bootstrap interval, where there are enough of them."""
    n = len(values)
    if not n:
        return Estimate(name=name, value=None, n=0, why=Message(code="no_comparable_example"))
    if n < MIN_BOOTSTRAP:
        why = Message(code="too_few_examples", params={"n": n, "needed": MIN_BOOTSTRAP})
        return Estimate(name=name, value=float(np.mean(values)), n=n, why=why)
    interval = bootstrap(np.asarray(values), resamples(n, n_bootstrap, seed))
    return Estimate(
        name=name,
        value=interval.mean,
        ci_low=max(-1.0, interval.low),
        ci_high=min(1.0, interval.high),
        n=n,
        interval="bootstrap",
    )


def _paired(a: ExampleAttribution, b: ExampleAttribution) -> tuple[FloatArray, FloatArray]:
    """Word scores of both, on the words of `a` of which the model could read something both times."""
    words = a.words()
    if a.tokens == b.tokens and np.array_equal(a.word_index, b.word_index):
        theirs = [w.score for w in b.words()]
        known = b.words_read(words).tolist()
    else:
        per_character, readable = np.zeros(len(b.text)), np.zeros(len(b.text), dtype=bool)
        for (start, end), score, read in zip(b.char_spans.tolist(), b.scores.tolist(), b.read.tolist(), strict=True):
            if end > start:
                per_character[start:end] += score / (end - start)
                readable[start:end] |= read
        theirs = [float(per_character[w.char_start : w.char_end].sum()) for w in words]
        # What has no tokens of its own there, as where a text was cut, has a score of 0 as ever.
        known = [b.windows is None or bool(readable[w.char_start : w.char_end].any()) for w in words]
    both = a.words_read(words) & np.array(known, dtype=bool)
    return np.array([w.score for w in words])[both], np.array(theirs)[both]
