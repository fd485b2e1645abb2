"""Online description length: how many bits the labels take when a probe that learns as it goes announces them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from interpret.analyzers.probing.logistic import PENALTIES, fit_logistic, fit_logistic_path
from interpret.analyzers.probing.ridge import moments, ridge_path

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

#: Where a new probe is trained, in shares of the items (Voita and Titov 2020, section 3.2).
FRACTIONS: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
#: With fewer items than this the penalty is not chosen but set: the strongest.
_MIN_CHOICE: Final = 100
#: The last share of the items before a block on which its penalty is chosen.
_VALIDATION: Final = 0.2


def block_ends(sentence: IntArray, fractions: Sequence[float] = FRACTIONS) -> list[int]:
    """Where blocks end: with the sentence that each share of the items falls into, [item] in the order sent."""
    n = len(sentence)
    sentence_ends = np.append(np.flatnonzero(np.diff(sentence)) + 1, n)
    wanted = [max(1, int(np.ceil(share * n))) for share in fractions]
    return sorted({int(sentence_ends[np.searchsorted(sentence_ends, t)]) for t in wanted})


def online_code(
    X: Float32Array,
    labels: IntArray,
    ends: Sequence[int],
    n_classes: int,
    penalties: Sequence[float] = PENALTIES,
) -> FloatArray:
    """Bits [item] that each label takes; their sum is the description length.

    The first block is sent at log2 K bits a label. Each further block is sent by a logistic probe trained from
    scratch on everything before it, its penalty chosen on the last fifth of that, so that nothing of the block being
    coded is used, not even to stop. Low length shows that the labels are easy to learn from the features, not that
    the model uses them.

    Deviation: the probe's distribution p after t labels is mixed with the uniform one, (t p + 1/2) / (t + K/2), as in
    the estimator of Krichevsky and Trofimov, because a label that was not seen yet must have a finite code.

    Args:
        X: features [item, d], near standardised, in the order in which labels are sent: sentences shuffled.
        labels: class indices [item].
        ends: where the blocks end, ascending, the last is the number of items (`block_ends`).
        n_classes: K, classes of the whole task.
        penalties: strengths tried, strongest first.

    Reference: Voita and Titov 2020 (arXiv:2003.12298), equation 3, in bits throughout.
    """
    bits = np.empty(len(labels))
    bits[: ends[0]] = np.log2(n_classes)
    sums = None
    start = 0
    for t, end in pairwise(ends):
        seen, codes = np.unique(labels[:t], return_inverse=True)
        codes = codes.reshape(-1)
        p = np.zeros((end - t, n_classes))
        # Only labels seen so far have weights; one-hot codes of the whole task keep sums additive.
        new = moments(X[start:t], labels[None, start:t], n_classes)
        sums = new if sums is None else sums + new
        start = t
        if len(seen) < 2:
            p[:, seen] = 1.0
        else:
            path = ridge_path(sums).of_classes(seen)
            n_inner = t - int(np.ceil(_VALIDATION * t))
            if len(penalties) == 1 or t < _MIN_CHOICE or len(np.unique(codes[:n_inner])) < len(seen):
                found = fit_logistic(X[:t], codes, penalties[0], path)
            else:
                found, _ = fit_logistic_path(X[:t], codes, n_inner, path, tuple(penalties))
            p[:, seen] = np.exp(found.log_probabilities(X[t:end]))
        gold = p[np.arange(end - t), labels[t:end]]
        bits[t:end] = -np.log2((t * gold + 0.5) / (t + n_classes / 2))
    return bits


def frequency_code(labels: IntArray, n_classes: int) -> FloatArray:
    """Bits [item] where each label is sent by how often it came before: what is left without any features.

    Reference: Krichevsky and Trofimov 1981, doi 10.1109/TIT.1981.1056331.
    """
    one_hot = np.zeros((len(labels), n_classes))
    one_hot[np.arange(len(labels)), labels] = 1.0
    before = np.cumsum(one_hot, axis=0) - one_hot
    gold = before[np.arange(len(labels)), labels]
    return -np.log2((gold + 0.5) / (np.arange(len(labels)) + n_classes / 2))
