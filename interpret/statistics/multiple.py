"""Corrections for many tests at once, and an exact paired test by clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

#: Sign flips held at once.
_MAX_SIGNS: Final = 8_000_000


def holm(p: Sequence[float] | FloatArray) -> FloatArray:
    """Adjusted p-values: those at most alpha are all true with probability 1 - alpha, whatever depends on what.

    Reference: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = np.arange(len(values), 0, -1)
    out = np.empty_like(values)
    out[order] = np.minimum(1.0, np.maximum.accumulate(steps * values[order]))
    return out


def sign_flip_p(totals: FloatArray, n_draws: int = 9999, seed: int = 0) -> FloatArray:
    """Two-sided p-values [quantity] that the paired differences summed by cluster, [cluster, quantity], centre on 0.

    Under the null either member of a pair could have been the other, for all items of a cluster together, so every
    cluster's sign is flipped at random. The drawn arrangements and the observed one are counted alike: p is never 0
    and at least 1 / (n_draws + 1).

    Reference: Good 2005, Permutation, Parametric and Bootstrap Tests of Hypotheses, section 3.2.
    """
    observed = np.abs(totals.sum(axis=0))
    # What does not differ keeps its sign for nothing.
    totals = totals[(totals != 0).any(axis=1)]
    n = max(1, len(totals))
    rng = np.random.default_rng([seed, 2])
    extreme = np.zeros(totals.shape[1], dtype=np.int64)
    per_chunk = max(1, _MAX_SIGNS // n)
    for start in range(0, n_draws, per_chunk):
        size = min(per_chunk, n_draws - start)
        signs = rng.integers(0, 2, size=(size, len(totals)), dtype=np.int8).astype(np.float32) * 2 - 1
        drawn = np.abs(signs @ totals.astype(np.float32))
        # Sums of equal parts differ by rounding only; those count as equal.
        extreme += (drawn >= observed * (1 - 1e-6) - 1e-6).sum(axis=0)
    p: FloatArray = (extreme + 1) / (n_draws + 1)
    return p
