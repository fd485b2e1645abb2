"""What is read off the probabilities of a text's altered copies, as data: one plain function and one entry each.

Every function takes one measured text and returns one value for each ranking [ranking]: the explanation's, those of
the trivial rankings, then those of random ones; None where the text cannot say anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from interpret.analyzers.faithfulness.evidence import Better
from interpret.analyzers.faithfulness.limits import Limits
from interpret.analyzers.faithfulness.rankings import Curves, Measured
from interpret.results.explanations import FloatArray

#: Limits closer than this leave no room to be good or bad in.
_NO_ROOM: Final = 1e-9


class Metric(NamedTuple):
    """`function(measured, limits)`; `better` is the direction in which an explanation is good."""

    function: Callable[[Measured, Limits | None], FloatArray | None]
    better: Better


def log_odds(measured: Measured, _: Limits | None) -> FloatArray:
    """Mean over the fractions of log p(text without the top words) - log p(text), in nats.

    Reference: Shrikumar et al. 2017, arXiv 1704.02685; as in Sanyal and Ren 2021, arXiv 2108.13654.
    """
    # A probability that underflowed would be minus infinity.
    tiny = np.finfo(np.float64).tiny
    removed: FloatArray = np.log(np.maximum(measured.removed, tiny)).mean(axis=1)
    change: FloatArray = removed - np.log(max(measured.whole, tiny))
    return change


def deletion_auc(measured: Measured, _: Limits | None) -> FloatArray:
    """Area under p as words go, the first of the ranking first, over the share of words that are gone.

    Reference: Petsiuk et al. 2018, arXiv 1806.07421 (there over pixels).
    """
    curves = _curves(measured)
    return _area(curves.deletion, curves)


def insertion_auc(measured: Measured, _: Limits | None) -> FloatArray:
    """Area under p as words come, the first of the ranking first, over the share of words that are there.

    Reference: Petsiuk et al. 2018, arXiv 1806.07421 (there over pixels).
    """
    curves = _curves(measured)
    return _area(curves.insertion, curves)


def normalized_comprehensiveness(measured: Measured, limits: Limits | None) -> FloatArray | None:
    """(AOPC - lower) / (upper - lower), where AOPC removes the top k words for every k: 1 is the best ranking.

    Reference: Edin et al. 2025, arXiv 2408.08137, equation 7.
    """
    return _normalized(measured, limits, 0)


def normalized_sufficiency(measured: Measured, limits: Limits | None) -> FloatArray | None:
    """The same for the reversed ranking, which keeps the top words longest: 0 is the best ranking."""
    return _normalized(measured, limits, 1)


def leave_one_out_spearman(measured: Measured, _: Limits | None) -> FloatArray | None:
    """Rank correlation of scores with what the target's logit loses without each word, -1 to 1.

    Leave-one-out itself reaches 1 by construction. Scores that are all equal rank nothing and count as 0; texts on
    which every word is missed equally do not count.
    """
    from scipy.stats import rankdata

    missed = _curves(measured).missed
    if len(missed) < 2 or np.ptp(missed) == 0:
        return None
    return _correlations(rankdata(measured.scores, axis=1), rankdata(missed))


def leave_one_out_kendall(measured: Measured, _: Limits | None) -> FloatArray | None:
    """Kendall's tau-b in place of Spearman's rho."""
    missed = _curves(measured).missed
    if len(missed) < 2 or np.ptp(missed) == 0:
        return None
    above = np.triu_indices(len(missed), 1)
    # Tau-b is the correlation, without centring, of the signs of all differences between two words.
    ours = np.sign(measured.scores[:, above[0]] - measured.scores[:, above[1]])
    theirs = np.sign(missed[above[0]] - missed[above[1]])
    return _cosines(ours, theirs)


#: Everything beside AOPC comprehensiveness and sufficiency that the rows of whole curves yield.
METRICS: Final[dict[str, Metric]] = {
    "log_odds": Metric(log_odds, "lower"),
    "deletion_auc": Metric(deletion_auc, "lower"),
    "insertion_auc": Metric(insertion_auc, "higher"),
    "aopc_comprehensiveness_normalized": Metric(normalized_comprehensiveness, "higher"),
    "aopc_sufficiency_normalized": Metric(normalized_sufficiency, "lower"),
    "leave_one_out_correlation": Metric(leave_one_out_spearman, "higher"),
    "leave_one_out_correlation_kendall": Metric(leave_one_out_kendall, "higher"),
}

#: Those that need the limits of AOPC.
NORMALIZED: Final = frozenset({"aopc_comprehensiveness_normalized", "aopc_sufficiency_normalized"})


def _curves(measured: Measured) -> Curves:
    assert measured.curves is not None  # the battery's design asks for them
    return measured.curves


def _area(probability: FloatArray, curves: Curves) -> FloatArray:
    area: FloatArray = np.trapezoid(probability, curves.counts / curves.counts[-1], axis=1)
    return area


def _normalized(measured: Measured, limits: Limits | None, which: int) -> FloatArray | None:
    curves = _curves(measured)
    if limits is None or len(curves.counts) != measured.scores.shape[1] + 1:
        return None
    # The reversed ranking without its top k words is the ranking with only its top n - k.
    aopc = [
        measured.whole - curves.deletion[:, 1:].mean(axis=1),
        measured.whole - curves.insertion[:, :-1].mean(axis=1),
    ]
    lower, upper = limits.lower, limits.upper
    if not limits.exact:
        # What a ranking at hand reached, some ranking can reach.
        lower = min(lower, *(float(found.min()) for found in aopc))
        upper = max(upper, *(float(found.max()) for found in aopc))
    if upper - lower <= _NO_ROOM:
        return None
    normalized: FloatArray = (aopc[which] - lower) / (upper - lower)
    return normalized


def _correlations(rows: FloatArray, other: FloatArray) -> FloatArray:
    return _cosines(rows - rows.mean(axis=1, keepdims=True), other - other.mean())


def _cosines(rows: FloatArray, other: FloatArray) -> FloatArray:
    """Of each row [row, n] with `other` [n]; 0 where a row is all zero."""
    size = np.sqrt((rows**2).sum(axis=1) * (other**2).sum())
    cosine: FloatArray = np.divide(rows @ other, size, out=np.zeros(len(rows)), where=size > 0)
    return cosine.clip(-1.0, 1.0)
