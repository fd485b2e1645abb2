"""Leave-one-out: what the target loses when one word goes."""

from __future__ import annotations

import numpy as np

from interpret.analyzers.attribution.job import Job, Scores
from interpret.analyzers.scheduler import removal
from interpret.results.explanations import BoolArray, FloatArray


def leave_one_out(job: Job, *, baseline: str | None = None) -> Scores:
    """F(text) - F(text without the word), for each word with all its tokens; n + 1 forwards for n words.

    It does not see words that stand in for each other: of two that say the same, neither is missed.

    Args:
        job: texts and targets.
        baseline: the token that a removed word becomes; None takes the model's removal operator.

    Reference: Li et al. 2016, arXiv 1612.08220 (there by setting the representation to zero).
    """
    operator = removal(job.handle, baseline)
    rows, examples = [], []
    for i in range(len(job.encoded)):
        keep: BoolArray = ~np.eye(len(job.groups[i]), dtype=bool)
        made = [job.full_row(i), *job.rows(i, keep, operator)]
        rows += made
        examples += [i] * len(made)
    logits = job.score(rows, examples).logit
    owner = np.asarray(examples)
    scores: list[FloatArray] = []
    values: list[float | None] = []
    for i in range(len(job.encoded)):
        whole, *missing = logits[owner == i].tolist()
        scores.append(job.spread(i, whole - np.asarray(missing, dtype=np.float64)))
        values.append(whole)
    nothing: list[float | None] = [None] * len(job.encoded)
    return Scores(scores, values, nothing, nothing, {"baseline": operator.name})
