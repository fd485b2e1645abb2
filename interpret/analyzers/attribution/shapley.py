"""Shapley and Owen values through the shap library, on token ids.

shap sees a game over words: it hands out masks, we turn a mask into a row of ids. Its own text masker would
join the remaining strings and tokenise them anew, which yields other tokens than those that were masked.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from interpret.analyzers.attribution.job import Job, Scores, relative_delta
from interpret.analyzers.scheduler import Operator, removal
from interpret.errors import UsageError
from interpret.results.explanations import BoolArray, FloatArray
from interpret.results.record import Scalar

#: Texts up to this many words get exact Shapley values: at most 256 rows each.
EXACT_WORDS: Final = 8
DEFAULT_EVALS: Final = 256


def shap_values(job: Job, *, max_evals: int = DEFAULT_EVALS, baseline: str | None = None) -> Scores:
    """Shapley values of the words (up to 8 words: exact), else Owen values over a balanced tree in text order.

    Owen values share credit between neighbouring halves of the text first, so they differ from Shapley values
    where words of different halves interact. Either sums to F(text) - F(all words removed).

    Args:
        job: texts and targets.
        max_evals: the most masked rows per text beyond 8 words; credit that is not resolved when they are
            spent is shared equally below the unresolved node.
        baseline: the token that a removed word becomes; None takes the model's removal operator.

    Reference: Lundberg and Lee 2017, arXiv 1705.07874; Owen 1977; through shap's `ExactExplainer` and
    `PartitionExplainer`.
    """
    if max_evals < 4:
        raise UsageError(f"max_evals is {max_evals}; SHAP needs at least 4 evaluations per text")
    operator = removal(job.handle, baseline)
    n = len(job.encoded)
    _ahead(job, operator)
    scores: list[FloatArray] = []
    values: list[float | None] = []
    baseline_values: list[float | None] = []
    deltas: list[float | None] = []
    for i in range(n):
        ends = job.score([job.full_row(i), job.empty_row(i, operator)], [i, i]).logit.tolist()
        per_feature = _explain(job, i, operator, max_evals) if job.groups[i] else np.zeros(0)
        scores.append(job.spread(i, per_feature))
        values.append(ends[0])
        baseline_values.append(ends[1])
        deltas.append(relative_delta(float(per_feature.sum()), *ends))
    options: dict[str, Scalar] = {"baseline": operator.name, "max_evals": max_evals, "exact_up_to_words": EXACT_WORDS}
    return Scores(scores, values, baseline_values, deltas, options)


def _explain(job: Job, i: int, operator: Operator, max_evals: int) -> FloatArray:
    """The values of one text's features [feature]."""
    from shap.explainers import ExactExplainer, PartitionExplainer

    n_features = len(job.groups[i])

    def game(masks: npt.NDArray[Any]) -> FloatArray:
        rows = job.rows(i, np.asarray(masks, dtype=bool), operator)
        return job.score(rows, [i] * len(rows)).logit

    player = np.ones((1, n_features))
    if n_features <= EXACT_WORDS:
        # One word is worth the whole difference; shap's enumeration starts at two.
        if n_features == 1:
            off, on = game(np.array([[False], [True]])).tolist()
            return np.array([on - off])
        explainer = ExactExplainer(game, _Masks(n_features))
        found = explainer(player, max_evals=2**n_features, batch_size=2**n_features, silent=True)
    else:
        explainer = PartitionExplainer(game, _Masks(n_features, text_order_tree(n_features)))
        found = explainer(player, max_evals=max_evals, batch_size=64, silent=True)
    values: FloatArray = np.asarray(found.values, dtype=np.float64)[0]
    return values


def _ahead(job: Job, operator: Operator) -> None:
    """Every coalition of every short text in one go, so that shap's many small calls find them in the cache."""
    rows, examples = [], []
    for i, groups in enumerate(job.groups):
        if 1 < len(groups) <= EXACT_WORDS:
            masks = np.array(list(itertools.product([False, True], repeat=len(groups))))
            rows += job.rows(i, masks, operator)
            examples += [i] * len(masks)
    # More would only push each other out of the cache.
    if len(rows) <= job.scheduler.max_rows:
        job.score(rows, examples)


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
