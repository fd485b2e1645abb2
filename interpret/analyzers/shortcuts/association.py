"""How strongly presence goes with a class, exactly where counts are small, and corrections for many words.

Texts are taken to be independent draws; everything is one-sided, towards more.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln
from scipy.stats import false_discovery_control

FloatArray = npt.NDArray[np.float64]

#: Of a two-sided 95% interval.
Z95: Final = 1.959963984540054


class Bounds(NamedTuple):
    """Values with 95% intervals, of one shape."""

    value: FloatArray
    low: FloatArray
    high: FloatArray


def log_odds(both: Any, n_word: Any, n_class: Any, n: Any) -> Bounds:
    """Log odds ratio of presence and class with half a text added to each cell, and its Woolf interval.

    Args:
        both: texts with the word and of the class; all arguments broadcast.
        n_word: texts with the word.
        n_class: texts of the class.
        n: all texts.

    Reference: Haldane 1956, doi 10.1111/j.1469-1809.1955.tb01285.x (the half); Woolf 1955, doi
    10.1111/j.1469-1809.1955.tb01348.x (the interval).
    """
    a = np.asarray(both, dtype=np.float64) + 0.5
    b = n_word - both + 0.5
    c = n_class - both + 0.5
    d = n - n_word - n_class + both + 0.5
    value = np.log(a) + np.log(d) - np.log(b) - np.log(c)
    half = Z95 * np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    return Bounds(value, value - half, value + half)


@lru_cache(maxsize=65536)
def _hypergeometric(n: int, n_marked: int, n_drawn: int) -> FloatArray:
    """P(k marked among the drawn) for k from 0 to the smaller of `n_marked` and `n_drawn`."""
    k = np.arange(min(n_marked, n_drawn) + 1, dtype=np.float64)
    rest = n - n_marked - (n_drawn - k)
    possible = rest >= 0
    safe = np.where(possible, rest, 0.0)
    log = (
        gammaln(n_marked + 1) - gammaln(k + 1) - gammaln(n_marked - k + 1)
        + gammaln(n - n_marked + 1) - gammaln(n_drawn - k + 1) - gammaln(safe + 1)
        - gammaln(n + 1) + gammaln(n_drawn + 1) + gammaln(n - n_drawn + 1)
    )  # fmt: skip
    out: FloatArray = np.where(possible, np.exp(log), 0.0)
    out.setflags(write=False)
    return out


def fisher(both: int, n_word: int, n_class: int, n: int) -> float:
    """Fisher's exact p-value of the word standing in so many texts of the class, or more."""
    return min(1.0, float(_hypergeometric(n, n_class, n_word)[both:].sum()))


@lru_cache(maxsize=65536)
def excess_p(total: int, n_word: int, n_plus: int, n_minus: int, n: int) -> float:
    """Exact p-value of the sum of d over the word's texts, or more, had they been drawn from all texts at random.

    d is 1 in `n_plus`, -1 in `n_minus` and 0 in the others of `n` texts (see `excess`). The sum is K+ - K- of a
    multivariate hypergeometric draw of `n_word` texts.
    """
    p = 0.0
    for n_drawn_minus, chance in enumerate(_hypergeometric(n, n_minus, n_word).tolist()):
        if chance > 0.0:
            least = max(0, total + n_drawn_minus)
            p += chance * float(_hypergeometric(n - n_minus, n_plus, n_word - n_drawn_minus)[least:].sum())
    return min(1.0, p)


def excess(plus: Any, minus: Any, n_word: Any, n_plus: Any, n_minus: Any, n: Any) -> Bounds:
    """How much more of the word's texts are predicted than labelled as the class, compared with the other texts.

    d is 1 where a text is predicted but not labelled as the class, -1 the other way round, else 0; the value is the
    mean of d with the word less the mean without it, from -2 to 2. `plus` and `minus` count d = 1 and -1 with the
    word, `n_plus` and `n_minus` in all texts. All arguments broadcast.

    Reference: the means' intervals are Agresti and Min 2005, doi 10.1002/sim.1781, joined as in Newcombe 1998,
    doi 10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I, method 10.
    """
    inside = _paired(plus, minus, n_word)
    outside = _paired(n_plus - plus, n_minus - minus, n - n_word)
    value = inside.value - outside.value
    low = value - np.sqrt((inside.value - inside.low) ** 2 + (outside.high - outside.value) ** 2)
    high = value + np.sqrt((inside.high - inside.value) ** 2 + (outside.value - outside.low) ** 2)
    return Bounds(value, low, high)


def _paired(plus: Any, minus: Any, n: Any) -> Bounds:
    """Mean of d from -1 to 1, with the interval of `intervals.paired_proportions`, for arrays of counts."""
    a = np.asarray(plus, dtype=np.float64) + 0.5
    b = np.asarray(minus, dtype=np.float64) + 0.5
    total = np.asarray(n, dtype=np.float64) + 2.0
    centre = (a - b) / total
    half = Z95 * np.sqrt(a + b - (a - b) ** 2 / total) / total
    value = (a - b) / np.maximum(total - 2.0, 1.0)
    return Bounds(value, np.maximum(-1.0, centre - half), np.minimum(1.0, centre + half))


def competency_z(both: int, n_word: int, base_rate: float) -> float | None:
    """(p(class | word) - base rate) / sqrt(base rate (1 - base rate) / n), the z-statistic of data artefacts.

    The base rate is the class's share of the data, where the source has one over the number of classes. None where
    all texts or none are of the class.

    Reference: Gardner et al. 2021, arXiv 2104.08646, section 3.
    """
    if not 0.0 < base_rate < 1.0:
        return None
    return float((both / n_word - base_rate) / np.sqrt(base_rate * (1.0 - base_rate) / n_word))


def benjamini_hochberg(p: Sequence[float] | FloatArray) -> FloatArray:
    """Adjusted p-values: of those at most alpha, a share of alpha is expected to be false.

    Reference: Benjamini and Hochberg 1995, doi 10.1111/j.2517-6161.1995.tb02031.x.
    """
    values = np.asarray(p, dtype=np.float64)
    out: FloatArray = np.asarray(false_discovery_control(values), dtype=np.float64) if len(values) else values
    return out
