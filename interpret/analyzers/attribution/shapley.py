"""Shapley and Owen values through the shap library, on token ids.

shap sees a game over words: it hands out masks, we turn a mask into a row of ids. Its own text masker would
join the remaining strings and tokenise them anew, which yields other tokens than those that were masked. shap
explains one text after the other, a few masks at a time; here the texts' games run side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from interpret.analyzers.attribution.job import Job, Scores, relative_delta
from interpret.analyzers.attribution.lockstep import Game, side_by_side
from interpret.analyzers.scheduler import Operator
from interpret.errors import UsageError
from interpret.models.batching import Row
from interpret.results.explanations import BoolArray, FloatArray
from interpret.results.record import Scalar

#: Texts up to this many words get exact Shapley values: at most 256 rows each.
EXACT_WORDS: Final = 8
DEFAULT_EVALS: Final = 256
DEFAULT_PERMUTATIONS: Final = 10
#: Masks that shap's partition explainer asks for in one call; it decides which nodes are opened within a budget.
_PARTITION_BATCH: Final = 64

#: Finds the values [feature] of a game with so many features.
_Explain = Callable[[Game, int], FloatArray]


def shap_values(job: Job, *, max_evals: int = DEFAULT_EVALS, baseline: str | None = None) -> Scores:
    """Shapley values of the words (up to 8 words: exact), else Owen values over a balanced tree in text order.

    Owen values share credit between neighbouring halves of the text first, so they differ from Shapley values
    where words of different halves interact. Either sums to F(text) - F(all words removed).

    Args:
        job: texts and targets.
        max_evals: the most masked rows per text beyond 8 words; credit that is not resolved when they are
            spent is shared equally below the unresolved node.
        baseline: the token that a removed word becomes, or "delete" to take it out; None takes the model's removal
            operator.

    Reference: Lundberg and Lee 2017, arXiv 1705.07874; Owen 1977; through shap's `ExactExplainer` and
    `PartitionExplainer`.
    """
    if max_evals < 4:
        raise UsageError(f"max_evals is {max_evals}; SHAP needs at least 4 evaluations per text")
    operator = job.operator(baseline)

    def explain(game: Game, n_features: int) -> FloatArray:
        return _exact(game, n_features) if n_features <= EXACT_WORDS else _owen(game, n_features, max_evals)

    options: dict[str, Scalar] = {"baseline": operator.name, "max_evals": max_evals, "exact_up_to_words": EXACT_WORDS}
    return _play(job, operator, explain, options)


def permutation_shap(job: Job, *, n_permutations: int = DEFAULT_PERMUTATIONS, baseline: str | None = None) -> Scores:
    """Shapley values of the words by sampled orders of removal: unbiased, and no tree that puts neighbours together.

    Each order is walked forwards and backwards, which is exact where words interact in pairs only; beyond that
    the values are estimates with the noise of `n_permutations` orders. They sum to F(text) - F(all words
    removed) whatever the number of orders.

    Args:
        job: texts and targets; its seed draws the orders, the same ones for a text alone and in company.
        n_permutations: orders per text, each 2 n + 1 rows for n words.
        baseline: the token that a removed word becomes, or "delete" to take it out; None takes the model's removal
            operator.

    Reference: Lundberg and Lee 2017, arXiv 1705.07874; antithetic orders: Mitchell et al. 2022, arXiv 2104.12199;
    through shap's `PermutationExplainer`.
    """
    if n_permutations < 1:
        raise UsageError(f"n_permutations is {n_permutations}; permutation SHAP needs at least 1")
    operator = job.operator(baseline)

    def explain(game: Game, n_features: int) -> FloatArray:
        return _permuted(game, n_features, n_permutations, job.seed)

    options: dict[str, Scalar] = {"baseline": operator.name, "n_permutations": n_permutations}
    return _play(job, operator, explain, options)


def _play(job: Job, operator: Operator, explain: _Explain, options: dict[str, Scalar]) -> Scores:
    """Every text's game, all of them side by side."""
    n = len(job.encoded)
    ends = [job.full_row(i) for i in range(n)] + [job.empty_row(i, operator) for i in range(n)]
    scored = job.score(ends, [*range(n), *range(n)]).logit
    values, baseline_values = scored[:n].tolist(), scored[n:].tolist()
    playing = [i for i in range(n) if job.groups[i]]

    def answer(calls: list[tuple[int, BoolArray]]) -> list[FloatArray]:
        rows: list[Row] = []
        examples: list[int] = []
        for number, masks in calls:
            made = job.rows(playing[number], masks, operator)
            rows += made
            examples += [playing[number]] * len(made)
        logits = job.score(rows, examples).logit
        return np.split(logits, np.cumsum([len(masks) for _, masks in calls])[:-1])

    def play(n_features: int) -> Callable[[Game], FloatArray]:
        return lambda game: explain(game, n_features)

    per_feature = [np.zeros(0)] * n
    found = side_by_side([play(len(job.groups[i])) for i in playing], answer, seed=job.seed)
    for i, line in zip(playing, found, strict=True):
        per_feature[i] = line
    deltas = [
        relative_delta(float(line.sum()), value, empty)
        for line, value, empty in zip(per_feature, values, baseline_values, strict=True)
    ]
    scores = [job.spread(i, line) for i, line in enumerate(per_feature)]
    return Scores(scores, values, baseline_values, list(deltas), options)


def _exact(game: Game, n_features: int) -> FloatArray:
    from shap.explainers import ExactExplainer

    if n_features == 1:
        # One word is worth the whole difference; shap's enumeration starts at two.
        off, on = game(np.array([[False], [True]])).tolist()
        return np.array([on - off])
    explainer = ExactExplainer(_asked(game), _Masks(n_features))
    return _values(explainer, n_features, max_evals=2**n_features, batch_size=2**n_features)


def _owen(game: Game, n_features: int, max_evals: int) -> FloatArray:
    from shap.explainers import PartitionExplainer

    explainer = PartitionExplainer(_asked(game), _Masks(n_features, text_order_tree(n_features)))
    return _values(explainer, n_features, max_evals=max_evals, batch_size=_PARTITION_BATCH)


def _permuted(game: Game, n_features: int, n_permutations: int, seed: int) -> FloatArray:
    from shap.explainers import PermutationExplainer

    n_rows = 2 * n_features + 1
    explainer = PermutationExplainer(_asked(game), _Masks(n_features), seed=seed)
    return _values(explainer, n_features, max_evals=n_permutations * n_rows, batch_size=n_rows)


def _asked(game: Game) -> Game:
    return lambda masks: game(np.asarray(masks, dtype=bool))


def _values(explainer: Any, n_features: int, **options: Any) -> FloatArray:
    """The values [feature] of shap's one player, who has every feature."""
    found = explainer(np.ones((1, n_features)), silent=True, **options)
    values: FloatArray = np.asarray(found.values, dtype=np.float64)[0]
    return values


class _Masks:
    """shap's idea of a masker, for a game whose player is the mask itself."""

    immutable_outputs = True

    def __init__(self, n_features: int, clustering: FloatArray | None = None) -> None:
        self.shape = (1, n_features)
        self.clustering = clustering

    def __call__(self, mask: BoolArray, player: FloatArray) -> tuple[BoolArray]:
        return (np.asarray(mask, dtype=bool).reshape(1, -1).copy(),)


def text_order_tree(n_features: int) -> FloatArray:
    """A balanced binary tree over neighbouring words, as a linkage matrix `[n_features - 1, 4]`."""
    links: list[tuple[int, int, float, int]] = []

    def join(first: int, end: int) -> tuple[int, float]:
        if end - first == 1:
            return first, 0.0
        middle = (first + end + 1) // 2
        (left, low), (right, high) = join(first, middle), join(middle, end)
        height = max(low, high) + 1.0
        links.append((left, right, height, end - first))
        return n_features + len(links) - 1, height

    join(0, n_features)
    return np.array(links, dtype=np.float64)
