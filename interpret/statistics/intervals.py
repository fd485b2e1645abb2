"""Intervals that hold their level on few examples too; whatever states an interval takes it from here."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: With fewer examples than this no interval over examples is given.
MIN_BOOTSTRAP: Final = 5
#: Quantities whose resamples are held at once.
_QUANTITIES: Final = 2048


class Interval(NamedTuple):
    """A mean with its interval."""

    mean: float
    low: float
    high: float


def resamples(n: int, n_bootstrap: int, seed: int | tuple[int, ...]) -> IntArray:
    """Indices [resample, example]: the same ones for every metric, so that all intervals are paired."""
    return np.random.default_rng(seed).integers(0, n, size=(n_bootstrap, n))


def bootstrap(values: FloatArray, draws: IntArray, level: float = 0.95) -> Interval:
    """Mean and interval by resampling examples, widened for small samples.

    The percentiles are taken further out than the level by the ratio of the t to the normal quantile and of n to
    n - 1: the plain percentile interval of 5 examples covers 80%, not 95%.

    Reference: Hesterberg 2015, doi 10.1080/00031305.2015.1089789, section 4.3 (expanded percentile interval).
    """
    tail = expanded_tail(len(values), level)
    low, high = np.quantile(values[draws].mean(axis=1), [tail, 1.0 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def bootstrap_ratios(
    numerators: FloatArray, denominators: FloatArray, draws: IntArray, level: float = 0.95
) -> FloatArray:
    """Ratios of sums over examples and their intervals by resampling examples, widened as those of `bootstrap`.

    Where denominators differ, fewer examples count than there are: with those spread evenly from 0.2 to 3 an interval
    of 95% held 92% of simulated truths at 5 examples, 93% at 10 and 94% at 20.

    Args:
        numerators: [example, quantity].
        denominators: [example], all above 0; all 1 gives the means of the numerators.
        draws: indices [resample, example].
        level: of the intervals.

    Returns:
        float64 [3, quantity]: the ratio, its low and its high end.
    """
    n, n_quantities = numerators.shape
    # How often each example was drawn, so that no resample of all quantities is held.
    counts = np.zeros((len(draws), n))
    np.add.at(counts, (np.arange(len(draws))[:, None], draws), 1.0)
    tail = expanded_tail(n, level)
    below = (counts @ denominators)[:, None]
    out = np.empty((3, n_quantities))
    out[0] = numerators.sum(axis=0) / denominators.sum()
    for start in range(0, n_quantities, _QUANTITIES):
        part = slice(start, start + _QUANTITIES)
        out[1:, part] = np.quantile(counts @ numerators[:, part] / below, [tail, 1.0 - tail], axis=0)
    return out


def expanded_tail(n: int, level: float = 0.95) -> float:
    """The tail probability at which to read the percentiles of a bootstrap of `n` examples, at least 2."""
    from scipy.stats import norm, t

    return float(norm.cdf(-np.sqrt(n / (n - 1)) * t.ppf(0.5 + level / 2, n - 1)))


def student(values: FloatArray, level: float = 0.95) -> Interval:
    """Mean and t interval; for levels so high that a bootstrap would have to resolve its last few resamples."""
    from scipy.stats import t

    n = len(values)
    mean = float(values.mean())
    half = float(t.ppf(0.5 + level / 2, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927); unlike a bootstrap's it has a width at 0 and at 1."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At the ends the closed form is 0 or 1 up to rounding, and a low end of 3e-18 would read as "not 0".
    return (centre - half if successes else 0.0), (centre + half if successes < n else 1.0)


def newcombe(a: int, n_a: int, b: int, n_b: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of the difference of two independent proportions (Newcombe 1998, method 10, from score intervals)."""
    p_a, p_b = a / n_a, b / n_b
    low_a, high_a = wilson(a, n_a, level)
    low_b, high_b = wilson(b, n_b, level)
    d = p_a - p_b
    low = d - math.sqrt((p_a - low_a) ** 2 + (high_b - p_b) ** 2)
    high = d + math.sqrt((high_a - p_a) ** 2 + (p_b - low_b) ** 2)
    return max(-1.0, low), min(1.0, high)


def paired_proportions(only_a: int, only_b: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of the difference a - b of two proportions on the same `n` examples, from the discordant counts.

    Half an example is added to each of the four cells, so that it has a width where nothing is discordant.

    Reference: Agresti and Min 2005, doi 10.1002/sim.1781 (adjusted Wald interval).
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    a, b, total = only_a + 0.5, only_b + 0.5, n + 2.0
    d = (a - b) / total
    half = z * math.sqrt(a + b - (a - b) ** 2 / total) / total
    return max(-1.0, d - half), min(1.0, d + half)


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    out: FloatArray = shifted / shifted.sum(axis=-1, keepdims=True)
    return out
