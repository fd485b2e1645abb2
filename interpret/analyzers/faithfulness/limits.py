"""The least and the most that any ranking of a text's words could reach, so that AOPC can be held between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from interpret.analyzers.faithfulness.rankings import score_masks
from interpret.analyzers.faithfulness.words import Ranked
from interpret.analyzers.scheduler import Operator, Scheduler
from interpret.results.explanations import BoolArray, FloatArray, IntArray

#: Texts up to this many words are enumerated: at most 256 rows each, which a beam would need too.
EXACT_WORDS: Final = 8
#: Sets of removed words that a beam goes on with.
BEAM_WIDTH: Final = 3


class Limits(NamedTuple):
    """AOPC over every number of removed words, of the worst and of the best ranking; in probability.

    `exact`: every set of words was tried. Otherwise a beam found these, and better and worse rankings may exist.
    """

    lower: float
    upper: float
    exact: bool


class _Beam(NamedTuple):
    """Sets of words that are still there `[set, word]`, and the summed probabilities on the way to each `[set]`."""

    keep: BoolArray
    total: FloatArray


def aopc_limits(
    scheduler: Scheduler,
    batch: Sequence[Ranked],
    operator: Operator,
    *,
    budget: int,
    seed: int,
    exact_words: int = EXACT_WORDS,
    width: int = BEAM_WIDTH,
) -> list[Limits | None]:
    """Lower and upper limit of AOPC for each text; None where the budget did not reach.

    AOPC of a ranking of n words is p(text) - the mean of p without its top k words, over k = 1 to n. It depends on
    the sets along the way only, so that the best and the worst of the n! rankings come of the 2^n sets: exactly for
    short texts, by a beam from the whole text downwards for others.

    Args:
        scheduler: runs the rows.
        batch: the texts.
        operator: how words are removed.
        budget: tokens to spend; texts are taken in an order drawn by `seed`, and those left out that do not fit.
        seed: of that order.
        exact_words: the most words that are enumerated.
        width: sets a beam goes on with in each direction.

    Reference: Edin et al. 2025, arXiv 2408.08137, equations 5 to 7 (there the enumeration is of rankings).
    """
    short = [i for i, ranked in enumerate(batch) if len(ranked.groups) <= exact_words]
    taken = set(_affordable(batch, budget, seed, exact_words, width))
    out: list[Limits | None] = [None] * len(batch)
    exact = [i for i in short if i in taken]
    for i, found in zip(exact, _enumerated(scheduler, [batch[i] for i in exact], operator), strict=True):
        out[i] = found
    rest = sorted(taken - set(exact))
    for i, found in zip(rest, _searched(scheduler, [batch[i] for i in rest], operator, width), strict=True):
        out[i] = found
    return out


def _affordable(batch: Sequence[Ranked], budget: int, seed: int, exact_words: int, width: int) -> list[int]:
    taken, spent = [], 0
    for i in np.random.default_rng([seed, len(batch)]).permutation(len(batch)).tolist():
        n_words = len(batch[i].groups)
        rows = 2**n_words if n_words <= exact_words else width * n_words * (n_words + 1)
        cost = rows * batch[i].n_read
        if spent + cost <= budget:
            taken.append(i)
            spent += cost
    return taken


def _enumerated(scheduler: Scheduler, batch: Sequence[Ranked], operator: Operator) -> list[Limits]:
    masks = []
    for ranked in batch:
        n_words = len(ranked.groups)
        sets = np.arange(2**n_words)
        masks.append((ranked, (sets[:, None] >> np.arange(n_words)[None, :] & 1).astype(bool)))
    return [_over_sets(found.probability) for found in score_masks(scheduler, masks, operator)]


def _over_sets(probability: FloatArray) -> Limits:
    """Limits from the probability of every set of kept words, by the number whose bits say which words stay."""
    n_words = len(probability).bit_length() - 1
    full = len(probability) - 1
    least, most = probability.copy(), probability.copy()
    least[full] = most[full] = 0.0
    for kept in range(full - 1, -1, -1):
        before = [kept | 1 << word for word in range(n_words) if not kept >> word & 1]
        least[kept] += least[before].min()
        most[kept] += most[before].max()
    whole = float(probability[full])
    return Limits(whole - float(most[0]) / n_words, whole - float(least[0]) / n_words, True)


def _searched(scheduler: Scheduler, batch: Sequence[Ranked], operator: Operator, width: int) -> list[Limits]:
    """All texts go down together, one word at a time, so that each step is one run of many rows."""
    if not batch:
        return []
    whole_masks = [(ranked, np.ones((1, len(ranked.groups)), dtype=bool)) for ranked in batch]
    whole = [float(found.probability[0]) for found in score_masks(scheduler, whole_masks, operator)]
    beams = [[_Beam(keep, np.zeros(1))] * 2 for _, keep in whole_masks]
    for step in range(max(len(ranked.groups) for ranked in batch)):
        open_ = [i for i, ranked in enumerate(batch) if step < len(ranked.groups)]
        children = [[_children(beam) for beam in beams[i]] for i in open_]
        masks = [
            (batch[i], np.concatenate([keep for keep, _ in pair])) for i, pair in zip(open_, children, strict=True)
        ]
        for i, pair, found in zip(open_, children, score_masks(scheduler, masks, operator), strict=True):
            (down, down_from), (up, up_from) = pair
            low, high = np.split(found.probability, [len(down)])
            least = _Beam(down, beams[i][0].total[down_from] + low)
            most = _Beam(up, beams[i][1].total[up_from] + high)
            beams[i] = [_best(least, width, 1.0), _best(most, width, -1.0)]
    out = []
    for ranked, first, (least, most) in zip(batch, whole, beams, strict=True):
        n_words = len(ranked.groups)
        out.append(Limits(first - most.total.max() / n_words, first - least.total.min() / n_words, False))
    return out


def _children(beam: _Beam) -> tuple[BoolArray, IntArray]:
    """Each set of the beam less each of its words, and which set it came from."""
    parent, word = np.nonzero(beam.keep)
    keep = beam.keep[parent]
    keep[np.arange(len(word)), word] = False
    return keep, parent


def _best(beam: _Beam, width: int, sign: float) -> _Beam:
    """The `width` sets with the lowest (sign 1) or highest (-1) sums; of one set the best way to it counts."""
    order = np.argsort(sign * beam.total, kind="stable")
    _, first = np.unique(np.packbits(beam.keep[order], axis=1), axis=0, return_index=True)
    kept = order[np.sort(first)[:width]]
    return _Beam(beam.keep[kept], beam.total[kept])
