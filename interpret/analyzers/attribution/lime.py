"""LIME for text: a weighted linear model of the target, fitted to copies of the text with words removed."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from interpret.analyzers.attribution.job import Job, Scores
from interpret.errors import UsageError
from interpret.results.explanations import BoolArray, FloatArray
from interpret.results.record import Scalar

DEFAULT_SAMPLES: Final = 500
#: In units of the cosine distance, which is 1 where nothing is left.
DEFAULT_KERNEL_WIDTH: Final = 0.25
DEFAULT_ALPHA: Final = 1.0


class Surrogate(NamedTuple):
    """The linear model of one text: its weights [feature], and the share of the weighted variance it explains."""

    weights: FloatArray
    r_squared: float


def lime(
    job: Job,
    *,
    n_samples: int = DEFAULT_SAMPLES,
    kernel_width: float = DEFAULT_KERNEL_WIDTH,
    alpha: float = DEFAULT_ALPHA,
    baseline: str | None = None,
) -> Scores:
    """Weights of a linear model that stands in for the target near the text, one for each word.

    They say what the linear model does; how far that is what the classifier does stands in the recorded
    `r_squared` (mean over texts) and `r_squared_min`. The ridge shrinks weights towards 0, more so for few
    samples, and they do not sum to any difference of outputs.

    Args:
        job: texts and targets; its seed draws the samples, the same ones for a text alone and in company.
        n_samples: rows per text, the text itself among them; more words need more.
        kernel_width: how fast samples lose weight with the cosine distance of what is left from the whole text.
        alpha: the ridge's penalty.
        baseline: the token that a removed word becomes, or "delete" to take it out; None takes the model's removal
            operator.

    Reference: Ribeiro et al. 2016, arXiv 1602.04938; samples, kernel (there distance and width times 100) and
    penalty as in its `LimeTextExplainer`. Here a word is a place, not a type; all words are in the model, which there
    keeps the ten strongest; and a logit is explained, not a probability.
    """
    if n_samples < 2:
        raise UsageError(f"n_samples is {n_samples}; LIME needs at least 2 rows per text, and more than it has words")
    if kernel_width <= 0 or alpha <= 0:
        raise UsageError(f"kernel_width is {kernel_width} and alpha {alpha}; LIME needs both above 0")
    operator = job.operator(baseline)
    kept = [sample_masks(len(groups), n_samples, job.seed) for groups in job.groups]
    rows, examples = [], []
    for i, keep in enumerate(kept):
        made = job.rows(i, keep, operator)
        rows += made
        examples += [i] * len(made)
    logits = job.score(rows, examples).logit
    owner = np.asarray(examples)
    scores: list[FloatArray] = []
    values: list[float | None] = []
    fits: list[float] = []
    for i, keep in enumerate(kept):
        found = logits[owner == i]
        values.append(float(found[0]))
        fitted = Surrogate(np.zeros(0), 1.0)
        if job.groups[i]:
            fitted = fit(keep, found, kernel_width, alpha)
            fits.append(fitted.r_squared)
        scores.append(job.spread(i, fitted.weights))
    options: dict[str, Scalar] = {
        "baseline": operator.name,
        "n_samples": n_samples,
        "kernel_width": kernel_width,
        "alpha": alpha,
        "r_squared": float(np.mean(fits)) if fits else None,
        "r_squared_min": min(fits, default=None),
    }
    nothing: list[float | None] = [None] * len(job.encoded)
    return Scores(scores, values, nothing, nothing, options)


def sample_masks(n_features: int, n_samples: int, seed: int) -> BoolArray:
    """What is kept `[sample, feature]`: first everything, then all but a uniform number of features."""
    keep: BoolArray = np.ones((n_samples if n_features else 1, n_features), dtype=bool)
    rng = np.random.default_rng(seed)
    for line in keep[1:]:
        line[rng.choice(n_features, rng.integers(1, n_features + 1), replace=False)] = False
    return keep


def fit(keep: BoolArray, values: FloatArray, kernel_width: float, alpha: float) -> Surrogate:
    """Ridge with intercept of `values` [sample] on `keep` [sample, feature], near samples weighing more."""
    from sklearn.linear_model import Ridge

    # The cosine of a 0/1 row with the row of ones is the root of its share of ones.
    distance = 1.0 - np.sqrt(keep.mean(axis=1))
    weight = np.exp(-0.5 * (distance / kernel_width) ** 2)
    x = keep.astype(np.float64)
    ridge = Ridge(alpha=alpha).fit(x, values, sample_weight=weight)
    constant = bool(np.ptp(values) == 0.0)
    # A target that nothing changes is explained in full by weights of 0; scikit-learn would divide by 0.
    r_squared = 1.0 if constant else float(ridge.score(x, values, sample_weight=weight))
    return Surrogate(np.asarray(ridge.coef_, dtype=np.float64), r_squared)
