"""What stages cost, in rows through the model: rankings, attribution methods, comparisons, probes.

Estimates for texts of mean length: methods that stop when they are sure take more or fewer rows than this.
"""

from __future__ import annotations

import numpy as np

from interpret.analyzers.attribution import METHODS, gradients_available
from interpret.analyzers.faithfulness import FRACTIONS
from interpret.auditing.stage import Cost, Scope
from interpret.models.words import word_spans
from interpret.statistics.intervals import MIN_BOOTSTRAP


def ranked(scope: Scope) -> float:
    """Distinct rows that the rankings of one text take: short texts have few different parts of one word."""
    rankings, words = scope.config.random_rankings + 4, scope.n_words
    kept = max(5, scope.config.random_rankings // 4) + 4
    rows = 0.0
    for size in {max(1, round(share * words)) for share in FRACTIONS}:
        different = words if size == 1 else words * (words - 1) / 2
        rows += min(rankings, different) + min(kept, different)
    return 1 + rows


def attributed(scope: Scope, method: str) -> Cost:
    """What one text costs with a method, without its quality."""
    if method == "auto":
        method = "integrated_gradients"
    words = scope.n_words
    costs = {
        "integrated_gradients": Cost(backward=25),
        "gradient_x_input": Cost(backward=1),
        "saliency": Cost(backward=1),
        "smooth_grad": Cost(backward=32),
        "gradient_shap": Cost(backward=32),
        "deep_lift": Cost(forward=1, backward=1),
        "shap": Cost(forward=min(256, 2 ** min(8, words))),
        "permutation_shap": Cost(forward=10 * (2 * words + 1)),
        "lime": Cost(forward=500),
        "occlusion": Cost(forward=words + 1),
        "leave_one_out": Cost(forward=words + 1),
        "attention_rollout": Cost(captured=1),
        "gradient_attention": Cost(captured=1, backward=1),
        "value_zeroing": Cost(forward=1.5 * (words + _written(scope))),
    }
    return costs.get(method, Cost(backward=25))


def _written(scope: Scope) -> float:
    """Mean words of what the decoder of an encoder-decoder reads; as many as it was given, where that is not known."""
    if scope.handle.task != "seq2seq-lm":
        return 0.0
    references = scope.examples.references
    return scope.n_words if references is None else float(np.mean([len(word_spans(text)) for text in references]))


def compared_methods(scope: Scope) -> list[str]:
    """The methods that the main one is compared with: those that were named, and need no gradients where none are."""
    there = gradients_available(scope.handle)
    return [name for name in scope.config.compared_names if there or not METHODS[name].needs_gradient]


def quality_costs(scope: Scope) -> Cost:
    """What the comparison of methods and the randomisation test cost, above the main method's own quality."""
    explained = scope.sampled("explained")
    compared, randomised = (min(explained, getattr(scope.config, key)) for key in ("compared", "randomised"))
    main = scope.config.method if scope.config.method != "auto" else "integrated_gradients"
    names = [name for name in compared_methods(scope) if name != main]
    total = Cost()
    if names and compared:
        # Random rankings are those of the main method, and of one another.
        rows = ranked(scope) * (1 + 0.25 * (len(names) - 1))
        total += (sum((attributed(scope, name) for name in names), Cost()) + Cost(forward=rows)) * compared
    if randomised >= MIN_BOOTSTRAP:
        total += attributed(scope, main) * (5 * randomised)
    return total


def probe_costs(scope: Scope) -> Cost:
    """What probes cost: one capture of every text, and fits beside the model."""
    n = scope.sampled("probed")
    # Fits take about 50 ns for each example, dimension and layer in each of some 100 fits.
    layers = scope.handle.n_layers + 1
    return Cost(captured=n, seconds=0.5 + 5e-6 * n * scope.handle.d_model**0.5 * layers * 3)
