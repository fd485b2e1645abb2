"""The altered texts that rankings of words ask for, built as one set of masks per text; each distinct one runs once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from interpret.analyzers.faithfulness.words import Ranked, trivial_scores
from interpret.analyzers.scheduler import TAKEN_OUT, Operator, Scheduler, Scored, removed_tokens, rows_without
from interpret.analyzers.target import Target
from interpret.models.batching import Row
from interpret.results.explanations import BoolArray, FloatArray, IntArray

#: Rows built at once; what they yield is a few numbers, but the ids of long texts add up.
_CHUNK_ROWS: Final = 8192
#: Masks of one whole curve beside the whole text; longer texts lose several words from one mask to the next.
CURVE_STEPS: Final = 64


class Design(NamedTuple):
    """What is run for each text.

    `fractions` of the words are removed for the explanation, every trivial ranking and `n_removed` random ones; they
    are kept for the given rankings and the first `n_kept` random ones. With `n_curves` those and the first so many
    random rankings get a whole deletion and insertion curve, and every word is left out once.
    """

    fractions: tuple[float, ...]
    n_removed: int
    n_kept: int
    n_curves: int | None = None


class Curves(NamedTuple):
    """Probabilities `[ranking, mask]` along `counts` [mask], from no word to all of them.

    `deletion`: without the top words; `insertion`: with only those. `missed` [word] is what the target's logit loses
    when one word goes.
    """

    counts: IntArray
    deletion: FloatArray
    insertion: FloatArray
    missed: FloatArray


@dataclass(frozen=True)
class Measured:
    """One text: `scores` [ranking, word] of the explanation, then the trivial, then the random rankings.

    `whole` is the probability of the explained class; `removed` and `kept` are `[ranking, fraction]`.
    """

    ranked: Ranked
    scores: FloatArray
    whole: float
    removed: FloatArray
    kept: FloatArray
    curves: Curves | None


def run_rankings(
    scheduler: Scheduler,
    batch: Sequence[Ranked],
    numbers: Sequence[int],
    design: Design,
    operator: Operator,
    seed: int,
) -> list[Measured]:
    """Every ranking of each text under one operator.

    Args:
        scheduler: runs the rows, each distinct one once.
        batch: the texts.
        numbers: the number of each text in its attribution, which decides its random rankings.
        design: what is run.
        operator: how words are removed.
        seed: of the random rankings.
    """
    trivial = trivial_scores(batch, last_first=scheduler.handle.is_decoder)
    n_given = 1 + len(trivial)
    scored: list[FloatArray] = []
    for n, (number, ranked) in enumerate(zip(numbers, batch, strict=True)):
        rng = np.random.default_rng([seed, number])
        given = [ranked.scores, *(scores[n] for scores in trivial.values())]
        orders = [rng.permutation(len(ranked.groups)) for _ in range(design.n_removed)]
        scored.append(np.array([*given, *(-np.argsort(order).astype(np.float64) for order in orders)]))
    masks = ((ranked, _masks(scores, design, n_given)) for ranked, scores in zip(batch, scored, strict=True))
    out = []
    for ranked, scores, found in zip(batch, scored, score_masks(scheduler, masks, operator), strict=True):
        out.append(_measured(ranked, scores, found, design, n_given))
    return out


def score_masks(
    scheduler: Scheduler, texts: Iterable[tuple[Ranked, BoolArray]], operator: Operator
) -> Iterator[Scored]:
    """The target of each text under each line of its mask [row, word]; rows of several texts run together."""
    waiting: list[tuple[Ranked, BoolArray, IntArray]] = []
    n_rows = 0
    for ranked, keep in texts:
        packed = np.packbits(keep, axis=1)
        _, first, inverse = np.unique(packed, axis=0, return_index=True, return_inverse=True)
        waiting.append((ranked, keep[first], inverse.reshape(-1)))
        n_rows += len(first)
        if n_rows >= _CHUNK_ROWS:
            yield from _scored(scheduler, waiting, operator)
            waiting, n_rows = [], 0
    if waiting:
        yield from _scored(scheduler, waiting, operator)


def top_counts(n_words: int, fractions: Sequence[float]) -> list[int]:
    """K for each fraction: at least 1, since removing nothing would look perfectly sufficient."""
    return [min(n_words, max(1, int(np.floor(f * n_words + 0.5)))) for f in fractions]


def told_apart(ranked: Ranked, fractions: Sequence[float]) -> bool:
    """Whether rankings of a text can differ: at some of these fractions of its words, some stay."""
    n_words = len(ranked.groups)
    return min(top_counts(n_words, fractions)) < n_words


def curve_counts(n_words: int) -> IntArray:
    """How many words are gone at each mask of a whole curve: every number of them, in even steps for long texts."""
    steps = min(n_words, CURVE_STEPS)
    counts: IntArray = np.unique(np.floor(np.linspace(0, n_words, steps + 1) + 0.5)).astype(np.int64)
    return counts


def _scored(
    scheduler: Scheduler, texts: Sequence[tuple[Ranked, BoolArray, IntArray]], operator: Operator
) -> Iterator[Scored]:
    rows: list[Row] = []
    targets: list[Target] = []
    n_parts = []
    for ranked, keep, _ in texts:
        gone = removed_tokens(ranked.encoded, ranked.groups, keep)
        parts = ranked.target.parts(ranked.encoded)
        for part, target in parts:
            there = gone[:, list(part.positions)]
            made = rows_without(part.encoded, there, operator)
            rows += [target.complete(scheduler.handle, row) for row in made]
            targets += _targets(target, there, operator)
        n_parts.append(len(parts))
    found = scheduler.score_targets(rows, targets)
    start = 0
    for (_, keep, inverse), n in zip(texts, n_parts, strict=True):
        block = slice(start, start + n * len(keep))
        # Of windows the means are measured, since the mean of them is what was explained.
        logit, probability = (values[block].reshape(n, -1).mean(axis=0) for values in found)
        yield Scored(logit[inverse], probability[inverse])
        start = block.stop


def _targets(target: Target, gone: BoolArray, operator: Operator) -> list[Target]:
    """The target in each row; taking tokens out moves the place where it is read in the text."""
    if operator.token_id != TAKEN_OUT or target.response or target.position is None:
        return [target] * len(gone)
    before = np.cumsum(gone, axis=1)

    def moved(place: int | None, row: int) -> int | None:
        return None if place is None else int(place - (before[row, place - 1] if place else 0))

    return [
        replace(target, position=moved(target.position, row), end=moved(target.end, row)) for row in range(len(gone))
    ]


def _ranks(scores: FloatArray) -> IntArray:
    """The place of each word in each ranking `[ranking, word]`, the highest score first, ties in text order."""
    ranks: IntArray = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return ranks


def _masks(scores: FloatArray, design: Design, n_given: int) -> BoolArray:
    """Which words stay `[row, word]`: the whole text, then the blocks that `_measured` takes apart again."""
    n_words = scores.shape[1]
    ranks = _ranks(scores)

    def top(n_rankings: int, counts: IntArray) -> BoolArray:
        chosen: BoolArray = (ranks[:n_rankings, None, :] < counts[None, :, None]).reshape(-1, n_words)
        return chosen

    counts = np.array(top_counts(n_words, design.fractions))
    blocks = [
        np.ones((1, n_words), dtype=bool),
        ~top(len(ranks), counts),
        top(n_given + design.n_kept, counts),
    ]
    if design.n_curves is not None:
        curve = top(n_given + design.n_curves, curve_counts(n_words))
        blocks += [~curve, curve, ~np.eye(n_words, dtype=bool)]
    return np.concatenate(blocks)


def _measured(ranked: Ranked, scores: FloatArray, found: Scored, design: Design, n_given: int) -> Measured:
    probability, n_fractions = found.probability, len(design.fractions)
    sizes = [1, len(scores) * n_fractions, (n_given + design.n_kept) * n_fractions]
    whole, removed, kept, rest = np.split(probability, np.cumsum(sizes))
    curves = None
    if design.n_curves is not None:
        counts = curve_counts(scores.shape[1])
        n_masks = (n_given + design.n_curves) * len(counts)
        deletion, insertion, _ = np.split(rest, [n_masks, 2 * n_masks])
        missed = found.logit[0] - found.logit[len(found.logit) - scores.shape[1] :]
        curves = Curves(counts, deletion.reshape(-1, len(counts)), insertion.reshape(-1, len(counts)), missed)
    return Measured(
        ranked, scores, float(whole[0]), removed.reshape(-1, n_fractions), kept.reshape(-1, n_fractions), curves
    )
