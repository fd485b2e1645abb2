"""What the target loses when one word goes, or a window of neighbouring words at once."""

from __future__ import annotations

import numpy as np

from interpret.analyzers.attribution.job import Job, Scores
from interpret.errors import UsageError
from interpret.results.explanations import BoolArray, FloatArray
from interpret.results.record import Scalar


def leave_one_out(job: Job, *, baseline: str | None = None) -> Scores:
    """F(text) - F(text without the word), for each word with all its tokens; n + 1 forwards for n words.

    It does not see words that stand in for each other: of two that say the same, neither is missed.

    Args:
        job: texts and targets.
        baseline: the token that a removed word becomes, or "delete" to take it out; None takes the model's removal
            operator.

    Reference: Li et al. 2016, arXiv 1612.08220 (there by setting the representation to zero).
    """
    return _without_windows(job, 1, 1, baseline, {})


def occlusion(job: Job, *, window: int = 3, stride: int = 1, baseline: str | None = None) -> Scores:
    """What the target loses when a window of neighbouring words goes: the mean over the windows that hold a word.

    A window's loss counts in full for each word in it, so scores are blurred by the width of the window and do
    not sum to any difference of outputs. Words that stand in for each other are missed together if one window
    holds both.

    Args:
        job: texts and targets.
        window: words that go at once; 1 with stride 1 is leave-one-out. Of a shorter text all words go at once.
        stride: words between the starts of two windows, at most `window`; the last window is cut at the end of
            the text.
        baseline: the token that a removed word becomes, or "delete" to take it out; None takes the model's removal
            operator.

    Reference: Zeiler and Fergus 2014, arXiv 1311.2901; windows and means as in captum's `Occlusion`.
    """
    if window < 1:
        raise UsageError(f"window is {window}; occlusion removes at least 1 word at a time")
    if not 1 <= stride <= window:
        raise UsageError(
            f"stride is {stride} with window={window}; give 1 to {window}, or words between two windows have no score"
        )
    return _without_windows(job, window, stride, baseline, {"window": window, "stride": stride})


def windows(n_features: int, window: int, stride: int) -> BoolArray:
    """Which features each window removes `[window, feature]`; every feature is in at least one."""
    last = -(-max(0, n_features - window) // stride) * stride
    start = np.arange(0, last + 1, stride)[:, None] if n_features else np.zeros((0, 1), dtype=np.int64)
    place = np.arange(n_features)[None]
    inside: BoolArray = (place >= start) & (place < start + window)
    return inside


def _without_windows(job: Job, window: int, stride: int, baseline: str | None, options: dict[str, Scalar]) -> Scores:
    operator = job.operator(baseline)
    removed = [windows(len(groups), window, stride) for groups in job.groups]
    rows, examples = [], []
    for i, gone in enumerate(removed):
        made = [job.full_row(i), *job.rows(i, ~gone, operator)]
        rows += made
        examples += [i] * len(made)
    logits = job.score(rows, examples).logit
    owner = np.asarray(examples)
    scores: list[FloatArray] = []
    values: list[float | None] = []
    for i, gone in enumerate(removed):
        whole, *missing = logits[owner == i].tolist()
        loss = whole - np.asarray(missing, dtype=np.float64)
        scores.append(job.spread(i, loss @ gone / gone.sum(axis=0)))
        values.append(whole)
    nothing: list[float | None] = [None] * len(job.encoded)
    return Scores(scores, values, nothing, nothing, {"baseline": operator.name, **options})
