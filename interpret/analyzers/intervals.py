"""The intervals as analyzers and audits import them; they lie in `interpret.statistics`, where reports may use them."""

from interpret.statistics.intervals import (
    MIN_BOOTSTRAP,
    Interval,
    bootstrap,
    expanded_tail,
    newcombe,
    paired_proportions,
    resamples,
    softmax,
    student,
    wilson,
)

__all__ = [
    "MIN_BOOTSTRAP",
    "Interval",
    "bootstrap",
    "expanded_tail",
    "newcombe",
    "paired_proportions",
    "resamples",
    "softmax",
    "student",
    "wilson",
]
