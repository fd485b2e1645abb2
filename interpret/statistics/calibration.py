"""How far stated confidence and accuracy lie apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def expected_calibration_error(confidence: FloatArray, correct: FloatArray, n_bins: int = 10) -> float:
    """Mean |accuracy - confidence| over about equal-mass bins, weighted by size; equal confidences share a bin.

    It is above 0 by chance even for a perfectly calibrated model, the more so the smaller the sample.

    Reference: Guo et al. 2017, arXiv 1706.04599, equation 5, with quantile bins.
    """
    order = np.argsort(confidence, kind="stable")
    sorted_confidence = confidence[order]
    cuts = (np.arange(1, n_bins) * len(confidence)) // n_bins
    # A cut between equal confidences would make the figure depend on the order of the rows.
    cuts = np.unique(np.searchsorted(sorted_confidence, sorted_confidence[cuts]))
    gaps = [
        len(part) * abs(float(correct[part].mean()) - float(confidence[part].mean()))
        for part in np.split(order, cuts)
        if len(part)
    ]
    return float(sum(gaps) / len(confidence))


def resampled_calibration_errors(
    confidence: FloatArray, correct: FloatArray, counts: npt.NDArray[np.int64], n_bins: int = 10
) -> FloatArray:
    """`expected_calibration_error` of many resamples at once.

    Args:
        confidence: [example].
        correct: [example], 0 or 1.
        counts: [resample, example], how often each example was drawn; every row sums to the same number.
        n_bins: bins of about equal mass.

    Returns:
        [resample].
    """
    order = np.argsort(confidence, kind="stable")
    ascending = confidence[order]
    drawn = counts[:, order]
    n = int(drawn[0].sum())
    mass = np.cumsum(drawn, axis=1)
    # The gap of a bin is the sum of (correct - confidence) in it, whose running sum is read at the ends of the bin.
    gap = np.cumsum(drawn * (correct[order] - ascending), axis=1)
    running = np.concatenate([np.zeros((len(drawn), 1)), gap], axis=1)
    # An example that holds the first place of a bin begins it with all that are equally confident.
    begins = np.searchsorted(ascending, ascending)
    cuts = (np.arange(1, n_bins) * n) // n_bins
    inner = np.stack([begins[(mass <= cut).sum(axis=1)] for cut in cuts], axis=1)
    ends = np.full((len(drawn), 1), len(ascending))
    edges = np.concatenate([np.zeros_like(ends), inner, ends], axis=1)
    at_edges = np.take_along_axis(running, edges, axis=1)
    errors: FloatArray = np.abs(np.diff(at_edges, axis=1)).sum(axis=1) / n
    return errors
